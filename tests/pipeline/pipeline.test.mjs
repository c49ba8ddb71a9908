// @ts-check
/**
 * The whole pipeline as it is deployed, on an AWS emulated on this machine: the real `cdk deploy`,
 * the real publisher, real messages, with IAM enforced and TLS on:
 * `node --test tests/pipeline/pipeline.test.mjs`
 *
 * EVENTDB_CODE can name a directory with a built `bootstrap`; else it is built. EVENTDB_TABLE_LAYOUT
 * names the layout of the table, `byTime` or `byRevision`.
 *
 * What the emulator can't tell stands next to the tests. It delivers a batch again when the function
 * fails, but takes no notice of single records that the publisher reports as failed, so that those
 * are proven in `lambda/tests`; and it can't deploy the alarms of production, whose template is
 * proven in `infra/test`.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  paginateFilterLogEvents,
} from '@aws-sdk/client-cloudwatch-logs';
import {
  BatchGetItemCommand,
  BatchWriteItemCommand,
  DeleteItemCommand,
  DescribeTableCommand,
  DynamoDBClient,
  ListTablesCommand,
  QueryCommand,
  ScanCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import {
  AttachRolePolicyCommand,
  CreateRoleCommand,
  IAMClient,
  ListRolesCommand,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import {
  CreateEventSourceMappingCommand,
  DeleteEventSourceMappingCommand,
  LambdaClient,
  ListEventSourceMappingsCommand,
  ListFunctionsCommand,
} from '@aws-sdk/client-lambda';
import { ListBucketsCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import {
  ListTopicsCommand,
  SNSClient,
  SubscribeCommand,
  UnsubscribeCommand,
} from '@aws-sdk/client-sns';
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  DeleteMessageCommand,
  DeleteQueueCommand,
  ListQueuesCommand,
  ReceiveMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { CloudEvent } from 'cloudevents';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { operatorsTool, runProgram } from '../operators-tool.mjs';
import { makeCertificate } from './emulator/certificate.mjs';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
  publisherCode,
  TABLE_LAYOUT,
  tableSchema,
  untilPublisherIsReady,
} from './emulator/pipeline.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

/** @typedef {Record<string, any>} Json */
/** @typedef {{ accessKeyId: string, secretAccessKey: string, sessionToken?: string }} Credentials */

const SUBSCRIBERS_APP = 'node --import tsx tests/pipeline/subscribers.ts';
const PRODUCTION_APP = 'node --import tsx tests/pipeline/production.ts';
const LIBRARY = 'https://library.example.com';
const READERS = 'https://readers.example.com';
/** Stands in every event's data, and must never be seen in a log. */
const SECRET = `secret-${randomUUID()}`;
const ARRIVAL_SECONDS = 30;
/** What the examples take to open a table by revision. */
const LAYOUT_OPTIONS = TABLE_LAYOUT === 'byRevision' ? ['--by-revision'] : [];
/** @type {Credentials} */
const ROOT = { accessKeyId: 'test', secretAccessKey: 'test' };

const directory = mkdtempSync(join(tmpdir(), 'eventdb-pipeline-'));
let certificate = '';
/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {import('./emulator/pipeline.mjs').Cdk} */
let cdk;
/** @type {Record<string, string>} */
let context = {};
/** @type {Record<string, string>} */
let store = {};
/** @type {Record<string, string>} */
let subscribersContext = {};
/** @type {Record<string, Record<string, string>>} */
let subscribers = {};
/** Every event that was stored, by id. @type {Map<string, Json>} */
const stored = new Map();
/** What the subscriber to everything got, by id. @type {Map<string, Json>} */
const arrived = new Map();
/** The ids of all that it got, in the order of arrival. @type {string[]} */
const arrivals = [];

before(async () => {
  const tls = await makeCertificate(directory);
  certificate = tls.certificate;
  ministack = await startMinistack({
    tls,
    enforcesIam: true,
  });
  cdk = cdkFor(ministack, { isQuiet: true });
  context = { ...eventStoreContext(publisherCode()), subscriptionAccounts: '111111111111' };
  const readModelCode = builtReadModel();
  await cdk.bootstrap();
  store = outputsOfOnlyStack(await cdk.deploy(EVENT_STORE_APP, context), [
    'TableName',
    'TableLayout',
    'TopicArn',
    'PublisherName',
    'AppendPolicyArn',
    'ReadPolicyArn',
    'FeedTableName',
    'FollowPolicyArn',
  ]);
  subscribersContext = {
    topicArn: output(store, 'TopicArn'),
    eventTable: output(store, 'TableName'),
    eventTableLayout: output(store, 'TableLayout'),
    readPolicyArn: output(store, 'ReadPolicyArn'),
    readModelCode,
  };
  subscribers = await cdk.deploy(SUBSCRIBERS_APP, subscribersContext);
  await untilPublisherIsReady(client(LambdaClient), output(store, 'PublisherName'));
});

