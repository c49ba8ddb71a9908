// @ts-check
import { CloudWatchLogsClient, paginateFilterLogEvents } from '@aws-sdk/client-cloudwatch-logs';
import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { GetFunctionConfigurationCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { DeleteObjectCommand, S3Client } from '@aws-sdk/client-s3';
import deployed from '../deployed.json' with { type: 'json' };
import { value } from '../deployment.mjs';
import { candidate, eventually } from '../events.mjs';
import { kept, redriveAs, redriver } from '../failures.mjs';
import { demand } from '../run-checks.mjs';

const FAILURE_SECONDS = 900;
const SUBJECT = 'book:poison';

/** @type {import('../run-checks.mjs').Check} */
export const poisonRecord = {
  name: 'poison-record',
  proves:
    'A row that is no readable event is tried again as often as was set, then kept whole in the failure bucket; other subjects go on, and a redrive does not drop it.',
  runsOnEmulator: false,
  notOnEmulator: [],
  defect: 'none: the emulator ignores single failed records, retry limits and failure destinations',
  run: async (context) => {
    const { account, signal, stacks } = context;
    const began = Date.now();
    await account.client(DynamoDBClient).send(
      new PutItemCommand({
        TableName: value(stacks.store, 'TableName'),
        // No id, no source, no data.
        Item: {
          subject: { S: SUBJECT },
          ...(context.tableLayout === 'byRevision'
            ? { revision: { N: '1' }, pk_all: { S: 'all-07' } }
            : { time_type: { S: `${began}_book.borrowed` }, pk_all: { S: 'all' } }),
          type: { S: 'book.borrowed' },
          time: { N: String(began) },
        },
      }),
    );
    const { stored } = await context.append([[candidate('book:behind-poison')]]);
    await context.inbox.receive(stored);

    const bucket = value(stacks.store, 'FailureBucketName');
    const object = await eventually(
      'the row in the failure bucket',
      FAILURE_SECONDS,
      signal,
      async () => (await kept(account, bucket)).find(({ body }) => body.includes(SUBJECT)),
    );
    const attempts = await attemptsSince(context, began);
    demand(
      attempts > deployed.RETRY_ATTEMPTS,
      `the publisher has reported the row ${attempts} times; ${deployed.RETRY_ATTEMPTS} retries were set`,
    );
    const { status, printed } = await redriveAs(context, await redriver(context));
    demand(
      status === 1 && printed.includes('STAYS'),
      `eventdb redrive should say that the row stays, and ends with status ${status}: ${printed}`,
    );
    const still = (await kept(account, bucket)).some(({ key }) => key === object.key);
    demand(still, 'eventdb redrive has deleted an object whose row is not published');
    // As an operator does who has repaired it in another way; the later checks find it empty.
    await account
      .client(S3Client)
      .send(new DeleteObjectCommand({ Bucket: bucket, Key: object.key }));
    return {
      seen: [
        `reported as failed ${attempts} times (${deployed.RETRY_ATTEMPTS} retries were set)`,
        `in the failure bucket after ${((Date.now() - began) / 1_000).toFixed(0)} s, as ${object.key}`,
        'an event of another subject was published meanwhile',
      ],
    };
  },
};

/**
 * How often the publisher has reported failed records.
 *
 * @param {import('../run-checks.mjs').Context} context
 * @param {number} startTime
 */
async function attemptsSince({ account, stacks }, startTime) {
  const { LoggingConfig: logging } = await account
    .client(LambdaClient)
    .send(
      new GetFunctionConfigurationCommand({ FunctionName: value(stacks.store, 'PublisherName') }),
    );
  let attempts = 0;
  const pages = paginateFilterLogEvents(
    { client: account.client(CloudWatchLogsClient) },
    { logGroupName: logging?.LogGroup, startTime, filterPattern: '{ $.FailedRecords > 0 }' },
  );
  for await (const { events = [] } of pages) {
    attempts += events.length;
  }
  return attempts;
}
