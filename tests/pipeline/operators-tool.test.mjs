// @ts-check
/**
 * The operators' tool on an emulated AWS that enforces IAM: what it prints, its exit status, and what it
 * leaves behind when it is ended.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { IAMClient } from '@aws-sdk/client-iam';
import {
  CreateBucketCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import {
  CreateTopicCommand,
  ListSubscriptionsByTopicCommand,
  PublishCommand,
  SNSClient,
} from '@aws-sdk/client-sns';
import { ListQueuesCommand, SQSClient } from '@aws-sdk/client-sqs';
import { STSClient } from '@aws-sdk/client-sts';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { operatorsTool } from '../operators-tool.mjs';
import { assumeRoleWith } from './emulator/roles.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

/** @typedef {Record<string, any>} Json */

const SOURCE = 'https://library.example.com';
const ROOT = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'test', AWS_SESSION_TOKEN: '' };

const schema = JSON.parse(
  readFileSync(join(REPOSITORY, 'cli', 'output.schema.json'), { encoding: 'utf8' }),
);
const isLine = new Ajv2020({ allowUnionTypes: true }).compile(schema);

/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
let topic = '';

before(async () => {
  ministack = await startMinistack({ enforcesIam: true });
  const { TopicArn } = await client(SNSClient).send(new CreateTopicCommand({ Name: 'Events' }));
  topic = String(TopicArn);
  for (const layout of ['byTime', 'byRevision']) {
    const tables = ['--table', layout, '--feed', `${layout}Feed`];
    const created = await run(['create-table', '--layout', layout, ...tables]);
    assert.equal(created.status, 0, created.told);
  }
});

after(async () => {
  await ministack?.stop();
});

test('a store is looked into as in a file', async () => {
  for (const layout of ['byTime', 'byRevision']) {
    const store = ['--table', layout, '--feed', `${layout}Feed`];
    const append = ['append', 'book:1', '--source', SOURCE, '--yes'];
    const effect = ['--extension', 'causationid=evt-1'];
    await fine([...store, ...append, 'book.borrowed', '--id', 'evt-1', '--pristine']);
    await fine([...store, ...append, 'book.returned', '--id', 'evt-2', ...effect]);
    const conflict = await run([...store, ...append, 'book.borrowed', '--at-revision', '1']);
    assert.equal(conflict.status, 1, conflict.told);
    assert.match(conflict.told, /Nothing was written/);

    const history = await lines([...store, 'cat', 'book:1']);
    assert.deepEqual(
      history.map((line) => line['event'].type),
      ['book.borrowed', 'book.returned'],
    );
    assert.deepEqual(kinds(await lines([...store, 'show', 'evt-1'])), ['event']);
    assert.deepEqual(kinds(await lines([...store, 'tail'])), ['entry', 'entry']);
    assert.deepEqual(kinds(await lines([...store, 'types'])), ['type', 'type', 'types']);
    const trace = await lines([...store, 'trace', 'evt-2']);
    assert.deepEqual(kinds(trace), ['traced', 'traced', 'trace']);
    assert.equal(trace[0]?.['id'], 'evt-1');
    assert.deepEqual(kinds(await lines([...store, 'feed'])), ['cursor']);
    const verify = [...store, 'verify', '--second-look-after', '1ms'];
    assert.deepEqual(kinds(await lines(verify, 1)), ['unpublished', 'unpublished', 'verification']);
  }
  const subjects = await lines(['--table', 'byRevision', 'subjects', '--last-events']);
  assert.equal(subjects[0]?.['lastType'], 'book.returned');
});