after(async () => {
  cdk?.discard();
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('the table is as the schema file says', async () => {
  const { Table: table } = await client(DynamoDBClient).send(
    new DescribeTableCommand({ TableName: output(store, 'TableName') }),
  );
  const types = new Map(
    table?.AttributeDefinitions?.map(({ AttributeName: name, AttributeType: type }) => [
      name,
      type,
    ]),
  );
  /** @param {import('@aws-sdk/client-dynamodb').KeySchemaElement[] | undefined} keys */
  const keyOf = (keys) =>
    [...(keys ?? [])]
      .sort((one, other) => ((one.KeyType ?? '') < (other.KeyType ?? '') ? -1 : 1))
      .map(({ AttributeName: name }) => ({ name, type: types.get(name) }));
  const { partitionKey, sortKey, globalSecondaryIndexes, localSecondaryIndexes } = tableSchema();
  assert.equal(output(store, 'TableLayout'), TABLE_LAYOUT);
  assert.deepEqual(keyOf(table?.KeySchema), [partitionKey, sortKey]);
  assert.deepEqual(
    table?.GlobalSecondaryIndexes?.map((index) => [
      index.IndexName,
      keyOf(index.KeySchema),
      index.Projection?.ProjectionType,
      index.Projection?.NonKeyAttributes ?? [],
    ]),
    globalSecondaryIndexes.map((index) => [
      index.name,
      [index.partitionKey, index.sortKey].filter(Boolean),
      index.projectionType,
      index.nonKeyAttributes ?? [],
    ]),
  );
  assert.deepEqual(
    (table?.LocalSecondaryIndexes ?? []).map((index) => index.IndexName),
    localSecondaryIndexes.map(({ name }) => name),
  );
});

test('events of many kinds are appended by a service that may just append', async () => {
  const service = await assumeRole('Appender', output(store, 'AppendPolicyArn'));
  await append(appends(), service);
  assert.equal(stored.size, appends().flat().length);
});

test('each arrives, exactly as it is stored, as a valid CloudEvent', async () => {
  await receiveAll();
  assert.ok(stored.size > 100);
  assert.equal(arrived.size, stored.size);
  // The publisher adds which store an event comes from.
  const table = `:table/${output(store, 'TableName')}/stream/`;
  const stores = new Set([...arrived.values()].map((message) => message['eventstore']));
  assert.equal(stores.size, 1, [...stores].join());
  assert.ok(
    [...stores].every((arn) => arn?.startsWith('arn:') && arn.includes(table)),
    table,
  );
  for (const [id, event] of stored) {
    const { eventstore: _, ...message } = arrived.get(id) ?? {};
    assert.deepEqual(message, event);
    assert.equal(new CloudEvent(event, true).validate(), true);
    assert.deepEqual(JSON.parse(JSON.stringify(new CloudEvent(event, true))), event);
  }
});

test('`sequence` restores the order of each subject, and shows that nothing is missing', () => {
  const subjects = new Set([...stored.values()].map((event) => event['subject']));
  assert.ok(subjects.size > 5);
  for (const subject of subjects) {
    /** @param {Map<string, Json>} events */
    const of = (events) => [...events.values()].filter((event) => event['subject'] === subject);
    const restored = of(arrived).sort((one, other) =>
      one['sequence'] < other['sequence'] ? -1 : 1,
    );
    assert.deepEqual(
      restored.map((event) => event['id']),
      of(stored).map((event) => event['id']),
    );
    assert.deepEqual(
      restored.map((event) => Number(event['sequence'])),
      restored.map((_, index) => index + 1),
    );
  }
});

test('filters deliver what they should and nothing else, and messages have their attributes', async () => {
  // It meets every filter, and is appended when all the others have been published: where it has
  // arrived, nothing that a filter let through is still to come.
  await append([[candidate({ subject: 'book:last' })]], await appender());
  await receiveAll();
  const last = [...stored.values()].at(-1)?.['id'];

  /** @type {Record<string, (event: Json) => boolean>} */
  const filters = {
    ByType: ({ type }) => ['book.borrowed', 'книга.взята'].includes(type),
    BySource: ({ source }) => source === LIBRARY,
    ByPrefix: ({ subject }) => subject.startsWith('book:'),
    ByAll: ({ type, source, subject }) =>
      type === 'book.borrowed' && source === LIBRARY && subject.startsWith('book:'),
  };
  for (const [name, filter] of Object.entries(filters)) {
    const queue = output(subscribers[name], 'QueueUrl');
    const delivered = await receive(queue, (bodies) => bodies.some(({ id }) => id === last));
    const wanted = [...stored.values()].filter(filter).map(({ id }) => id);
    assert.ok(wanted.length > 1 && wanted.length < stored.size, name);
    assert.deepEqual([...new Set(delivered.map(({ id }) => id))].sort(), wanted.sort(), name);
  }

  const envelopes = await receive(
    output(subscribers['Enveloped'], 'EnvelopeQueueUrl'),
    (bodies) => new Set(bodies.map(({ Message }) => JSON.parse(Message).id)).size === stored.size,
  );
  for (const { Message: message, MessageAttributes: attributes } of envelopes) {
    const event = JSON.parse(message);
    assert.deepEqual(
      attributes,
      Object.fromEntries(
        ['id', 'type', 'time', 'source', 'subject', 'sequence'].map((name) => [
          name,
          { Type: 'String', Value: event[name] },
        ]),
      ),
    );
  }
});

test("the publisher's log has its counts, and nothing of the events' data", async () => {
  const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
  for (;;) {
    const messages = await logMessages();
    for (const message of messages) {
      assert.ok(!message.includes(SECRET), message);
    }
    const published = messages
      .filter((message) => message.includes('"PublishedEvents":'))
      .reduce((sum, message) => sum + Number(JSON.parse(message)['PublishedEvents']), 0);
    // A message may arrive before its publisher has written that down.
    if (published === stored.size) {
      return;
    }
    assert.ok(published < stored.size && Date.now() < deadline, `${published} of ${stored.size}`);
    await sleep(100);
  }
});

test('a subscriber in Rust applies each event once and in order', async () => {
  const reader = await readerCredentials();
  const printed = await runExample('subscriber', ['--until-empty', ...LAYOUT_OPTIONS], {
    ...environmentOf(reader),
    LIBRARY_QUEUE: output(subscribers['Reader'], 'QueueUrl'),
    LIBRARY_TOPIC: output(store, 'TopicArn'),
    LIBRARY_TABLE: output(store, 'TableName'),
  });
  const last = printed.trim().split('\n\n').at(-1)?.split('\n');
  assert.deepEqual(
    last?.sort(),
    [...borrowers()]
      .map(([subject, { borrower, revision }]) => {
        return `${subject} is with ${borrower ?? 'nobody'}, as of revision ${revision}`;
      })
      .sort(),
  );
});

test('a read model that is a Lambda function ends at the same state', async () => {
  const dynamodb = client(DynamoDBClient);
  const TableName = output(subscribers['ReadModel'], 'ViewTable');
  const wanted = borrowers();
  const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
  for (;;) {
    const { Items: items = [] } = await dynamodb.send(
      new ScanCommand({ TableName, ConsistentRead: true }),
    );
    const view = new Map(items.map((item) => [item['id']?.S, item]));
    const seen = [...wanted.keys()].map((subject) => [
      subject,
      {
        borrower: view.get(subject)?.['borrower']?.S,
        revision: Number(view.get(`$position/loans/${subject}`)?.['revision']?.N ?? 0),
      },
    ]);
    if (isDeepStrictEqual(seen, [...wanted])) {
      return;
    }
    assert.ok(Date.now() < deadline, JSON.stringify({ seen, wanted: [...wanted] }, undefined, 1));
    await sleep(200);
  }
});

test('a publisher that is killed in the middle of a batch loses nothing', async () => {
  // Sent again whole, as by AWS, a batch that was published in part comes in part twice.
  let twice = 0;
  for (let round = 0; twice === 0; round += 1) {
    assert.ok(round < 10, 'the publisher was never met at work');
    const subject = `book:killed-${round}`;
    const known = arrivals.length;
    await append([Array.from({ length: 60 }, () => candidate({ subject }))], await appender());
    const queue = output(subscribers['All'], 'QueueUrl');
    await receive(queue, (bodies) => bodies.length > 0, { untilEmpty: false });
    assert.ok(killPublisher() > 0, 'no process of the publisher was found');
    await receiveAll();
    const ids = arrivals.slice(known);
    twice += ids.length - new Set(ids).size;
  }
  assert.deepEqual([...arrived.keys()].sort(), [...stored.keys()].sort());
});

test('what appends can neither change an event nor delete one', async () => {
  const TableName = output(store, 'TableName');
  const [event] = stored.values();
  const { Items: [item] = [] } = await client(DynamoDBClient).send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: 'subject = :subject',
      ExpressionAttributeValues: { ':subject': { S: event?.['subject'] } },
      Limit: 1,
    }),
  );
  const Key = keyOfItem(item);
  const dynamodb = client(DynamoDBClient, await appender());
  await assert.rejects(
    dynamodb.send(
      new UpdateItemCommand({
        TableName,
        Key,
        UpdateExpression: 'SET forged = :true',
        ExpressionAttributeValues: { ':true': { BOOL: true } },
      }),
    ),
    { name: 'AccessDeniedException' },
  );
  await assert.rejects(dynamodb.send(new DeleteItemCommand({ TableName, Key })), {
    name: 'AccessDeniedException',
  });
  // It takes no conditions, so it would overwrite.
  const RequestItems = { [TableName]: [{ PutRequest: { Item: item } }] };
  await assert.rejects(dynamodb.send(new BatchWriteItemCommand({ RequestItems })), {
    name: 'AccessDeniedException',
  });
});

