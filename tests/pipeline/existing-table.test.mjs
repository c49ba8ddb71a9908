// @ts-check
/**
 * The runbooks of docs/operating.md and docs/migrating.md, on an emulated AWS: restore to a point
 * in time and go on; take over a table that another construct has made:
 * `node --test tests/pipeline/existing-table.test.mjs`
 *
 * EVENTDB_CODE can name a directory with a built `bootstrap`; else it is built.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  CreateTableCommand,
  DescribeTableCommand,
  DynamoDBClient,
  PutItemCommand,
  RestoreTableToPointInTimeCommand,
  UpdateContinuousBackupsCommand,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { SNSClient, SubscribeCommand } from '@aws-sdk/client-sns';
import {
  CreateQueueCommand,
  DeleteMessageCommand,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import {
  cdkFor,
  outputsOfOnlyStack,
  publisherCode,
  TABLE_LAYOUT,
  tableSchema,
  untilPublisherIsReady,
} from './emulator/pipeline.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

const APP = 'node --import tsx tests/pipeline/existing-table.ts';
const QUEUE_ARN = `arn:aws:sqs:${REGION}:000000000000:everything`;
const ARRIVAL_SECONDS = 30;

/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {import('./emulator/pipeline.mjs').Cdk} */
let cdk;
/** @type {DynamoDBClient} */
let dynamodb;
/** @type {string} */
let queueUrl;
let code = '';

before(async () => {
  // The emulator runs the check of the table without the SDK that Lambda's Node.js brings.
  process.env['NODE_PATH'] = join(REPOSITORY, 'node_modules');
  code = publisherCode();
  ministack = await startMinistack();
  cdk = cdkFor(ministack, { isQuiet: true });
  dynamodb = client(DynamoDBClient);
  await cdk.bootstrap();
  const { QueueUrl = '' } = await client(SQSClient).send(
    new CreateQueueCommand({ QueueName: 'everything' }),
  );
  queueUrl = QueueUrl;
});

after(async () => {
  cdk?.discard();
  await ministack?.stop();
});

test('a table that was restored to a point in time goes on, once it has all that a restore leaves out', async () => {
  await createTable('Original', { stream: true });
  await dynamodb.send(
    new UpdateContinuousBackupsCommand({
      TableName: 'Original',
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    }),
  );
  await put('Original', 1);

  await dynamodb.send(
    new RestoreTableToPointInTimeCommand({
      SourceTableName: 'Original',
      TargetTableName: 'Restored',
      UseLatestRestorableTime: true,
    }),
  );
  await assert.rejects(
    deploy('Restored', 'arn:aws:dynamodb:eu-west-1:000000000000:table/Restored/stream/none', true),
    (/** @type {Error} */ error) =>
      ['the stream is off', 'deletion protection is off', 'point-in-time recovery is off'].every(
        (missing) => error.message.includes(missing),
      ),
  );

  const streamArn = await switchOnStream('Restored');
  await dynamodb.send(
    new UpdateTableCommand({ TableName: 'Restored', DeletionProtectionEnabled: true }),
  );
  await dynamodb.send(
    new UpdateContinuousBackupsCommand({
      TableName: 'Restored',
      PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
    }),
  );
  const outputs = await deploy('Restored', streamArn, true);
  await subscribe(outputs);
  await put('Restored', 2);
  // What was restored was published before; only what is new is published now.
  assert.deepEqual(await received(1), ['book:1-2']);
});

