// @ts-check
/**
 * Each patch of the emulator is needed, and does what it says: the same probe fails on the emulator
 * as it was published and passes with the patches. `node --test tests/pipeline/emulator/patches.test.mjs`
 *
 * When a newer emulator has mended a fault, its test fails here: delete the patch and the test.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { CloudWatchLogsClient, DescribeLogGroupsCommand } from '@aws-sdk/client-cloudwatch-logs';
import {
  BatchGetItemCommand,
  CreateTableCommand,
  DynamoDBClient,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  TransactWriteItemsCommand,
} from '@aws-sdk/client-dynamodb';
import { CreateRoleCommand, IAMClient, PutRolePolicyCommand } from '@aws-sdk/client-iam';
import {
  CreateEventSourceMappingCommand,
  CreateFunctionCommand,
  InvokeCommand,
  LambdaClient,
} from '@aws-sdk/client-lambda';
import {
  CreateTopicCommand,
  PublishBatchCommand,
  SetTopicAttributesCommand,
  SNSClient,
  SubscribeCommand,
} from '@aws-sdk/client-sns';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { tools } from '../../../scripts/python-environment.mjs';
import { REGION, startMinistack } from './with-ministack.mjs';

/** @typedef {import('./with-ministack.mjs').Ministack} Ministack */

const DELIVERY_SECONDS = 20;
/** How long nothing has to come before it is taken that nothing will; deliveries take 0.3 s. */
const SILENCE_SECONDS = 4;

const directory = mkdtempSync(join(tmpdir(), 'eventdb-patches-'));
/** @type {Ministack} */
let published;
/** @type {Ministack} */
let patched;

before(async () => {
  published = await startMinistack({ enforcesIam: true, isPatched: false });
  patched = await startMinistack({ enforcesIam: true });
});

after(async () => {
  await published?.stop();
  await patched?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/**
 * @param {string} patch
 * @param {(emulator: Ministack) => Promise<boolean>} behavesLikeAws
 */
function isNeeded(patch, behavesLikeAws) {
  test(`${patch}: the fault is still there, and the patch mends it`, async () => {
    assert.equal(await behavesLikeAws(patched), true, `patches/${patch}.py does its work`);
    assert.equal(
      await behavesLikeAws(published),
      false,
      `the emulator has mended this fault: delete patches/${patch}.py, its line in start.py and this test`,
    );
  });
}

isNeeded('scan_order', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  await dynamodb.send(new CreateTableCommand(byNumber('numbered')));
  for (const number of ['10', '9', '2', '11']) {
    const item = { id: { S: 'a' }, number: { N: number } };
    await dynamodb.send(new PutItemCommand({ TableName: 'numbered', Item: item }));
  }
  const numbers = [];
  let start;
  do {
    /** @type {import('@aws-sdk/client-dynamodb').ScanCommandOutput} */
    const page = await dynamodb.send(
      new ScanCommand({ TableName: 'numbered', Limit: 2, ExclusiveStartKey: start }),
    );
    numbers.push(...(page.Items ?? []).map((item) => item['number']?.N));
    start = page.LastEvaluatedKey;
  } while (start !== undefined);
  return isDeepStrictEqual(numbers, ['2', '9', '10', '11']);
});

isNeeded('local_index_attributes', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  await dynamodb.send(
    new CreateTableCommand({
      ...table('indexed'),
      AttributeDefinitions: ['id', 'part', 'other'].map(stringAttribute),
      KeySchema: [
        { AttributeName: 'id', KeyType: 'HASH' },
        { AttributeName: 'part', KeyType: 'RANGE' },
      ],
      LocalSecondaryIndexes: [
        {
          IndexName: 'byOther',
          KeySchema: [
            { AttributeName: 'id', KeyType: 'HASH' },
            { AttributeName: 'other', KeyType: 'RANGE' },
          ],
          Projection: { ProjectionType: 'KEYS_ONLY' },
        },
      ],
    }),
  );
  const item = { id: { S: 'a' }, part: { S: 'b' }, other: { S: 'c' }, text: { S: 'fetched' } };
  await dynamodb.send(new PutItemCommand({ TableName: 'indexed', Item: item }));
  const { Items: items } = await dynamodb.send(
    new QueryCommand({
      TableName: 'indexed',
      IndexName: 'byOther',
      KeyConditionExpression: 'id = :id',
      ExpressionAttributeNames: { '#text': 'text' },
      ExpressionAttributeValues: { ':id': { S: 'a' } },
      ProjectionExpression: '#text',
    }),
  );
  assert.equal(items?.length, 1);
  return items?.[0]?.['text']?.S === 'fetched';
});

