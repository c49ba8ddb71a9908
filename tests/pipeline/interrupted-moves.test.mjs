// @ts-check
/**
 * Exports to S3 and imports from there that are interrupted and killed, on an emulated AWS: the same
 * command goes on, nothing is missing or there twice, and no upload is left behind:
 * `node --test tests/pipeline/interrupted-moves.test.mjs`
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { DynamoDBClient, ScanCommand } from '@aws-sdk/client-dynamodb';
import {
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { operatorsTool, runProgram } from '../operators-tool.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

const Bucket = 'exports';
const KEY = 'all.jsonl';
const EVENTS = 180;
/** Most seconds to wait for what a command does. */
const PATIENCE = 120;

const directory = mkdtempSync(join(tmpdir(), 'eventdb-moves-'));
const place = `s3://${Bucket}/${KEY}`;
const source = ['--table', 'Source'];
/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {S3Client} */
let s3;
/** What an export that nobody interrupts writes. */
let whole = '';
/** The position that a killed export has kept. @type {Record<string, any>} */
let kept = {};

before(async () => {
  ministack = await startMinistack();
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const { endpoint } = ministack;
  s3 = new S3Client({ endpoint, region: REGION, credentials, forcePathStyle: true });
  await s3.send(new CreateBucketCommand({ Bucket }));
  for (const table of ['Source', 'Target']) {
    await fine(['create-table', '--layout', 'byRevision', '--table', table]);
  }
  // So large that the object has several parts.
  const lines = Array.from({ length: EVENTS }, (_, index) =>
    JSON.stringify({
      specversion: '1.0',
      id: `scan-${index}`,
      source: 'https://library.example.com',
      type: 'book.scanned',
      subject: `book:${Math.floor(index / 3)}`,
      time: '2025-01-28T14:30:00.000Z',
      sequence: String((index % 3) + 1).padStart(20, '0'),
      data: { scan: randomBytes(100_000).toString('base64') },
    }),
  );
  const file = join(directory, 'events.jsonl');
  writeFileSync(file, `${lines.join('\n')}\n`);
  await fine([...source, 'import', file, '--publish', '--yes']);
  const exported = join(directory, 'exported.jsonl');
  await fine([...source, 'export', '--to', exported]);
  whole = readFileSync(exported, { encoding: 'utf8' });
  assert.deepEqual(sorted(whole), lines.toSorted());
});