test('what may only read, or has no policy at all, can append nothing', async () => {
  const reader = await assumeRole('Reader', output(store, 'ReadPolicyArn'));
  const stranger = await assumeRole('Stranger');
  for (const credentials of [reader, stranger]) {
    await assert.rejects(append([[candidate({ subject: 'book:forged' })]], credentials), /denied/i);
  }
});

test('what reads may get events in batches where the index of all events has no data', async () => {
  const TableName = output(store, 'TableName');
  const Keys = [{ subject: { S: 'book:1' }, ...firstSortKey() }];
  const get = async (/** @type {Credentials} */ credentials) =>
    client(DynamoDBClient, credentials).send(
      new BatchGetItemCommand({ RequestItems: { [TableName]: { Keys } } }),
    );
  const reader = await credentialsOf('arn:aws:iam::000000000000:role/Reader');
  if (TABLE_LAYOUT === 'byRevision') {
    const { Responses: found } = await get(reader);
    assert.equal(found?.[TableName]?.length, 1);
  } else {
    await assert.rejects(get(reader), { name: 'AccessDeniedException' });
  }
  await assert.rejects(get(await appender()), { name: 'AccessDeniedException' });
});

test('only an account that is listed can subscribe', async () => {
  await subscribeAndUnsubscribe('111111111111');
  await assert.rejects(subscribeAndUnsubscribe('222222222222'), {
    name: 'AuthorizationErrorException',
  });
});

test('an update of the stack takes effect, and loses nothing that is appended meanwhile', async () => {
  const code = mkdtempSync(join(directory, 'code-'));
  copyFileSync(join(output(context, 'code'), 'bootstrap'), join(code, 'bootstrap'));
  writeFileSync(join(code, 'changed'), 'another version of the function');
  const burst = Array.from({ length: 100 }, (_, index) => [
    candidate({ subject: `book:updated-${index % 4}` }),
  ]);

  const [outputs] = await Promise.all([
    cdk.deploy(EVENT_STORE_APP, { ...context, code, subscriptionAccounts: '222222222222' }),
    append(burst, await appender()),
  ]);
  assert.deepEqual(Object.values(outputs), [store]);
  await append([[candidate({ subject: 'book:after-update' })]], await appender());
  await receiveAll();
  assert.deepEqual([...arrived.keys()].sort(), [...stored.keys()].sort());

  await subscribeAndUnsubscribe('222222222222');
  await assert.rejects(subscribeAndUnsubscribe('111111111111'), {
    name: 'AuthorizationErrorException',
  });
});

