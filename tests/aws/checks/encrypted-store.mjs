// @ts-check
import { DescribeTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { GetTopicAttributesCommand, SNSClient } from '@aws-sdk/client-sns';
import { SQSClient } from '@aws-sdk/client-sqs';
import { roleWith, untilItWorks } from '../account.mjs';
import { value } from '../deployment.mjs';
import { append, candidate, Inbox } from '../events.mjs';
import { demand } from '../run-checks.mjs';

/** @type {import('../run-checks.mjs').Check} */
export const encryptedStore = {
  name: 'encrypted-store',
  proves:
    'With a key, table and topic are encrypted with it, and events still arrive in an encrypted queue.',
  runsOnEmulator: true,
  notOnEmulator: [
    'that table and topic are encrypted with the key: the emulator does not say',
    'that the permissions on the keys are enough: the emulator encrypts nothing and asks for none',
  ],
  defect: 'a message is dropped',
  run: async (context, isDefective) => {
    const { account, signal, stacks, prefix } = context;
    const { encrypted } = stacks;
    const key = value(encrypted, 'EncryptionKeyArn');
    if (!account.isEmulated) {
      await demandEncryption(account, encrypted, key);
    }
    const assume = await roleWith(
      account,
      `${prefix}-role-encrypted`,
      [value(encrypted, 'AppendPolicyArn')],
      signal,
    );
    const env = {
      ...account.environmentOf(await assume()),
      LIBRARY_TABLE: value(encrypted, 'TableName'),
    };
    const { stored } = await untilItWorks(account, signal, () =>
      append(
        [[candidate('book:encrypted'), candidate('book:encrypted')]],
        context.tableLayout,
        env,
        signal,
      ),
    );
    const inbox = new Inbox(
      account.client(SQSClient),
      value(stacks.encryptedAll, 'QueueUrl'),
      signal,
    );
    const arrived = await inbox.receive(stored);
    if (isDefective) {
      arrived.delete(stored[0]?.['id']);
    }
    const lost = stored.filter(({ id }) => !arrived.has(id));
    demand(
      lost.length === 0,
      `${lost.length} of ${stored.length} encrypted events have not arrived`,
    );
    return { seen: [`${stored.length} events, from an encrypted table to an encrypted queue`] };
  },
};

/**
 * @param {import('../account.mjs').Account} account
 * @param {import('../deployment.mjs').StackOutputs} encrypted
 * @param {string} key
 */
async function demandEncryption(account, encrypted, key) {
  const { Table: table } = await account
    .client(DynamoDBClient)
    .send(new DescribeTableCommand({ TableName: value(encrypted, 'TableName') }));
  const tableKey = table?.SSEDescription?.KMSMasterKeyArn;
  demand(
    tableKey === key,
    `the table is encrypted with ${tableKey ?? "AWS's own key"}, not ${key}`,
  );
  const { Attributes: topic } = await account
    .client(SNSClient)
    .send(new GetTopicAttributesCommand({ TopicArn: value(encrypted, 'TopicArn') }));
  const topicKey = topic?.['KmsMasterKeyId'];
  demand(
    topicKey === key || topicKey === key.split('/').at(-1),
    `the topic is encrypted with ${topicKey ?? 'no key'}, not ${key}`,
  );
}