test('a store moves through a bucket into the other layout, where it is examined and erased', async () => {
  const s3 = new S3Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    forcePathStyle: true,
  });
  await s3.send(new CreateBucketCommand({ Bucket: 'exports' }));
  // Random text, so that it has more than one part when it is compressed.
  const events = Array.from({ length: 120 }, (_, index) =>
    JSON.stringify({
      specversion: '1.0',
      id: `large-${index}`,
      source: SOURCE,
      type: 'book.scanned',
      subject: `large:${index}`,
      time: '2025-01-28T14:30:00.000Z',
      sequence: '00000000000000000001',
      data: { scan: randomBytes(100_000).toString('base64') },
    }),
  );
  const file = join(mkdtempSync(join(tmpdir(), 'eventdb-moving-')), 'large.jsonl');
  writeFileSync(file, `${events.join('\n')}\n`);
  const refused = await run(['--table', 'byTime', 'import', file, '--yes']);
  assert.equal(refused.status, 2, refused.told);
  assert.match(refused.told, /has a stream/);
  assert.match(refused.told, /--publish/);
  const byTime = ['--table', 'byTime', '--feed', 'byTimeFeed'];
  const imported = await lines([...byTime, 'import', file, '--publish', '--yes']);
  assert.deepEqual([imported[0]?.['written'], imported[0]?.['misfits']], [120, 0]);
  rmSync(dirname(file), { recursive: true });

  const place = 's3://exports/large.jsonl.gz';
  const choice = ['--subject-prefix', 'large:', '--to', place];
  const exported = await lines([...byTime, 'export', ...choice]);
  assert.deepEqual([exported[0]?.['events'], exported[0]?.['to']], [120, place]);
  const { Contents: objects = [] } = await s3.send(new ListObjectsV2Command({ Bucket: 'exports' }));
  assert.deepEqual(
    objects.map(({ Key }) => Key),
    ['large.jsonl.gz'],
  );
  const { ETag: tag = '' } = await s3.send(
    new HeadObjectCommand({ Bucket: 'exports', Key: 'large.jsonl.gz' }),
  );
  assert.match(tag, /-\d+"?$/, 'it was written in parts');

  const byRevision = ['--table', 'byRevision', '--feed', 'byRevisionFeed'];
  const moved = await lines([...byRevision, 'import', place, '--publish', '--yes']);
  assert.equal(moved[0]?.['written'], 120);
  const again = await lines([...byRevision, 'import', place, '--publish', '--yes']);
  assert.deepEqual([again[0]?.['written'], again[0]?.['present']], [0, 120]);
  for (const store of [byTime, byRevision]) {
    const erased = await lines([...store, 'erase', 'large:7', '1', '--yes']);
    assert.equal(erased[0]?.['id'], 'large-7');
    const history = await lines([...store, 'cat', 'large:7']);
    assert.deepEqual(history[0]?.['event'].data, {});
    // What an emulator's table has of settings isn't what is tested here.
    const examined = await lines([...store, 'doctor', '--without-settings']);
    assert.equal(examined[0]?.['erased'], 1);
    const settings = await lines([...store, 'doctor'], 1);
    assert.deepEqual(settings.flatMap(({ name }) => name ?? []).sort(), [
      'noPointInTimeRecovery',
      'notProtected',
    ]);
  }
  const nothing = await run([...byTime, 'import', 's3://exports/none', '--yes']);
  assert.equal(nothing.status, 2);
  assert.match(nothing.told, /there is no `s3:\/\/exports\/none`/);
});

test('what is wrong is said with the table, and with what to do', async () => {
  const missing = await run(['--table', 'Missing', 'cat', 'book:1']);
  assert.deepEqual([missing.status, missing.printed], [2, '']);
  assert.match(missing.told, /the table `Missing`/);
  assert.match(missing.told, /check the name, then --profile and --region/);
  const denied = await run(['--table', 'byTime', 'cat', 'book:1'], await stranger());
  assert.deepEqual([denied.status, denied.printed], [2, '']);
  assert.match(denied.told, /dynamodb:DescribeTable/);
  assert.match(denied.told, /attach the one/);
});

test('tail follows the topic with a queue that is gone when Ctrl-C has ended it', async () => {
  const tail = await startTail();
  await publish('evt-7');
  const line = JSON.parse(await tail.next());
  assert.equal(isLine(line), true, JSON.stringify(isLine.errors));
  assert.equal(line.id, 'evt-7');
  tail.child.kill('SIGINT');
  assert.equal(await tail.ended, 0, tail.told());
  assert.match(tail.told(), /the queue and its subscription are removed/);
  await nothingIsLeft();
});