isNeeded('transaction_size', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  await dynamodb.send(new CreateTableCommand(table('large')));
  // 1.6 MB in UTF-8, 4.7 MB with each character escaped.
  const text = { S: 'é'.repeat(195_000) };
  const puts = ['a', 'b', 'c', 'd'].map((id) => ({
    Put: { TableName: 'large', Item: { id: { S: id }, text } },
  }));
  return passes(
    dynamodb.send(new TransactWriteItemsCommand({ TransactItems: puts })),
    'ValidationException',
  );
});

isNeeded('transaction_keys', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  const TableName = 'keyed';
  await dynamodb.send(new CreateTableCommand(byNumber(TableName)));
  const wrong = { id: { S: 'a' }, other: { S: 'b' } };
  const attempts = [
    { Put: { TableName, Item: wrong } },
    { Update: { TableName, Key: wrong, UpdateExpression: 'REMOVE extra' } },
    { ConditionCheck: { TableName, Key: wrong, ConditionExpression: 'attribute_not_exists(id)' } },
  ];
  const passed = await Promise.all(
    attempts.map((action) =>
      passes(
        dynamodb.send(new TransactWriteItemsCommand({ TransactItems: [action] })),
        'TransactionCanceledException',
      ),
    ),
  );
  const right = { Put: { TableName, Item: { id: { S: 'a' }, number: { N: '1' } } } };
  await dynamodb.send(new TransactWriteItemsCommand({ TransactItems: [right] }));
  return passed.every((hasPassed) => !hasPassed);
});

isNeeded('global_index_attributes', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  const TableName = 'projected';
  await dynamodb.send(
    new CreateTableCommand({
      ...byNumber(TableName),
      AttributeDefinitions: [...byNumber(TableName).AttributeDefinitions, stringAttribute('all')],
      GlobalSecondaryIndexes: [
        {
          IndexName: 'byAll',
          KeySchema: [{ AttributeName: 'all', KeyType: 'HASH' }],
          Projection: { ProjectionType: 'INCLUDE', NonKeyAttributes: ['type'] },
        },
      ],
    }),
  );
  const query = {
    TableName,
    IndexName: 'byAll',
    KeyConditionExpression: '#all = :all',
    ExpressionAttributeNames: { '#all': 'all' },
    ExpressionAttributeValues: { ':all': { S: 'all' } },
  };
  const names = (/** @type {string} */ name) => ({ ...query.ExpressionAttributeNames, '#a': name });
  const held = names('type');
  const absent = names('data');
  // What the index holds is answered.
  await dynamodb.send(new QueryCommand(query));
  await dynamodb.send(
    new QueryCommand({
      ...query,
      ProjectionExpression: 'id, #a.part',
      ExpressionAttributeNames: held,
    }),
  );
  const refused = await Promise.all(
    [
      { ...query, Select: /** @type {const} */ ('ALL_ATTRIBUTES') },
      { ...query, ProjectionExpression: 'id, #a', ExpressionAttributeNames: absent },
    ].map(
      async (request) =>
        !(await passes(dynamodb.send(new QueryCommand(request)), 'ValidationException')),
    ),
  );
  return refused.every(Boolean);
});