test('the feed lists every published event, and who may follow it can read them', async () => {
  const follower = await assumeRole('Follower', output(store, 'FollowPolicyArn'));
  /** @param {Credentials} credentials */
  const follow = (credentials) =>
    runExample('follow_feed', LAYOUT_OPTIONS, {
      ...environmentOf(credentials),
      LIBRARY_TABLE: output(store, 'TableName'),
      LIBRARY_FEED: output(store, 'FeedTableName'),
    });
  /** @type {Map<string, Json>} */
  let listed = new Map();
  // An event is listed after the topic has accepted it, so it may have arrived before.
  const end = Date.now() + ARRIVAL_SECONDS * 1_000;
  while (listed.size < stored.size && Date.now() < end) {
    const lines = (await follow(follower)).split('\n').filter((text) => text !== '');
    const events = lines.map((line) => JSON.parse(line));
    listed = new Map(events.map((event) => [event.id, event]));
  }
  assert.deepEqual([...listed.keys()].sort(), [...stored.keys()].sort());
  for (const [id, event] of stored) {
    assert.deepEqual(listed.get(id), event);
  }
  await assert.rejects(follow(await appender()), /AccessDenied/);
});

test('verify names exactly the events that were lost, and republish delivers exactly these', async () => {
  const verifier = await assumeRole('Verifier', output(store, 'VerifyPolicyArn'));
  const republisher = await assumeRole('Republisher', output(store, 'RepublishPolicyArn'));
  const before = new Set(stored.keys());
  const verify = ['verify', '--second-look-after', '1s'];
  // Everything that was published is listed by now, since the test before.
  const clean = await runTool(verify, verifier);
  assert.equal(clean.status, 0, clean.printed + clean.complaint);

  await withoutPublisher(async () => {
    const burst = Array.from({ length: 12 }, (_, index) => [
      candidate({ subject: `book:lost-${index % 3}` }),
    ]);
    await append(burst, await appender());
  });
  const lost = [...stored.keys()].filter((id) => !before.has(id)).sort();
  assert.equal(lost.length, 12);
  await append([[candidate({ subject: 'book:after-loss' })]], await appender());
  await receive(output(subscribers['All'], 'QueueUrl'), () =>
    [...stored.keys()].every((id) => arrived.has(id) || lost.includes(id)),
  );
  assert.deepEqual(
    lost.filter((id) => arrived.has(id)),
    [],
  );

  const found = await runTool([...verify, '--json'], verifier);
  assert.equal(found.status, 1, found.complaint);
  const lines = found.printed
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));
  const unpublished = lines.filter(({ kind }) => kind === 'unpublished');
  assert.deepEqual(unpublished.map(({ id }) => id).sort(), lost);
  assert.deepEqual(lines.at(-1), {
    kind: 'verification',
    events: stored.size,
    unpublished: lost.length,
    unknown: 0,
    invalidRows: 0,
    damagedSubjects: 0,
    acknowledged: 0,
  });

  const republish = ['republish', '--events', '-'];
  const dryRun = await runTool(republish, republisher, found.printed);
  assert.equal(dryRun.printed, 'would publish 12 events\n', dryRun.complaint);
  const denied = await runTool([...republish, '--yes'], verifier, found.printed);
  assert.equal(denied.status, 2);
  // By revision, verifying needs no single event, so reading the row is refused before.
  assert.match(denied.complaint, /lambda:InvokeFunction|dynamodb:GetItem/);
  const known = arrivals.length;
  const published = await runTool([...republish, '--yes'], republisher, found.printed);
  assert.equal(published.printed, 'published 12 events; 0 failed\n', published.complaint);
  await receiveAll();
  assert.deepEqual(arrivals.slice(known).sort(), lost);
  const again = await runTool(verify, verifier);
  assert.equal(again.status, 0, again.printed + again.complaint);
});

test('a replay sends one queue what its subscription delivers, byte for byte, and says so', async () => {
  const replayer = await assumeRole('Replayer', output(store, 'ReplayPolicyArn'));
  const queue = output(subscribers['ByAll'], 'QueueUrl');
  const subscription = output(subscribers['ByAll'], 'SubscriptionArn');
  const replay = ['replay', '--subscription', subscription, '--json'];
  const denied = await runTool(replay, replayer);
  assert.equal(denied.status, 2);
  // The queue isn't among the stack's `replayQueues`.
  assert.match(denied.complaint, /sqs:GetQueueUrl/i);
  await allow('Replayer', ['sqs:GetQueueUrl'], '*');
  await receive(queue, () => true);

  const wanted = [...stored.values()]
    .filter(({ type, source, subject }) =>
      [type === 'book.borrowed', source === LIBRARY, subject.startsWith('book:')].every(Boolean),
    )
    .map(({ id }) => id)
    .sort();
  const dryRun = await runTool(replay, replayer);
  assert.equal(dryRun.status, 1, dryRun.complaint);
  const estimate = JSON.parse(dryRun.printed);
  assert.equal(estimate.kind, 'wouldReplay');
  assert.ok(estimate.messages >= wanted.length && estimate.dollars > 0, dryRun.printed);
  assert.deepEqual(await messagesOf(queue, 0), []);
  const mayNotSend = await runTool([...replay, '--yes'], replayer);
  assert.equal(mayNotSend.status, 2);
  assert.match(mayNotSend.complaint, /sqs:SendMessage/i);
  assert.match(mayNotSend.complaint, /to go on/);

  await allow('Replayer', ['sqs:SendMessage'], '*');
  const replayed = await runTool([...replay, '--yes', '--messages-per-second', '10000'], replayer);
  assert.equal(replayed.status, 0, replayed.printed + replayed.complaint);
  const messages = await messagesOf(queue, wanted.length);
  assert.deepEqual(messages.map(({ event }) => event['id']).sort(), wanted);
  for (const { body, event, attributes } of messages) {
    assert.equal(body, JSON.stringify(arrived.get(event['id'])), 'as SNS has delivered it');
    assert.match(attributes['replay'] ?? '', /^replay-/);
    for (const name of ['id', 'type', 'time', 'source', 'subject', 'sequence']) {
      assert.equal(attributes[name], event[name], name);
    }
  }

  // From where it ended, there is nothing more, until something is appended.
  const { cursor } = JSON.parse(replayed.printed);
  const rest = await runTool([...replay, '--after', cursor], replayer);
  assert.equal(rest.status, 0, rest.printed + rest.complaint);
  assert.equal(JSON.parse(rest.printed).messages, 0);
});