test('tail removes its queue if it is terminated, and if its reader has gone', async () => {
  const terminated = await startTail();
  terminated.child.kill('SIGTERM');
  assert.equal(await terminated.ended, 0, terminated.told());
  await nothingIsLeft();
  const unread = await startTail();
  unread.child.stdout.destroy();
  await publish('evt-8');
  assert.equal(await unread.ended, 0, unread.told());
  await nothingIsLeft();
});

/** The credentials of a role that may do nothing. */
async function stranger() {
  const none = { Effect: 'Deny', Action: 'iam:*', Resource: '*' };
  const given = await assumeRoleWith(client(IAMClient), client(STSClient), 'Stranger', [none]);
  return {
    AWS_ACCESS_KEY_ID: given.accessKeyId,
    AWS_SECRET_ACCESS_KEY: given.secretAccessKey,
    AWS_SESSION_TOKEN: given.sessionToken,
  };
}

/** @param {string} id */
async function publish(id) {
  const event = {
    ...{ specversion: '1.0', id, source: SOURCE, type: 'book.borrowed', subject: 'book:7' },
    ...{ time: '2025-01-28T14:30:00.000Z', sequence: '00000000000000000001', data: {} },
  };
  await client(SNSClient).send(
    new PublishCommand({ TopicArn: topic, Message: JSON.stringify(event) }),
  );
}

async function nothingIsLeft() {
  const { QueueUrls = [] } = await client(SQSClient).send(new ListQueuesCommand({}));
  const { Subscriptions = [] } = await client(SNSClient).send(
    new ListSubscriptionsByTopicCommand({ TopicArn: topic }),
  );
  assert.deepEqual([QueueUrls, Subscriptions], [[], []]);
}

/** Starts `tail --follow --queue`, and waits until it follows the topic. */
async function startTail() {
  const options = ['tail', '--follow', '--queue', '--last', '0', '--json', '--topic', topic];
  const child = spawn(operatorsTool(), ['--table', 'byTime', ...options], {
    env: { ...ministack.environment, ...ROOT },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let told = '';
  /** @type {Promise<void>} */
  const subscribed = new Promise((resolve) => {
    child.stderr.setEncoding('utf8').on('data', (text) => {
      told += text;
      if (told.includes('following the topic')) {
        resolve();
      }
    });
  });
  const ended = once(child, 'close').then(([status]) => status);
  const printed = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const status = await Promise.race([subscribed, ended]);
  assert.equal(status, undefined, told);
  const next = async () => String((await printed.next()).value);
  return { child, ended, next, told: () => told };
}

/**
 * @param {string[]} options
 * @param {NodeJS.ProcessEnv} credentials
 */
async function run(options, credentials = ROOT) {
  const child = spawn(operatorsTool(), options, {
    env: { ...ministack.environment, ...credentials },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [printed, told] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    told += text;
  });
  const [status] = await once(child, 'close');
  return { status, printed, told };
}

/** @param {string[]} options */
async function fine(options) {
  const { status, told } = await run(options);
  assert.equal(status, 0, told);
}

/**
 * The lines of JSON that a command prints, each as the schema says.
 *
 * @param {string[]} options
 * @returns {Promise<Json[]>}
 */
async function lines(options, expected = 0) {
  const { status, printed, told } = await run([...options, '--json']);
  assert.equal(status, expected, told);
  const all = printed
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  for (const line of all) {
    assert.equal(isLine(line), true, `${JSON.stringify(line)}: ${JSON.stringify(isLine.errors)}`);
  }
  return all;
}

/** @param {Json[]} all */
function kinds(all) {
  return all.map((line) => line['kind']);
}

/**
 * @param {new (configuration: any) => T} Client
 * @returns {T}
 * @template T
 */
function client(Client) {
  return new Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
}