isNeeded('batch_get_capacity', async (emulator) => {
  const dynamodb = new DynamoDBClient(clientOf(emulator));
  const TableName = 'batched';
  await dynamodb.send(new CreateTableCommand(byNumber(TableName)));
  const large = { id: { S: 'a' }, number: { N: '1' }, text: { S: 'x'.repeat(5_000) } };
  await dynamodb.send(new PutItemCommand({ TableName, Item: large }));
  const units = async (/** @type {boolean} */ ConsistentRead) => {
    const Keys = ['1', '2'].map((number) => ({ id: { S: 'a' }, number: { N: number } }));
    const { ConsumedCapacity: consumed, Responses: found } = await dynamodb.send(
      new BatchGetItemCommand({
        RequestItems: { [TableName]: { Keys, ConsistentRead } },
        ReturnConsumedCapacity: 'TOTAL',
      }),
    );
    assert.equal(found?.[TableName]?.length, 1);
    return consumed?.map(({ TableName: name, CapacityUnits }) => [name, CapacityUnits]);
  };
  // Two units for 5 KB, and one for the item that isn't there.
  return isDeepStrictEqual(
    [await units(true), await units(false)],
    [[[TableName, 3]], [[TableName, 1.5]]],
  );
});

isNeeded('leading_keys', async (emulator) => {
  await new DynamoDBClient(clientOf(emulator)).send(new CreateTableCommand(table('guarded')));
  const role = await makeRole(emulator, 'leading-keys', {
    Effect: 'Allow',
    Action: 'dynamodb:PutItem',
    Resource: '*',
    Condition: { 'ForAnyValue:StringLike': { 'dynamodb:LeadingKeys': ['allowed*'] } },
  });
  const dynamodb = new DynamoDBClient(await clientAs(emulator, role));
  /** @param {string} id */
  const put = (id) =>
    passes(
      dynamodb.send(new PutItemCommand({ TableName: 'guarded', Item: { id: { S: id } } })),
      'AccessDeniedException',
    );
  assert.equal(await put('another'), false, 'other keys are refused in any case');
  return put('allowed-1');
});

isNeeded('subscription_protocol', async (emulator) => {
  const sns = new SNSClient(clientOf(emulator));
  const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: 'subscribed' }));
  await sns.send(
    new SetTopicAttributesCommand({
      TopicArn,
      AttributeName: 'Policy',
      AttributeValue: JSON.stringify({
        Version: '2012-10-17',
        Statement: {
          Effect: 'Allow',
          Principal: { AWS: 'arn:aws:iam::111111111111:root' },
          Action: 'sns:Subscribe',
          Resource: TopicArn,
          Condition: { StringEquals: { 'sns:Protocol': ['sqs', 'lambda'] } },
        },
      }),
    }),
  );
  const other = new SNSClient({
    ...clientOf(emulator),
    credentials: { accessKeyId: '111111111111', secretAccessKey: 'test' },
  });
  /** @param {string} Protocol @param {string} Endpoint */
  const subscribes = (Protocol, Endpoint) =>
    passes(
      other.send(new SubscribeCommand({ TopicArn, Protocol, Endpoint })),
      /AuthorizationError|AccessDenied/,
    );
  assert.equal(
    await subscribes('email', 'somebody@example.com'),
    false,
    'other protocols are refused in any case',
  );
  return subscribes('sqs', `arn:aws:sqs:${REGION}:111111111111:loans`);
});

isNeeded('batch_permissions', async (emulator) => {
  const role = await makeRole(emulator, 'batches', {
    Effect: 'Allow',
    Action: ['sns:Publish', 'sqs:DeleteMessage', 'sqs:SendMessage'],
    Resource: '*',
  });
  const { TopicArn: topic } = await new SNSClient(clientOf(emulator)).send(
    new CreateTopicCommand({ Name: 'batches' }),
  );
  const own = new SQSClient(clientOf(emulator));
  const { QueueUrl: queue } = await own.send(new CreateQueueCommand({ QueueName: 'batches' }));
  await own.send(new SendMessageCommand({ QueueUrl: queue, MessageBody: 'text' }));
  const { Messages: [message] = [] } = await own.send(
    new ReceiveMessageCommand({ QueueUrl: queue, WaitTimeSeconds: 1 }),
  );
  assert.ok(message, 'a message to delete');
  const client = await clientAs(emulator, role);
  const publishes = await passes(
    new SNSClient(client).send(
      new PublishBatchCommand({
        TopicArn: topic,
        PublishBatchRequestEntries: [{ Id: '1', Message: 'text' }],
      }),
    ),
    /AuthorizationError|AccessDenied/,
  );
  const deletes = await passes(
    new SQSClient(client).send(
      new DeleteMessageBatchCommand({
        QueueUrl: queue,
        Entries: [{ Id: '1', ReceiptHandle: message.ReceiptHandle }],
      }),
    ),
    /AccessDenied/,
  );
  const sends = await passes(
    new SQSClient(client).send(
      new SendMessageBatchCommand({
        QueueUrl: queue,
        Entries: [{ Id: '1', MessageBody: 'text' }],
      }),
    ),
    /AccessDenied/,
  );
  assert.equal(publishes, deletes, 'all parts of the patch are needed, or none');
  assert.equal(publishes, sends, 'all parts of the patch are needed, or none');
  return publishes;
});