test('a replay into a FIFO queue keeps the order of each subject, also a second time', async () => {
  const sqs = client(SQSClient);
  const { QueueUrl: queue = '' } = await sqs.send(
    new CreateQueueCommand({
      QueueName: 'replayed.fifo',
      Attributes: { FifoQueue: 'true', VisibilityTimeout: '30' },
    }),
  );
  const replay = [
    'replay',
    '--queue',
    queue,
    '--filter',
    '{}',
    '--yes',
    '--messages-per-second',
    '10000',
  ];
  for (const _ of ['the first time', 'within the five minutes of deduplication']) {
    const replayed = await runTool([...replay, '--subject-prefix', 'book:lost-'], ROOT);
    assert.equal(replayed.status, 0, replayed.printed + replayed.complaint);
    const messages = await messagesOf(queue, 12);
    assert.equal(messages.length, 12);
    /** @type {Record<string, string[]>} */
    const sequences = {};
    for (const { event, group } of messages) {
      const { subject, sequence } = event;
      assert.equal(group, subject);
      sequences[subject] = [...(sequences[subject] ?? []), sequence];
    }
    for (const subject of Object.values(sequences)) {
      assert.deepEqual(subject, [...subject].sort());
    }
  }
  const last = await runTool([...replay, '--subject-prefix', 'book:lost-', '--last-only'], ROOT);
  assert.equal(last.status, 0, last.complaint);
  assert.equal((await messagesOf(queue, 3)).length, 3);
  await sqs.send(new DeleteQueueCommand({ QueueUrl: queue }));
});

test('redrive publishes what is in the failure bucket, and empties it', async () => {
  const operator = await assumeRole('Redriver', output(store, 'RedrivePolicyArn'));
  const before = new Set(stored.keys());
  await withoutPublisher(async () => {
    await append([[candidate({ subject: 'book:failed' })]], await appender());
  });
  const [failed = ''] = [...stored.keys()].filter((id) => !before.has(id));
  const shown = await runTool(['show', failed, '--json'], ROOT);
  const { row } = JSON.parse(shown.printed);
  // As Lambda writes it.
  const Records = [
    {
      eventID: '1',
      eventName: 'INSERT',
      awsRegion: REGION,
      dynamodb: {
        SequenceNumber: '1',
        SizeBytes: 26,
        NewImage: row,
        StreamViewType: 'NEW_IMAGE',
      },
    },
  ];
  await client(S3Client).send(
    new PutObjectCommand({
      Bucket: output(store, 'FailureBucketName'),
      Key: 'aws/lambda/1/shard/2026/01/01/failed',
      Body: JSON.stringify({
        requestContext: { condition: 'RetryAttemptsExhausted' },
        payload: JSON.stringify({ Records }),
      }),
    }),
  );
  const dryRun = await runTool(['redrive'], operator);
  assert.equal(dryRun.status, 1, dryRun.complaint);
  assert.match(dryRun.printed, /1 records would be published \(RetryAttemptsExhausted\)/);
  const redriven = await runTool(['redrive', '--yes'], operator);
  assert.equal(redriven.status, 0, redriven.printed + redriven.complaint);
  await receiveAll();
  const again = await runTool(['redrive', '--yes', '--json'], operator);
  assert.deepEqual(JSON.parse(again.printed), {
    kind: 'redrive',
    objects: 0,
    records: 0,
    left: 0,
  });
});

test('what may append may also decide on aggregates and keep snapshots', async () => {
  const printed = await runExample('typed_library', LAYOUT_OPTIONS, {
    ...environmentOf(await appender()),
    LIBRARY_TABLE: output(store, 'TableName'),
  });
  assert.match(printed, /with: 490 loans, from 0 events/);
});

