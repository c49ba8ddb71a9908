// @ts-check
/**
 * A read model is built from nothing while services go on writing, on an AWS emulated on this machine:
 * `node --test tests/pipeline/rebuild.test.mjs`
 *
 * 10,000 events are in the store. The process that fills the read model is killed at a random moment and
 * started again, and another process appends 200 more meanwhile, also to subjects that are done. At the
 * end, the read model equals the fold. EVENTDB_CODE and EVENTDB_TABLE_LAYOUT are as for
 * `pipeline.test.mjs`.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateTableCommand,
  DynamoDBClient,
  paginateScan,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { operatorsTool } from '../operators-tool.mjs';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
  publisherCode,
  TABLE_LAYOUT,
  untilPublisherIsReady,
} from './emulator/pipeline.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

const SUBJECTS = 200;
/** Of each subject, in appends of 50 subjects. */
const EVENTS = 50;
const SUBJECTS_PER_APPEND = 50;
const LATER = 200;
const ALL = SUBJECTS * EVENTS + LATER;
const VIEW = 'Counts';
const LONGEST_MINUTES = 10;
const OPTIONS = TABLE_LAYOUT === 'byRevision' ? ['--by-revision'] : [];

const directory = mkdtempSync(join(tmpdir(), 'eventdb-rebuild-'));
/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {import('./emulator/pipeline.mjs').Cdk} */
let cdk;
/** @type {Record<string, string>} */
let names = {};

before(async () => {
  // With the examples.
  operatorsTool();
  ministack = await startMinistack();
  cdk = cdkFor(ministack, { isQuiet: true });
  await cdk.bootstrap();
  const store = outputsOfOnlyStack(
    await cdk.deploy(EVENT_STORE_APP, eventStoreContext(publisherCode())),
    ['TableName', 'FeedTableName', 'PublisherName'],
  );
  names = {
    LIBRARY_TABLE: store['TableName'] ?? '',
    LIBRARY_FEED: store['FeedTableName'] ?? '',
    LIBRARY_VIEW: VIEW,
  };
  await untilPublisherIsReady(new LambdaClient(configuration()), store['PublisherName'] ?? '');
  const client = new DynamoDBClient(configuration());
  await client.send(
    new CreateTableCommand({
      TableName: VIEW,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: [{ AttributeName: 'subject', AttributeType: 'S' }],
      KeySchema: [{ AttributeName: 'subject', KeyType: 'HASH' }],
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 30 }, { TableName: VIEW });
});

after(async () => {
  cdk?.discard();
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('a read model that is built while services write, and killed once, equals the fold', {
  timeout: LONGEST_MINUTES * 60_000,
}, async () => {
  /** @type {string[][]} */
  const appends = [];
  for (let number = 0; number < EVENTS; number += 1) {
    for (let first = 0; first < SUBJECTS; first += SUBJECTS_PER_APPEND) {
      appends.push(
        Array.from({ length: SUBJECTS_PER_APPEND }, (_, index) => `book:${first + index}`),
      );
    }
  }
  await append(appends);

  // It waits for new events, so it ends only when it is killed.
  const killed = fill();
  const told = await killed.progress();
  assert.doesNotMatch(told, /caught up/);
  await sleep(Math.random() * 3_000);
  killed.kill();
  const before = await counted();
  assert.ok(before.events > 0 && before.events < ALL, `killed at ${before.events} events`);

  // Every second one goes to a subject that is in the view already.
  const known = [...before.counts.keys()];
  const later = Array.from({ length: LATER }, (_, index) => [
    index % 2 === 0 ? (known[index % known.length] ?? 'book:0') : `reader:${index}`,
  ]);
  const second = fill();
  await second.progress();
  await append(later);
  let now = await counted();
  while (now.events < ALL) {
    assert.ok(second.isRunning(), 'the second process goes on');
    await sleep(500);
    now = await counted();
  }
  second.kill();

  /** @type {Map<string, number>} */
  const fold = new Map();
  for (const subject of [...appends, ...later].flat()) {
    fold.set(subject, (fold.get(subject) ?? 0) + 1);
  }
  assert.deepEqual([...now.counts].sort(), [...fold].sort());
  // Each position is the last revision of its subject, which has as many events.
  assert.deepEqual([...now.positions].sort(), [...fold].sort());
});

/** What the view and its positions have. */
async function counted() {
  const client = new DynamoDBClient(configuration());
  /** @type {Map<string, number>} */
  const counts = new Map();
  /** @type {Map<string, number>} */
  const positions = new Map();
  for await (const { Items: items = [] } of paginateScan({ client }, { TableName: VIEW })) {
    for (const { subject, events, revision } of items) {
      const name = subject?.S ?? '';
      const position = name.match(/^\$position\/counts\/(.*)$/)?.[1];
      if (position === undefined) {
        counts.set(name, Number(events?.N));
      } else {
        positions.set(position, Number(revision?.N));
      }
    }
  }
  const events = [...counts.values()].reduce((sum, count) => sum + count, 0);
  return { counts, positions, events };
}

/** Starts the process that fills the view. It keeps its cursor in the directory of the test. */
function fill() {
  const child = spawn(example('fill_read_model'), ['--wait', ...OPTIONS], {
    cwd: directory,
    env: { ...ministack.environment, ...names },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** The next line of its progress. */
    progress: async () => String((await lines.next()).value),
    kill: () => child.kill('SIGKILL'),
    isRunning: () => child.exitCode === null && child.signalCode === null,
  };
}

/** @param {string[][]} appends the subjects of each append */
async function append(appends) {
  const input = appends.map((subjects) =>
    JSON.stringify(
      subjects.map((subject) => ({
        source: 'https://library.example.com',
        type: 'book.borrowed',
        subject,
        data: { userId: 'user:456' },
      })),
    ),
  );
  const child = spawn(example('append_json'), OPTIONS, {
    env: { ...ministack.environment, ...names },
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  child.stdin.end(`${input.join('\n')}\n`);
  const status = await new Promise((resolve) => {
    child.once('close', resolve);
  });
  assert.equal(status, 0, 'everything is appended');
}

/** @param {string} name */
function example(name) {
  return join(REPOSITORY, 'target', 'debug', 'examples', name);
}

/** Of a client for the emulator. */
function configuration() {
  return {
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  };
}
