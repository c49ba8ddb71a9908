// @ts-check
/**
 * Sends events through the whole pipeline as deployed on this machine, and prints how long it took:
 * `npm run bench:pipeline`, with `-- --events <number>` for another number than 10,000, and with
 * `--without-feed` for a publisher that lists nothing.
 *
 * It measures the publisher and the store together with an emulator written in Python, which is the
 * slowest part by far: the numbers are for comparing versions on one machine, not for AWS.
 * EVENTDB_CODE can name a directory with a built `bootstrap`; else the release build is made.
 */
import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import {
  CloudWatchLogsClient,
  DescribeLogGroupsCommand,
  FilterLogEventsCommand,
} from '@aws-sdk/client-cloudwatch-logs';
import { LambdaClient } from '@aws-sdk/client-lambda';
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
  SUBSCRIBER_APP,
  untilPublisherIsReady,
} from './emulator/pipeline.mjs';
import { startMinistack } from './emulator/with-ministack.mjs';

const WRITERS = 4;
const CONSUMERS = 4;
const EVENTS_OF_AN_APPEND = 10;
const SUBJECTS_OF_A_WRITER = 25;
const SILENCE_SECONDS = 60;

/** @typedef {{ id: string, subject: string, sequence: string, time: string }} Event */
/** @typedef {{ event: Event, at: number }} Arrival */

const { events: given, 'without-feed': withoutFeed } = parseArgs({
  options: {
    events: { type: 'string', default: '10000' },
    'without-feed': { type: 'boolean', default: false },
  },
}).values;
const wanted = Number(given);
if (!(Number.isInteger(wanted) && wanted >= WRITERS * EVENTS_OF_AN_APPEND)) {
  console.error(`--events '${given}': give a whole number from ${WRITERS * EVENTS_OF_AN_APPEND}`);
  process.exit(2);
}

const ministack = await startMinistack();
const cdk = cdkFor(ministack, { isQuiet: true });
try {
  console.error('Deploying …');
  await cdk.bootstrap();
  const store = outputsOfOnlyStack(
    await cdk.deploy(EVENT_STORE_APP, {
      ...eventStoreContext(process.env['EVENTDB_CODE']),
      feed: String(!withoutFeed),
    }),
    ['TableName', 'TopicArn', 'PublisherName'],
  );
  const { QueueUrl: queue } = outputsOfOnlyStack(
    await cdk.deploy(SUBSCRIBER_APP, { topicArn: store['TopicArn'] ?? '' }),
    ['QueueUrl'],
  );
  await untilPublisherIsReady(client(LambdaClient), store['PublisherName'] ?? '');
  await run(store['TableName'] ?? '', queue ?? '');
} finally {
  cdk.discard();
  await ministack.stop();
}

/** @param {string} table @param {string} queue */
async function run(table, queue) {
  await build();
  // One event at a time: how long it takes when nothing waits before it.
  const idle = await measure(table, queue, 1, 100, 1);
  print('one event at a time', idle);
  const appends = Math.ceil(wanted / WRITERS / EVENTS_OF_AN_APPEND);
  const busy = await measure(table, queue, WRITERS, appends, EVENTS_OF_AN_APPEND);
  print(`as fast as ${WRITERS} writers can, ${EVENTS_OF_AN_APPEND} events an append`, busy);
}

/**
 * @param {string} table
 * @param {string} queue
 * @param {number} writers
 * @param {number} appends of each writer
 * @param {number} size events of an append
 */
async function measure(table, queue, writers, appends, size) {
  const before = await publisherCounts();
  /** @type {Arrival[]} */
  const arrivals = [];
  const expected = writers * appends * size;
  const consumers = Array.from({ length: CONSUMERS }, () => consume(queue, arrivals, expected));
  const stored = (
    await Promise.all(
      Array.from({ length: writers }, (_, writer) =>
        append(table, `${size}-${writer}`, appends, size),
      ),
    )
  ).flat();
  await Promise.all(consumers);
  const after = await publisherCounts();
  return {
    stored,
    arrivals,
    published: after.published - before.published,
    requests: after.requests - before.requests,
  };
}

/**
 * @param {string} title
 * @param {Awaited<ReturnType<typeof measure>>} measured
 */