test('when the stacks go, nothing stays, even with functions at work', async () => {
  const burst = Array.from({ length: 200 }, () => [candidate({ subject: 'book:last-of-all' })]);
  await append(burst, await appender());
  await cdk.destroy(SUBSCRIBERS_APP, subscribersContext);
  await cdk.destroy(EVENT_STORE_APP, context);

  const { Stacks: stacks } = await client(CloudFormationClient).send(new DescribeStacksCommand({}));
  assert.deepEqual(
    stacks?.map(({ StackName: name }) => name),
    ['CDKToolkit'],
  );
  const { TableNames: tables } = await client(DynamoDBClient).send(new ListTablesCommand({}));
  assert.deepEqual(tables, []);
  const { Topics: topics = [] } = await client(SNSClient).send(new ListTopicsCommand({}));
  assert.deepEqual(topics, []);
  const { QueueUrls: queues = [] } = await client(SQSClient).send(new ListQueuesCommand({}));
  assert.deepEqual(queues, []);
  const { Functions: functions } = await client(LambdaClient).send(new ListFunctionsCommand({}));
  assert.deepEqual(functions, []);
  const { logGroups } = await client(CloudWatchLogsClient).send(new DescribeLogGroupsCommand({}));
  assert.deepEqual(logGroups, []);
  const { Buckets: buckets = [] } = await client(S3Client).send(new ListBucketsCommand({}));
  assert.deepEqual(
    buckets.filter(({ Name: name }) => !name?.startsWith('cdk-')),
    [],
  );
  const { Roles: roles = [] } = await client(IAMClient).send(new ListRolesCommand({}));
  assert.deepEqual(
    roles.map(({ RoleName: name = '' }) => name).filter((name) => /EventDB|All|By/.test(name)),
    [],
  );
});

test('in production the events stay when the stack goes', async () => {
  const code = { code: output(context, 'code'), tableLayout: TABLE_LAYOUT };
  const [production = {}] = Object.values(await cdk.deploy(PRODUCTION_APP, code));
  const TableName = output(production, 'TableName');
  await append([[candidate({ subject: 'book:kept' })]], ROOT, TableName);
  await cdk.destroy(PRODUCTION_APP, code);

  const { Stacks: stacks } = await client(CloudFormationClient).send(new DescribeStacksCommand({}));
  assert.ok(stacks?.every(({ StackName: name }) => name !== 'Production'));
  const { Items: items } = await client(DynamoDBClient).send(
    new QueryCommand({
      TableName,
      KeyConditionExpression: 'subject = :subject',
      ExpressionAttributeValues: { ':subject': { S: 'book:kept' } },
    }),
  );
  assert.equal(items?.length, 1);
  const { Topics: topics = [] } = await client(SNSClient).send(new ListTopicsCommand({}));
  assert.ok(topics.some(({ TopicArn: arn }) => arn === production['TopicArn']));
  const { logGroups = [] } = await client(CloudWatchLogsClient).send(
    new DescribeLogGroupsCommand({}),
  );
  assert.ok(logGroups.some(({ logGroupName: name }) => name === production['LogGroupName']));
  const { Buckets: buckets = [] } = await client(S3Client).send(new ListBucketsCommand({}));
  assert.ok(buckets.some(({ Name: name }) => name === production['FailureBucketName']));
  const { Functions: functions } = await client(LambdaClient).send(new ListFunctionsCommand({}));
  assert.deepEqual(functions, []);
});

