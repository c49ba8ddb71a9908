// @ts-check
import {
  BatchWriteItemCommand,
  DeleteItemCommand,
  DynamoDBClient,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { putPolicy, untilItWorks } from '../account.mjs';
import { value } from '../deployment.mjs';
import { candidate, keyOf } from '../events.mjs';
import { demand } from '../run-checks.mjs';

const SUBJECT = 'book:append-policy';

/** @type {import('../run-checks.mjs').Check} */
export const appendPolicy = {
  name: 'append-policy',
  proves: 'The append policy alone is enough to append, and allows no change of what is stored.',
  runsOnEmulator: true,
  notOnEmulator: ['that AWS evaluates the policy as the emulator does'],
  defect: 'the role may do everything with the table',
  run: async (context, isDefective) => {
    const { account, signal } = context;
    const TableName = value(context.stacks.store, 'TableName');
    const { stored } = await untilItWorks(account, signal, () =>
      context.append([[candidate(SUBJECT), candidate(SUBJECT)], [candidate(SUBJECT)]]),
    );
    demand(stored.length === 3, `3 events were appended, but ${stored.length} are stored`);

    if (isDefective) {
      const table = `arn:${account.partition}:dynamodb:${account.region}:${account.id}:table/${TableName}`;
      await putPolicy(account, `${context.prefix}-role-appender`, 'Allow', 'dynamodb:*', table);
    }
    const { Items: [item] = [] } = await account.client(DynamoDBClient).send(
      new QueryCommand({
        TableName,
        KeyConditionExpression: 'subject = :subject',
        ExpressionAttributeValues: { ':subject': { S: SUBJECT } },
        Limit: 1,
      }),
    );
    demand(item !== undefined, 'the event that was appended is not in the table');
    const Key = keyOf(item);

    const dynamodb = account.client(DynamoDBClient, await context.appender());
    /** @type {[string, () => Promise<unknown>][]} */
    const forbidden = [
      [
        'UpdateItem of an event',
        () =>
          dynamodb.send(
            new UpdateItemCommand({
              TableName,
              Key,
              UpdateExpression: 'SET forged = :true',
              ExpressionAttributeValues: { ':true': { BOOL: true } },
            }),
          ),
      ],
      // By revision, single puts are how events are appended. IAM doesn't see their condition.
      .../** @type {[string, () => Promise<unknown>][]} */ (
        context.tableLayout === 'byRevision'
          ? []
          : [
              [
                'PutItem over an event, outside a transaction',
                () => dynamodb.send(new PutItemCommand({ TableName, Item: item })),
              ],
            ]
      ),
      [
        'BatchWriteItem with a put',
        () =>
          dynamodb.send(
            new BatchWriteItemCommand({
              RequestItems: { [TableName]: [{ PutRequest: { Item: item } }] },
            }),
          ),
      ],
      [
        'BatchWriteItem with a deletion',
        () =>
          dynamodb.send(
            new BatchWriteItemCommand({
              RequestItems: { [TableName]: [{ DeleteRequest: { Key } }] },
            }),
          ),
      ],
      ['DeleteItem', () => dynamodb.send(new DeleteItemCommand({ TableName, Key }))],
      ['Scan', () => dynamodb.send(new ScanCommand({ TableName, Limit: 1 }))],
    ];
    const allowed = [];
    for (const [action, attempt] of forbidden) {
      if (!(await isDenied(attempt))) {
        allowed.push(action);
      }
    }
    demand(allowed.length === 0, `the append policy allows: ${allowed.join('; ')}`);
    return {
      seen: [
        '3 events appended in 2 calls by a role that has the append policy only',
        `denied: ${forbidden.map(([action]) => action).join('; ')}`,
      ],
    };
  },
};

/** @param {() => Promise<unknown>} attempt */
async function isDenied(attempt) {
  try {
    await attempt();
    return false;
  } catch (error) {
    if (error instanceof Error && error.name === 'AccessDeniedException') {
      return true;
    }
    throw error;
  }
}