isNeeded('log_permissions', async (emulator) => {
  const role = await makeRole(emulator, 'silent', {
    Effect: 'Allow',
    Action: 'dynamodb:PutItem',
    Resource: '*',
  });
  await makeFunction(emulator, 'silent', role, join(directory, 'unused'));
  const lambda = new LambdaClient(clientOf(emulator));
  const { FunctionError: error } = await lambda.send(
    new InvokeCommand({ FunctionName: 'silent', Payload: '{}' }),
  );
  assert.equal(error, undefined);
  const { logGroups } = await new CloudWatchLogsClient(clientOf(emulator)).send(
    new DescribeLogGroupsCommand({ logGroupNamePrefix: '/aws/lambda/silent' }),
  );
  return logGroups?.length === 0;
});

test('stream_after_restart: the fault is still there, and the patch mends it', async () => {
  assert.equal(await deliversAfterRestart(true), true, 'patches/stream_after_restart.py works');
  assert.equal(
    await deliversAfterRestart(false),
    false,
    'the emulator has mended this fault: delete patches/stream_after_restart.py, its line in start.py and this test',
  );
});

/** @param {boolean} isPatched */
async function deliversAfterRestart(isPatched) {
  const state = join(directory, `state-${isPatched}`);
  const received = join(directory, `received-${isPatched}`);
  let emulator = await startMinistack({ state, isPatched });
  const port = Number(new URL(emulator.endpoint).port);
  try {
    const { TableDescription: made } = await new DynamoDBClient(clientOf(emulator)).send(
      new CreateTableCommand({
        ...table('streamed'),
        StreamSpecification: { StreamEnabled: true, StreamViewType: 'NEW_IMAGE' },
      }),
    );
    const role = await makeRole(emulator, 'streamed', {
      Effect: 'Allow',
      Action: '*',
      Resource: '*',
    });
    await makeFunction(emulator, 'streamed', role, received);
    await new LambdaClient(clientOf(emulator)).send(
      new CreateEventSourceMappingCommand({
        EventSourceArn: made?.LatestStreamArn,
        FunctionName: 'streamed',
        StartingPosition: 'TRIM_HORIZON',
        BatchSize: 10,
      }),
    );
    for (const id of ['before-1', 'before-2', 'before-3']) {
      await putStreamed(emulator, id);
    }
    assert.equal(await arrives(received, 'before-3', DELIVERY_SECONDS), true);
    await emulator.stop();
    emulator = await startMinistack({ state, isPatched, port });
    await putStreamed(emulator, 'after-1');
    return await arrives(received, 'after-1', isPatched ? DELIVERY_SECONDS : SILENCE_SECONDS);
  } finally {
    await emulator.stop();
  }
}

/**
 * @param {Ministack} emulator
 * @param {string} id
 */
function putStreamed(emulator, id) {
  return new DynamoDBClient(clientOf(emulator)).send(
    new PutItemCommand({ TableName: 'streamed', Item: { id: { S: id } } }),
  );
}

/**
 * @param {string} file
 * @param {string} text
 * @param {number} seconds
 */
async function arrives(file, text, seconds) {
  for (const deadline = Date.now() + seconds * 1_000; Date.now() < deadline; ) {
    if (existsSync(file) && readFileSync(file, 'utf8').includes(text)) {
      return true;
    }
    await sleep(50);
  }
  return false;
}