test('a table of another construct is taken over without losing an event', async () => {
  await cdk.destroy(APP, contextFor('Restored', 'none', true));
  // By time, it is from before the index of subjects.
  const isByTime = TABLE_LAYOUT === 'byTime';
  await createTable('Legacy', { stream: true, without: isByTime ? 'AllSubjects' : undefined });
  const { Table: table } = await dynamodb.send(new DescribeTableCommand({ TableName: 'Legacy' }));
  const streamArn = table?.LatestStreamArn ?? '';
  // First the topic, so that subscribers are there before anything is published.
  const outputs = await deploy('Legacy', streamArn, false, { publish: false });
  const advice = Object.entries(outputs).find(([name]) => name.includes('TableCheckAdvice'))?.[1];
  assert.match(advice ?? '', isByTime ? /AllSubjects is missing, so subjects can't/ : /^none$/);
  await subscribe(outputs);
  // Appended while the old publisher is gone and the new one isn't there yet.
  await put('Legacy', 1);

  await deploy('Legacy', streamArn, false);
  await untilPublisherIsReady(client(LambdaClient), outputs['PublisherName'] ?? '');
  await put('Legacy', 2);
  const ids = new Set(await received(2));
  assert.deepEqual([...ids].sort(), ['book:1-1', 'book:1-2']);
});

/**
 * @param {string} tableName
 * @param {string} streamArn
 * @param {boolean} production
 * @param {{ publish: boolean }} [options]
 * @returns {Promise<Record<string, string>>}
 */
async function deploy(tableName, streamArn, production, { publish } = { publish: true }) {
  const context = { ...contextFor(tableName, streamArn, production), publish: String(publish) };
  return outputsOfOnlyStack(await cdk.deploy(APP, context), ['TopicArn', 'PublisherName']);
}

/**
 * @param {string} tableName
 * @param {string} streamArn
 * @param {boolean} production
 */
function contextFor(tableName, streamArn, production) {
  return {
    tableName,
    streamArn,
    tableLayout: TABLE_LAYOUT,
    production: String(production),
    publish: 'true',
    code,
  };
}

/** @param {string} TableName @param {{ stream: boolean, without?: string | undefined }} options */
async function createTable(TableName, { stream, without }) {
  const schema = tableSchema();
  const { partitionKey, sortKey, localSecondaryIndexes } = schema;
  const globalSecondaryIndexes = schema.globalSecondaryIndexes.filter(
    ({ name }) => name !== without,
  );
  /** @param {{ name: string }[]} keys */
  const keys = (...keys) =>
    keys.map(({ name }, position) => ({
      AttributeName: name,
      KeyType: /** @type {'HASH' | 'RANGE'} */ (position === 0 ? 'HASH' : 'RANGE'),
    }));
  const attributes = [
    partitionKey,
    sortKey,
    ...globalSecondaryIndexes.flatMap(({ partitionKey: key, sortKey: sort }) =>
      sort === undefined ? [key] : [key, sort],
    ),
    ...localSecondaryIndexes.map(({ sortKey: sort }) => sort),
  ];
  await dynamodb.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: keys(partitionKey, sortKey),
      AttributeDefinitions: attributes.map(({ name, type }) => ({
        AttributeName: name,
        AttributeType: /** @type {'S' | 'N'} */ (type),
      })),
      GlobalSecondaryIndexes: globalSecondaryIndexes.map((index) => ({
        IndexName: index.name,
        KeySchema:
          index.sortKey === undefined
            ? keys(index.partitionKey)
            : keys(index.partitionKey, index.sortKey),
        Projection: {
          ProjectionType: /** @type {'ALL'} */ (index.projectionType),
          ...(index.nonKeyAttributes === undefined
            ? {}
            : { NonKeyAttributes: index.nonKeyAttributes }),
        },
      })),
      ...(localSecondaryIndexes.length === 0
        ? {}
        : {
            LocalSecondaryIndexes: localSecondaryIndexes.map((index) => ({
              IndexName: index.name,
              KeySchema: keys(partitionKey, index.sortKey),
              Projection: { ProjectionType: /** @type {'ALL'} */ (index.projectionType) },
            })),
          }),
      ...(stream
        ? { StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' } }
        : {}),
    }),
  );
}

/** @param {string} TableName @returns {Promise<string>} the stream's ARN */
async function switchOnStream(TableName) {
  const { TableDescription: table } = await dynamodb.send(
    new UpdateTableCommand({
      TableName,
      StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' },
    }),
  );
  assert.ok(table?.LatestStreamArn !== undefined);
  return table.LatestStreamArn;
}

/** An event as the store writes it. @param {string} TableName @param {number} revision */
async function put(TableName, revision) {
  const time = 1_760_000_000_000 + revision;
  /** @type {Record<string, import('@aws-sdk/client-dynamodb').AttributeValue>} */
  const own =
    TABLE_LAYOUT === 'byRevision'
      ? { data: { S: '{}' }, pk_all: { S: 'all-07' } }
      : {
          time_type: { S: `${time}_book.borrowed` },
          data: { M: {} },
          pk_all: { S: 'all' },
        };
  await dynamodb.send(
    new PutItemCommand({
      TableName,
      Item: {
        subject: { S: 'book:1' },
        id: { S: `book:1-${revision}` },
        type: { S: 'book.borrowed' },
        source: { S: 'https://library.example.com' },
        time: { N: String(time) },
        revision: { N: String(revision) },
        ...own,
      },
    }),
  );
}

/** @param {Record<string, string>} outputs */
async function subscribe({ TopicArn }) {
  await client(SNSClient).send(
    new SubscribeCommand({
      TopicArn,
      Protocol: 'sqs',
      Endpoint: QUEUE_ARN,
      Attributes: { RawMessageDelivery: 'true' },
    }),
  );
}

/** The ids of what arrives, once there are so many. @param {number} count */
async function received(count) {
  const sqs = client(SQSClient);
  const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
  /** @type {string[]} */
  const ids = [];
  while (ids.length < count) {
    assert.ok(Date.now() < deadline, `only ${ids.length} messages have come`);
    const { Messages: messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: 1,
      }),
    );
    for (const { Body: body = '', ReceiptHandle } of messages) {
      ids.push(JSON.parse(body).id);
      await sqs.send(new DeleteMessageCommand({ QueueUrl: queueUrl, ReceiptHandle }));
    }
  }
  return ids;
}

/**
 * @param {new (configuration: any) => T} Client
 * @template T
 * @returns {T}
 */
function client(Client) {
  return new Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
}