/** What is appended, each member of the list in one call. @returns {Json[][]} */
function appends() {
  /** @param {string} subject @param {number} length */
  const burst = (subject, length) =>
    Array.from({ length }, (_, index) =>
      candidate({ subject, type: index % 2 === 0 ? 'book.borrowed' : 'book.returned' }),
    );
  return [
    burst('book:1', 40),
    burst('book:2', 40),
    ...Array.from({ length: 20 }, () => [candidate({ subject: 'book:3' })]),
    // Of several subjects, whole or not at all.
    ['book:1', 'book:2', 'reader:1'].map((subject) =>
      candidate({ subject, type: 'library.closed' }),
    ),
    Array.from({ length: 30 }, (_, index) =>
      candidate({ subject: 'reader:1', type: `reader.did.${index}`, source: READERS }),
    ),
    [candidate({ subject: 'book:foreign', source: READERS })],
    [
      candidate({
        subject: 'книга:一二三📚',
        type: 'книга.взята',
        data: {
          secret: SECRET,
          título: 'O Alquimista\u2028\u0000\t"\\/',
          family: '👩‍👩‍👧‍👦',
          combining: 'e\u0301 é',
        },
        extensions: { traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01' },
      }),
    ],
    [
      candidate({
        subject: 'book:large',
        data: { secret: SECRET, userId: 'user:1', text: 'x'.repeat(200 * 1024) },
      }),
    ],
    [
      candidate({
        subject: 'book:nested',
        data: {
          secret: SECRET,
          userId: 'user:2',
          list: [1, -0.5, null, true, [], {}, [[['deep']]]],
          large: 1e100,
        },
      }),
    ],
  ];
}

/** The key of an item of the event table. @param {Json | undefined} item */
function keyOfItem(item) {
  const { partitionKey, sortKey } = tableSchema();
  return Object.fromEntries(
    [partitionKey, sortKey].map(({ name }) => {
      assert.ok(item?.[name] !== undefined, `the item has no ${name}`);
      return [name, item[name]];
    }),
  );
}

/**
 * A sort key such as the first event of a subject has.
 *
 * @returns {Record<string, import('@aws-sdk/client-dynamodb').AttributeValue>}
 */
function firstSortKey() {
  return TABLE_LAYOUT === 'byRevision' ? { revision: { N: '1' } } : { time_type: { S: '0_a' } };
}

/** @param {Json} own */
function candidate(own) {
  const data = { secret: SECRET, userId: 'user:456' };
  return { source: LIBRARY, type: 'book.borrowed', data, ...own };
}

/**
 * Appends with the crate, and notes what it has stored.
 *
 * @param {Json[][]} events each member in one call
 * @param {Credentials} credentials
 * @param {string} [table] another one than the test's, of which nothing is noted
 */
async function append(events, credentials, table) {
  const printed = await runExample(
    'append_json',
    LAYOUT_OPTIONS,
    { ...environmentOf(credentials), LIBRARY_TABLE: table ?? output(store, 'TableName') },
    events.map((event) => `${JSON.stringify(event)}\n`).join(''),
  );
  for (const line of printed.split('\n').filter((text) => text !== '')) {
    const event = JSON.parse(line);
    if (table === undefined) {
      stored.set(event.id, event);
    }
  }
}

/**
 * Does something whose records nobody gets: they are lost.
 *
 * @param {() => Promise<void>} act
 */
async function withoutPublisher(act) {
  const lambda = client(LambdaClient);
  const FunctionName = output(store, 'PublisherName');
  const { EventSourceMappings: [mapping] = [] } = await lambda.send(
    new ListEventSourceMappingsCommand({ FunctionName }),
  );
  assert.ok(mapping !== undefined);
  await lambda.send(new DeleteEventSourceMappingCommand({ UUID: mapping.UUID }));
  await act();
  const { EventSourceArn, FilterCriteria, BatchSize, FunctionResponseTypes } = mapping;
  await lambda.send(
    new CreateEventSourceMappingCommand({
      FunctionName,
      EventSourceArn,
      FilterCriteria,
      BatchSize,
      FunctionResponseTypes,
      StartingPosition: 'LATEST',
    }),
  );
}

/**
 * Runs the operators' tool.
 *
 * @param {string[]} options
 * @param {Credentials} credentials
 * @param {string} [input]
 */
async function runTool(options, credentials, input = '') {
  const env = {
    ...environmentOf(credentials),
    EVENTDB_TABLE: output(store, 'TableName'),
    EVENTDB_FEED: output(store, 'FeedTableName'),
    EVENTDB_PUBLISHER: output(store, 'PublisherName'),
    EVENTDB_FAILURE_BUCKET: output(store, 'FailureBucketName'),
  };
  return runProgram(operatorsTool(), options, env, input);
}

/**
 * Runs an example of the crate and returns what it has printed.
 *
 * @param {string} name
 * @param {string[]} options
 * @param {NodeJS.ProcessEnv} env
 * @param {string} [input]
 * @returns {Promise<string>}
 */
async function runExample(name, options, env, input = '') {
  const command = ['run', '--quiet', '--locked', '--all-features', '--example', name, '--'];
  const { status, printed, complaint } = await runProgram(
    'cargo',
    [...command, ...options],
    env,
    input,
  );
  if (status !== 0) {
    throw new Error(complaint);
  }
  return printed;
}

/** @param {Credentials} credentials */
function environmentOf(credentials) {
  return {
    ...ministack.environment,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: credentials.sessionToken,
  };
}

/**
 * Who has which book according to what is stored, and the subject's last revision.
 *
 * @returns {Map<string, { borrower: string | undefined, revision: number }>}
 */
function borrowers() {
  /** @type {ReturnType<typeof borrowers>} */
  const loans = new Map();
  // By subject they stand in the order of their revisions.
  for (const { subject, type, data, sequence } of stored.values()) {
    const loan = loans.get(subject) ?? { borrower: undefined, revision: 0 };
    loans.set(subject, loan);
    assert.equal(Number(sequence), loan.revision + 1);
    loan.revision += 1;
    if (type === 'book.borrowed') {
      loan.borrower = data.userId;
    } else if (type === 'book.returned') {
      loan.borrower = undefined;
    }
  }
  return loans;
}

/** Kills the publisher's processes, without a word of warning. @returns {number} how many */
function killPublisher() {
  const { stdout } = spawnSync('ps', ['-A', '-ww', '-o', 'pid=,args='], { encoding: 'utf8' });
  const port = new URL(ministack.endpoint).port;
  const publishers = stdout
    .split('\n')
    .filter((line) => line.includes(`ministack-provided-code-${port}`))
    .map((line) => Number.parseInt(line, 10))
    // The read model's function too is killed: it loses nothing either.
    .filter((id) => Number.isInteger(id));
  for (const id of publishers) {
    process.kill(id, 'SIGKILL');
  }
  return publishers.length;
}

/** What all functions have logged. @returns {Promise<string[]>} */
async function logMessages() {
  const logs = client(CloudWatchLogsClient);
  const { logGroups = [] } = await logs.send(new DescribeLogGroupsCommand({}));
  const messages = [];
  for (const { logGroupName } of logGroups) {
    for await (const { events = [] } of paginateFilterLogEvents(
      { client: logs },
      { logGroupName },
    )) {
      messages.push(...events.map(({ message = '' }) => message));
    }
  }
  return messages;
}

/** Receives until the subscriber to everything has all that is stored. */
async function receiveAll() {
  const queue = output(subscribers['All'], 'QueueUrl');
  await receive(queue, () => [...stored.keys()].every((id) => arrived.has(id)));
}

/**
 * Receives until it is enough and, unless told otherwise, the queue is empty.
 *
 * @param {string} QueueUrl
 * @param {(bodies: Json[]) => boolean} isEnough
 * @param {{ untilEmpty: boolean }} options
 * @returns {Promise<Json[]>} the bodies
 */
async function receive(QueueUrl, isEnough, { untilEmpty } = { untilEmpty: true }) {
  const sqs = client(SQSClient);
  const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
  /** @type {Json[]} */
  const bodies = [];
  for (;;) {
    const enough = isEnough(bodies);
    if (enough && !untilEmpty) {
      return bodies;
    }
    const { Messages: messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: enough ? 0 : 1,
      }),
    );
    if (messages.length > 0) {
      const received = messages.map(({ Body: body = '' }) => JSON.parse(body));
      bodies.push(...received);
      if (QueueUrl === output(subscribers['All'], 'QueueUrl')) {
        for (const event of received) {
          arrived.set(event.id, event);
          arrivals.push(event.id);
        }
      }
      await sqs.send(
        new DeleteMessageBatchCommand({
          QueueUrl,
          Entries: messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle })),
        }),
      );
    } else if (enough) {
      return bodies;
    }
    assert.ok(Date.now() < deadline, `after ${bodies.length} messages nothing more comes`);
  }
}