after(async () => {
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('an export to S3 that is killed and interrupted goes on, and is complete byte for byte', async () => {
  for (const [parts, signal] of /** @type {const} */ ([
    [1, 'SIGKILL'],
    [2, 'SIGINT'],
  ])) {
    const begun = start([...source, 'export', '--to', place, '--rate', '1500']);
    await until(begun, async () => ((await positionOf(KEY))?.['parts'].length ?? 0) >= parts);
    begun.child.kill(signal);
    const { status, complaint } = await begun.ended;
    assert.equal(status, signal === 'SIGINT' ? 2 : null, complaint);
    kept = (await positionOf(KEY)) ?? {};
    assert.deepEqual(await uploads(), [kept['upload']]);
    assert.deepEqual(await objects(), [`${KEY}.position`]);
  }
  const { complaint } = await fine([...source, 'export', '--to', place]);
  assert.match(complaint, new RegExp(`going on after ${kept['events']} events`));
  assert.equal(await read(KEY), whole);
  assert.deepEqual([await uploads(), await objects()], [[], [KEY]]);
});

test('an export that was killed while it began an upload goes on with that one', async () => {
  const begun = {
    choice: kept['choice'],
    cursor: null,
    events: 0,
    bytes: 0,
    upload: null,
    parts: [],
  };
  await s3.send(new CreateMultipartUploadCommand({ Bucket, Key: 'begun.jsonl' }));
  await write('begun.jsonl.position', begun);
  await fine([...source, 'export', '--to', `s3://${Bucket}/begun.jsonl`]);
  assert.equal(await read('begun.jsonl'), whole);
  assert.deepEqual(await uploads(), []);
});

test('an export that was killed after it was complete is complete', async () => {
  const parts = Array.from({ length: kept['parts'].length + 1 }, () => 'tag');
  const complete = { ...kept, parts, upload: 'gone', is_whole: true };
  await write(`${KEY}.position`, complete);
  await fine([...source, 'export', '--to', place]);
  assert.equal(await read(KEY), whole);
  assert.equal(await positionOf(KEY), undefined);
  // If the upload is gone without having been completed, that is said.
  await write('lost.jsonl.position', complete);
  const lost = await run([...source, 'export', '--to', `s3://${Bucket}/lost.jsonl`]);
  assert.equal(lost.status, 2);
  assert.match(lost.complaint, /NoSuchUpload/);
});

test('an import from S3 that is killed is completed by the same command', async () => {
  const command = ['--table', 'Target', 'import', place, '--publish', '--yes'];
  const begun = start([...command, '--rate', '2000']);
  await until(begun, async () => (await rows('Target')) > 0);
  begun.child.kill('SIGKILL');
  assert.equal((await begun.ended).status, null);
  const before = await rows('Target');
  assert.ok(before > 0 && before < EVENTS, `${before} are there`);
  const { printed } = await fine([...command, '--json']);
  const { written, present } = JSON.parse(printed);
  assert.deepEqual([written + present, present], [EVENTS, before]);
  const exported = join(directory, 'moved.jsonl');
  await fine(['--table', 'Target', 'export', '--to', exported]);
  assert.deepEqual(sorted(readFileSync(exported, { encoding: 'utf8' })), sorted(whole));
});

/** @param {string} text */
function sorted(text) {
  return text.trimEnd().split('\n').toSorted();
}

/** @param {string[]} options */
function run(options) {
  return runProgram(operatorsTool(), options, ministack.environment, '');
}

/** @param {string[]} options */
async function fine(options) {
  const ran = await run(options);
  assert.equal(ran.status, 0, ran.complaint);
  return ran;
}

/** @param {string[]} options */
function start(options) {
  const child = spawn(operatorsTool(), options, {
    env: ministack.environment,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const ended = once(child, 'close').then(([status]) => ({ status, complaint }));
  return { child, ended };
}

/**
 * Waits until the command has done something, which it must do before it ends.
 *
 * @param {ReturnType<typeof start>} begun
 * @param {() => Promise<boolean>} isDone
 */
async function until({ child, ended }, isDone) {
  const deadline = Date.now() + PATIENCE * 1_000;
  while (!(await isDone())) {
    assert.equal(child.exitCode, null, (await Promise.race([ended, undefined]))?.complaint);
    assert.ok(Date.now() < deadline, `it hasn't done it after ${PATIENCE} seconds`);
    await sleep(20);
  }
}

/** @param {string} Key */
async function read(Key) {
  const { Body: body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  return (await body?.transformToString()) ?? '';
}

/** @param {string} Key @param {object} position */
function write(Key, position) {
  return s3.send(new PutObjectCommand({ Bucket, Key, Body: JSON.stringify(position) }));
}

/**
 * The position that is kept next to an object.
 *
 * @param {string} key
 * @returns {Promise<Record<string, any> | undefined>}
 */
async function positionOf(key) {
  try {
    return JSON.parse(await read(`${key}.position`));
  } catch (error) {
    assert.equal(Object(error).name, 'NoSuchKey');
    return undefined;
  }
}

async function uploads() {
  const { Uploads: all = [] } = await s3.send(new ListMultipartUploadsCommand({ Bucket }));
  return all.map(({ UploadId: id }) => id);
}

async function objects() {
  const { Contents: all = [] } = await s3.send(new ListObjectsV2Command({ Bucket }));
  return all.map(({ Key: key }) => key);
}

/** @param {string} TableName */
async function rows(TableName) {
  const dynamodb = new DynamoDBClient({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
  let count = 0;
  /** @type {Record<string, any> | undefined} */
  let ExclusiveStartKey;
  do {
    const scan = new ScanCommand({ TableName, Select: 'COUNT', ExclusiveStartKey });
    const { Count: some = 0, LastEvaluatedKey: last } = await dynamodb.send(scan);
    count += some;
    ExclusiveStartKey = last;
  } while (ExclusiveStartKey !== undefined);
  return count;
}