/** @param {Ministack} emulator */
function clientOf({ endpoint }) {
  return {
    endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    maxAttempts: 1,
  };
}

/**
 * @param {Ministack} emulator
 * @param {string} role
 */
async function clientAs(emulator, role) {
  const { Credentials: made } = await new STSClient(clientOf(emulator)).send(
    new AssumeRoleCommand({ RoleArn: role, RoleSessionName: 'test' }),
  );
  assert.ok(made?.AccessKeyId && made.SecretAccessKey && made.SessionToken);
  return {
    ...clientOf(emulator),
    credentials: {
      accessKeyId: made.AccessKeyId,
      secretAccessKey: made.SecretAccessKey,
      sessionToken: made.SessionToken,
    },
  };
}

/**
 * @param {Ministack} emulator
 * @param {string} name
 * @param {object} statement
 * @returns {Promise<string>} its ARN
 */
async function makeRole(emulator, name, statement) {
  const iam = new IAMClient(clientOf(emulator));
  const { Role: role } = await iam.send(
    new CreateRoleCommand({
      RoleName: name,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Principal: { AWS: '*' }, Action: 'sts:AssumeRole' }],
      }),
    }),
  );
  await iam.send(
    new PutRolePolicyCommand({
      RoleName: name,
      PolicyName: name,
      PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: [statement] }),
    }),
  );
  return role?.Arn ?? '';
}

/**
 * A function that writes what it is invoked with to a file.
 *
 * @param {Ministack} emulator
 * @param {string} name
 * @param {string} role
 * @param {string} received
 */
async function makeFunction(emulator, name, role, received) {
  const bootstrap = join(directory, 'bootstrap');
  writeFileSync(
    bootstrap,
    `#!${process.execPath}
const { appendFileSync } = require('node:fs');
const api = 'http://' + process.env.AWS_LAMBDA_RUNTIME_API + '/2018-06-01/runtime/invocation/';
(async () => {
  for (;;) {
    const next = await fetch(api + 'next');
    appendFileSync(${JSON.stringify(received)}, (await next.text()) + '\\n');
    const id = next.headers.get('lambda-runtime-aws-request-id');
    console.log('received');
    await fetch(api + id + '/response', { method: 'POST', body: '{}' });
  }
})();
`,
  );
  chmodSync(bootstrap, 0o755);
  const archive = join(directory, 'function.zip');
  const { status } = spawnSync(tools.python, ['-m', 'zipfile', '-c', archive, bootstrap]);
  assert.equal(status, 0);
  await new LambdaClient(clientOf(emulator)).send(
    new CreateFunctionCommand({
      FunctionName: name,
      Role: role,
      Runtime: 'provided.al2023',
      Handler: 'bootstrap',
      Code: { ZipFile: readFileSync(archive) },
    }),
  );
}

/** @param {string} name */
function table(name) {
  return {
    TableName: name,
    BillingMode: /** @type {const} */ ('PAY_PER_REQUEST'),
    AttributeDefinitions: [stringAttribute('id')],
    KeySchema: [{ AttributeName: 'id', KeyType: /** @type {const} */ ('HASH') }],
  };
}

/** A table whose sort key is a number. @param {string} name */
function byNumber(name) {
  return {
    ...table(name),
    AttributeDefinitions: [
      stringAttribute('id'),
      { AttributeName: 'number', AttributeType: /** @type {const} */ ('N') },
    ],
    KeySchema: [
      { AttributeName: 'id', KeyType: /** @type {const} */ ('HASH') },
      { AttributeName: 'number', KeyType: /** @type {const} */ ('RANGE') },
    ],
  };
}

/** @param {string} name */
function stringAttribute(name) {
  return { AttributeName: name, AttributeType: /** @type {const} */ ('S') };
}

/**
 * @param {Promise<unknown>} request
 * @param {string | RegExp} refusal the error that means no; any other is thrown
 */
async function passes(request, refusal) {
  try {
    await request;
    return true;
  } catch (error) {
    assert.ok(error instanceof Error);
    assert.match(error.name, new RegExp(refusal), error.message);
    return false;
  }
}