/**
 * Takes all messages of a queue, at least as many as are expected.
 *
 * @param {string} QueueUrl
 * @param {number} least
 */
async function messagesOf(QueueUrl, least) {
  const sqs = client(SQSClient);
  const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
  /** @type {{ body: string, event: Json, attributes: Record<string, string | undefined>, group: string | undefined }[]} */
  const taken = [];
  for (;;) {
    const { Messages: messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: taken.length < least ? 1 : 0,
        MessageAttributeNames: ['All'],
        MessageSystemAttributeNames: ['MessageGroupId'],
      }),
    );
    for (const { Body: body = '', MessageAttributes, Attributes, ReceiptHandle } of messages) {
      const attributes = Object.fromEntries(
        Object.entries(MessageAttributes ?? {}).map(([name, { StringValue }]) => [
          name,
          StringValue,
        ]),
      );
      const group = Attributes?.MessageGroupId;
      taken.push({ body, event: JSON.parse(body), attributes, group });
      await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    }
    if (messages.length === 0 && taken.length >= least) {
      return taken;
    }
    assert.ok(Date.now() < deadline, `after ${taken.length} messages nothing more comes`);
  }
}

/**
 * Lets a role do something more.
 *
 * @param {string} RoleName
 * @param {string[]} actions
 * @param {string} resource
 */
async function allow(RoleName, actions, resource) {
  await client(IAMClient).send(
    new PutRolePolicyCommand({
      RoleName,
      PolicyName: actions.join('-').replaceAll(':', '.'),
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect: 'Allow', Action: actions, Resource: resource }],
      }),
    }),
  );
}

/**
 * Makes a role with a policy, or with none, and takes it on.
 *
 * @param {string} RoleName
 * @param {string} [PolicyArn]
 * @returns {Promise<Credentials>}
 */
async function assumeRole(RoleName, PolicyArn) {
  const iam = client(IAMClient);
  const { Role: role } = await iam.send(
    new CreateRoleCommand({
      RoleName,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: 'arn:aws:iam::000000000000:root' },
            Action: 'sts:AssumeRole',
          },
        ],
      }),
    }),
  );
  if (PolicyArn !== undefined) {
    await iam.send(new AttachRolePolicyCommand({ RoleName, PolicyArn }));
  }
  return credentialsOf(role?.Arn);
}

/** @param {string | undefined} RoleArn */
async function credentialsOf(RoleArn) {
  const { Credentials: given } = await client(STSClient).send(
    new AssumeRoleCommand({ RoleArn, RoleSessionName: 'test' }),
  );
  assert.ok(given?.AccessKeyId !== undefined && given.SecretAccessKey !== undefined);
  return {
    accessKeyId: given.AccessKeyId,
    secretAccessKey: given.SecretAccessKey,
    sessionToken: given.SessionToken,
  };
}

/**
 * Subscribes to the topic from another account. To the emulator that is anyone who has the account's
 * number as access key; on AWS that caller's own policies would have to allow it as well.
 *
 * @param {string} account
 */
async function subscribeAndUnsubscribe(account) {
  const sns = client(SNSClient, { accessKeyId: account, secretAccessKey: 'test' });
  const { SubscriptionArn } = await sns.send(
    new SubscribeCommand({
      TopicArn: output(store, 'TopicArn'),
      Protocol: 'sqs',
      Endpoint: `arn:aws:sqs:${REGION}:${account}:loans`,
    }),
  );
  await client(SNSClient).send(new UnsubscribeCommand({ SubscriptionArn }));
}

/** A role that consumes the queue of the subscriber in Rust and reads the event store. */
async function readerCredentials() {
  const consume = output(subscribers['Reader'], 'ConsumePolicyArn');
  const credentials = await assumeRole('Consumer', consume);
  await client(IAMClient).send(
    new AttachRolePolicyCommand({
      RoleName: 'Consumer',
      PolicyArn: output(store, 'ReadPolicyArn'),
    }),
  );
  return credentials;
}

/** The role of the first test, taken on again. */
function appender() {
  return credentialsOf('arn:aws:iam::000000000000:role/Appender');
}

/**
 * @param {new (configuration: any) => T} Client
 * @param {Credentials} credentials
 * @template T
 * @returns {T}
 */
function client(Client, credentials = ROOT) {
  return new Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials,
    forcePathStyle: true,
    requestHandler: { httpsAgent: new Agent({ ca: readFileSync(certificate) }) },
  });
}

/**
 * @param {Record<string, string> | undefined} outputs
 * @param {string} name
 */
function output(outputs, name) {
  const value = outputs?.[name];
  assert.ok(value !== undefined, `${name} is missing`);
  return value;
}

/** A directory with the function of the read model, built as an example: it needn't be small. */
function builtReadModel() {
  const arguments_ = '--locked -p eventdb-publisher --example read_model -- -C strip=symbols';
  const { status } = spawnSync('cargo', ['rustc', '--quiet', ...arguments_.split(' ')], {
    cwd: REPOSITORY,
    stdio: ['ignore', 2, 2],
  });
  assert.equal(status, 0);
  const code = mkdtempSync(join(directory, 'read-model-'));
  const built = join(REPOSITORY, 'target', 'debug', 'examples', 'read_model');
  copyFileSync(built, join(code, 'bootstrap'));
  return code;
}
