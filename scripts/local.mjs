// @ts-check
/**
 * The whole pipeline on this machine, without an AWS account and without Docker: `npm run local`
 *
 * It starts ministack, an emulator of AWS, on 127.0.0.1, deploys the event store and a subscriber
 * with the real `cdk`, says what to do next, and runs until Ctrl-C. What was stored is gone then,
 * unless a directory is given to keep it in; what the publisher had not yet taken from the stream
 * is in the table then, but isn't published any more.
 *
 * Options: `--port <port>` of 127.0.0.1 (default: a free one, or that of the kept state);
 * `--state <directory>` to keep the state in and to go on with; `--code <directory>` with a built
 * `bootstrap` of the publisher (default: built from the sources, which takes minutes the first time);
 * `--layout <byTime or byRevision>` of the table (default: `byTime`).
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { LambdaClient } from '@aws-sdk/client-lambda';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
  SUBSCRIBER_APP,
  untilPublisherIsReady,
} from '../tests/pipeline/emulator/pipeline.mjs';
import { startMinistack } from '../tests/pipeline/emulator/with-ministack.mjs';

const USAGE =
  'Usage: npm run local -- [--layout <byTime or byRevision>] [--port <port>] [--state <directory>] ' +
  '[--code <directory with bootstrap>]';
const A_DAY = 24 * 60 * 60 * 1_000;

/** @param {string[]} given */
function readOptions(given) {
  const { port, state, code, layout } = parseArgs({
    args: given,
    options: {
      port: { type: 'string' },
      state: { type: 'string' },
      code: { type: 'string' },
      layout: { type: 'string', default: 'byTime' },
    },
  }).values;
  if (layout !== 'byTime' && layout !== 'byRevision') {
    throw new Error(`'${layout}' isn't a layout of the table: give byTime or byRevision`);
  }
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65536)) {
    throw new Error(`'${port}' isn't a port: give a number from 1 to 65535`);
  }
  return {
    port: port === undefined ? undefined : Number(port),
    state: state === undefined ? undefined : resolve(state),
    code: code === undefined ? undefined : resolve(code),
    layout,
  };
}

/**
 * Starts ministack. A kept state has the port in its addresses, so it is started on that one.
 *
 * @param {{ port: number | undefined, state: string | undefined }} options
 */
async function start({ port, state }) {
  if (state === undefined) {
    return startMinistack({ port });
  }
  mkdirSync(state, { recursive: true });
  const file = join(state, 'port');
  const kept = existsSync(file) ? Number(readFileSync(file, 'utf8')) : undefined;
  if (kept !== undefined && port !== undefined && port !== kept) {
    throw new Error(`the state in ${state} is of port ${kept}; give that one or another directory`);
  }
  const ministack = await startMinistack({ port: port ?? kept, state });
  writeFileSync(file, new URL(ministack.endpoint).port);
  return ministack;
}

/**
 * @param {string} step
 * @param {() => Promise<T>} run
 * @template T
 * @returns {Promise<T>}
 */
async function progress(step, run) {
  console.error(`\n=== ${step}`);
  const started = Date.now();
  const result = await run();
  console.error(`--- ${((Date.now() - started) / 1_000).toFixed(1)} s`);
  return result;
}

/**
 * @param {ReturnType<typeof readOptions>} options
 * @param {AbortSignal} signal
 */
async function runPipeline({ port, state, code, layout }, signal) {
  const ministack = await progress('The local AWS starts', () => start({ port, state }));
  const cdk = cdkFor(ministack, { signal });
  try {
    await progress('It is bootstrapped for the CDK', cdk.bootstrap);
    const store = outputsOfOnlyStack(
      await progress(
        code === undefined
          ? 'The publisher is built (minutes the first time), the event store is deployed'
          : 'The event store is deployed',
        () => cdk.deploy(EVENT_STORE_APP, { ...eventStoreContext(code), tableLayout: layout }),
      ),
      ['TableName', 'TopicArn', 'PublisherName'],
    );
    const subscriber = outputsOfOnlyStack(
      await progress('A subscriber to all events is deployed', () =>
        cdk.deploy(SUBSCRIBER_APP, { topicArn: store['TopicArn'] ?? '' }),
      ),
      ['QueueUrl'],
    );
    const lambda = new LambdaClient({
      endpoint: ministack.endpoint,
      region: ministack.environment['AWS_REGION'],
      credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
    });
    await progress('The publisher gets ready', () =>
      untilPublisherIsReady(lambda, store['PublisherName'] ?? '', signal),
    );
    console.log(nextSteps(ministack.endpoint, { state, layout }, store, subscriber));
    while (!signal.aborted) {
      await sleep(A_DAY, undefined, { signal });
    }
  } finally {
    cdk.discard();
    await ministack.stop();
  }
}

/**
 * @param {string} endpoint
 * @param {{ state: string | undefined, layout: string }} options
 * @param {Record<string, string>} store
 * @param {Record<string, string>} subscriber
 */
function nextSteps(endpoint, { state, layout }, store, subscriber) {
  const byRevision = layout === 'byRevision' ? ' -- --by-revision' : '';
  // It is the example of the first steps, which is about tables by time.
  const library = layout === 'byTime' ? '  cargo run --example library\n' : '';
  return `
The pipeline is ready. In another terminal, for services and for the commands below:

  export AWS_ENDPOINT_URL=${endpoint} AWS_REGION=eu-west-1
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export LIBRARY_TABLE=${store['TableName']}
  export LIBRARY_QUEUE=${subscriber['QueueUrl']} LIBRARY_TOPIC=${store['TopicArn']}

Append events:

${library}  cargo run --example typed_library${byRevision}

Keep a read model of them, or see the messages themselves:

  cargo run --example subscriber${byRevision}
  npm run --silent local:watch

Ctrl-C ends it${state === undefined ? ', and all that was stored is gone' : `; the state is in ${state}`}.`;
}

/** @type {ReturnType<typeof readOptions>} */
let options;
try {
  options = readOptions(process.argv.slice(2));
} catch (error) {
  console.error(`${error instanceof Error ? error.message : error}\n${USAGE}`);
  process.exit(2);
}

const interruption = new AbortController();
for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
  process.on(signal, () => interruption.abort(signal));
}
try {
  await runPipeline(options, interruption.signal);
} catch (error) {
  if (interruption.signal.aborted) {
    console.error('\nStopped; nothing is left running.');
    const signal = /** @type {NodeJS.Signals} */ (interruption.signal.reason);
    // Ctrl-C is how this is meant to end.
    process.exitCode = signal === 'SIGINT' ? 0 : 128 + constants.signals[signal];
  } else {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
