// @ts-check
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { lastingLeftovers, removeRoles } from '../clean-up.mjs';
import { demand } from '../run-checks.mjs';

/** @type {import('../run-checks.mjs').Check} */
export const destroy = {
  name: 'destroy',
  proves: 'Outside production, nothing of the stacks stays when they are destroyed.',
  runsOnEmulator: true,
  notOnEmulator: [
    'that the failure bucket is emptied: the emulator lacks the SDK that the function needs',
    'that a key is scheduled for deletion',
  ],
  defect: 'a queue is left behind',
  run: async ({ account, prefix, deployment }, isDefective) => {
    // With the policies of the stacks attached to roles, the stacks could not go.
    await removeRoles(account, prefix);
    await deployment.destroy();
    if (isDefective) {
      await account
        .client(SQSClient)
        .send(new CreateQueueCommand({ QueueName: `${prefix}-LeftBehind` }));
    }
    const isByCheck = (/** @type {string} */ name) => name === `table ${prefix}-Capacity`;
    // Lambda makes these for functions of the CDK, and the CDK leaves them to their owner.
    const isOfCdk = (/** @type {string} */ name) => name.startsWith('log group /aws/lambda/');
    const left = await lastingLeftovers(
      account,
      prefix,
      (name) => isByCheck(name) || isOfCdk(name),
    );
    const stays = left.filter((name) => !isByCheck(name) && !isOfCdk(name));
    demand(stays.length === 0, `left behind: ${stays.join(', ')}`);
    return {
      seen: [
        'no stack, table, topic, queue, function, bucket, role or policy is left',
        ...left
          .filter(isOfCdk)
          .map((name) => `${name} stays, of a function of the CDK; removed now`),
      ],
    };
  },
};