function print(title, { stored, arrivals, published, requests }) {
  /** @type {Map<string, Arrival>} */
  const first = new Map();
  for (const arrival of arrivals) {
    if (!first.has(arrival.event.id)) {
      first.set(arrival.event.id, arrival);
    }
  }
  const missing = stored.filter(({ id }) => !first.has(id)).length;
  if (missing > 0) {
    throw new Error(`${missing} of ${stored.length} events have not arrived`);
  }
  const times = stored.map(({ time }) => Date.parse(time));
  const began = Math.min(...times);
  const appending = (Math.max(...times) - began) / 1_000;
  const ended = Math.max(...[...first.values()].map(({ at }) => at));
  const latencies = [...first.values()]
    .map(({ event, at }) => at - Date.parse(event.time))
    .sort((one, other) => one - other);
  /** @param {number} share */
  const percentile = (share) =>
    latencies[Math.min(latencies.length - 1, Math.floor(share * latencies.length))];
  const rate = (/** @type {number} */ seconds) => (stored.length / seconds).toFixed(0);
  console.log(`
${stored.length} events, ${title}
  appended in ${appending.toFixed(1)} s: ${rate(appending)} events/s
  all arrived after ${((ended - began) / 1_000).toFixed(1)} s: ${rate((ended - began) / 1_000)} events/s
  from append to subscriber: p50 ${percentile(0.5)} ms, p90 ${percentile(0.9)} ms, p99 ${percentile(0.99)} ms, max ${latencies.at(-1)} ms
  ${requests} publish requests, ${(published / requests).toFixed(1)} messages each; ${arrivals.length - first.size} messages came twice`);
}

/** Has cargo build what writes, so that it isn't measured. */
async function build() {
  await cargo(
    ['build', '--release', '--quiet', '--locked', '-p', 'eventdb', '--example', 'append_json'],
    '',
  );
}

/**
 * Appends with the crate, one append after the other.
 *
 * @param {string} table
 * @param {string} writer
 * @param {number} appends
 * @param {number} size
 * @returns {Promise<Event[]>} as they are stored
 */
async function append(table, writer, appends, size) {
  const lines = Array.from({ length: appends }, (_, index) =>
    JSON.stringify(
      Array.from({ length: size }, () => ({
        source: 'https://library.example.com',
        type: 'book.borrowed',
        subject: `book:${writer}-${index % SUBJECTS_OF_A_WRITER}`,
        data: { userId: 'user:456', filling: 'x'.repeat(200) },
      })),
    ),
  );
  const run = [
    'run',
    '--release',
    '--quiet',
    '--locked',
    '-p',
    'eventdb',
    '--example',
    'append_json',
  ];
  const printed = await cargo(run, `${lines.join('\n')}\n`, { LIBRARY_TABLE: table });
  return printed
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line));
}

/**
 * @param {string[]} command
 * @param {string} input
 * @param {Record<string, string>} environment
 * @returns {Promise<string>}
 */
function cargo(command, input, environment = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn('cargo', command, {
      cwd: REPOSITORY,
      env: { ...ministack.environment, ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      printed += text;
    });
    child.once('error', reject);
    child.once('close', (status) =>
      status === 0 ? resolve(printed) : reject(new Error(`cargo ended with status ${status}`)),
    );
    // It may end before it has read all; its status says so.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/**
 * Notes what arrives, until all that is expected has, or nothing comes any more.
 *
 * @param {string} queue
 * @param {Arrival[]} arrivals
 * @param {number} expected
 */
async function consume(queue, arrivals, expected) {
  const sqs = client(SQSClient);
  let last = Date.now();
  while (
    new Set(arrivals.map(({ event }) => event.id)).size < expected &&
    Date.now() - last < SILENCE_SECONDS * 1_000
  ) {
    const { Messages: messages = [] } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl: queue, MaxNumberOfMessages: 10, WaitTimeSeconds: 1 }),
    );
    const at = Date.now();
    if (messages.length > 0) {
      last = at;
      arrivals.push(...messages.map(({ Body: body = '' }) => ({ event: JSON.parse(body), at })));
      await sqs.send(
        new DeleteMessageBatchCommand({
          QueueUrl: queue,
          Entries: messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle })),
        }),
      );
    }
  }
}

/** What the publisher's log says so far. */
async function publisherCounts() {
  const logs = client(CloudWatchLogsClient);
  const counts = { published: 0, requests: 0 };
  const { logGroups = [] } = await logs.send(new DescribeLogGroupsCommand({}));
  for (const { logGroupName } of logGroups) {
    let nextToken;
    do {
      /** @type {import('@aws-sdk/client-cloudwatch-logs').FilterLogEventsCommandOutput} */
      const page = await logs.send(new FilterLogEventsCommand({ logGroupName, nextToken }));
      for (const { message = '' } of page.events ?? []) {
        if (message.includes('"PublishedEvents":')) {
          const line = JSON.parse(message);
          counts.published += line.PublishedEvents;
          counts.requests += line.PublishRequests;
        }
      }
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
  }
  return counts;
}

/**
 * @param {new (configuration: any) => T} Client
 * @template T
 * @returns {T}
 */
function client(Client) {
  return new Client({
    endpoint: ministack.endpoint,
    region: ministack.environment['AWS_REGION'],
    credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
  });
}
