// @ts-check
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBClient, QueryCommand } from '@aws-sdk/client-dynamodb';
import { DeleteRolePolicyCommand, IAMClient } from '@aws-sdk/client-iam';
import { GetFunctionConfigurationCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { INLINE_POLICY, putPolicy } from '../account.mjs';
import { value } from '../deployment.mjs';
import { candidate, eventually, keyOf } from '../events.mjs';
import { kept, redriveAs, redriver } from '../failures.mjs';
import { demand } from '../run-checks.mjs';

const FAILURE_SECONDS = 900;
const SUBJECT = 'book:redrive';

/** @type {import('../run-checks.mjs').Check} */
export const redrive = {
  name: 'redrive',
  proves:
    'What could not be published is published by eventdb redrive once the cause is repaired, with the redrive policy alone, and the failure bucket is empty then.',
  runsOnEmulator: true,
  notOnEmulator: [
    'that Lambda keeps the records after the last retry: the check writes the object itself, in the documented form',
  ],
  defect: 'the object has no payload',
  run: async (context, isDefective) => {
    const { account, signal, stacks } = context;
    const bucket = value(stacks.store, 'FailureBucketName');
    const stored = account.isEmulated
      ? await writeFailure(context, bucket, isDefective)
      : await failToPublish(context, bucket);
    const known = context.inbox.messages.length;
    const printed = await eventually('a redrive without failures', 120, signal, async () => {
      const redriven = await redriveAs(context, await redriver(context));
      // On AWS the repaired permission may take a moment to count.
      demand(
        redriven.status === 0 || !account.isEmulated,
        `eventdb redrive ended with status ${redriven.status}: ${redriven.printed}`,
      );
      return redriven.status === 0 ? redriven.printed : undefined;
    });
    const missing = () => {
      const ids = new Set(context.inbox.ids().slice(known));
      return stored.filter(({ id }) => !ids.has(id));
    };
    await context.inbox.receiveUntil(
      () => missing().length === 0,
      () => `${stored.length} events were redriven (${printed})`,
    );
    const left = await kept(account, bucket);
    demand(left.length === 0, `there are still ${left.length} objects in the failure bucket`);
    return { seen: [printed.trim().split('\n').at(-1) ?? '', `${stored.length} events arrived`] };
  },
};

/**
 * Takes the permission to publish away until Lambda has given up, and gives it back.
 *
 * @param {import('../run-checks.mjs').Context} context
 * @param {string} bucket
 */
async function failToPublish(context, bucket) {
  const { account, signal, stacks } = context;
  const { Role: role = '' } = await account
    .client(LambdaClient)
    .send(
      new GetFunctionConfigurationCommand({ FunctionName: value(stacks.store, 'PublisherName') }),
    );
  const RoleName = role.split('/').at(-1) ?? '';
  await putPolicy(account, RoleName, 'Deny', 'sns:Publish', value(stacks.store, 'TopicArn'));
  try {
    // Until the denial counts everywhere.
    await sleep(30_000, undefined, { signal });
    const { stored } = await context.append([[candidate(SUBJECT), candidate(SUBJECT)]]);
    await eventually('the records in the failure bucket', FAILURE_SECONDS, signal, async () =>
      (await kept(account, bucket)).some(({ body }) => body.includes(SUBJECT)) ? true : undefined,
    );
    return stored;
  } finally {
    await account
      .client(IAMClient)
      .send(new DeleteRolePolicyCommand({ RoleName, PolicyName: INLINE_POLICY }));
  }
}

/**
 * Puts into the bucket what Lambda keeps of a batch that it gave up on, with an event that was
 * published already: a redrive publishes it once more.
 *
 * @param {import('../run-checks.mjs').Context} context
 * @param {string} bucket
 * @param {boolean} isDefective
 */
async function writeFailure(context, bucket, isDefective) {
  const { account, stacks } = context;
  const { stored } = await context.append([[candidate(SUBJECT)]]);
  await context.inbox.receive(stored);
  const { Items: [item] = [] } = await account.client(DynamoDBClient).send(
    new QueryCommand({
      TableName: value(stacks.store, 'TableName'),
      KeyConditionExpression: 'subject = :subject',
      ExpressionAttributeValues: { ':subject': { S: SUBJECT } },
    }),
  );
  const record = {
    eventID: '1',
    eventName: 'INSERT',
    eventSource: 'aws:dynamodb',
    awsRegion: account.region,
    dynamodb: {
      ApproximateCreationDateTime: Math.floor(Date.now() / 1_000),
      Keys: keyOf(item),
      NewImage: item,
      SequenceNumber: '1',
      SizeBytes: 1,
      StreamViewType: 'NEW_IMAGE',
    },
  };
  await account.client(S3Client).send(
    new PutObjectCommand({
      Bucket: bucket,
      Key: 'aws/lambda/proof/shard/2026/01/01/record',
      Body: JSON.stringify({
        requestContext: { condition: 'RetryAttemptsExhausted' },
        ...(isDefective ? {} : { payload: JSON.stringify({ Records: [record] }) }),
      }),
    }),
  );
  return stored;
}
