// @ts-check
/**
 * The whole pipeline on this machine, without an AWS account and without Docker: `npm run local`
 *
 * It starts ministack, an emulator of AWS, on 127.0.0.1, deploys the event store and a subscriber
 * with the real `cdk`, says what to do next, and runs until Ctrl-C. All state is in memory and gone
 * then: ministack doesn't keep all of it otherwise.
 *
 * Options: `--port <port>` of 127.0.0.1 (default: a free one); `--code <directory>` with a built
 * `bootstrap` of the publisher (default: built from the sources, which takes minutes the first time).
 */
import { constants } from 'node:os';
import { resolve } from 'node:path';
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
} from './pipeline.mjs';
import { startMinistack } from './with-ministack.mjs';

const USAGE = 'Usage: npm run local -- [--port <port>] [--code <directory with bootstrap>]';
const A_DAY = 24 * 60 * 60 * 1_000;

/** @param {string[]} given */
function readOptions(given) {
  const { port, code } = parseArgs({
    args: given,
    options: { port: { type: 'string' }, code: { type: 'string' } },
  }).values;
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) > 0 && Number(port) < 65536)) {
    throw new Error(`'${port}' is no port; give one from 1 to 65535`);
  }
  return {
    port: port === undefined ? undefined : Number(port),
    code: code === undefined ? undefined : resolve(code),
  };
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
 * @param {{ port: number | undefined, code: string | undefined }} options
 * @param {AbortSignal} signal
 */
async function runPipeline({ port, code }, signal) {
  const ministack = await progress('The local AWS starts', () => startMinistack({ port }));
  const cdk = cdkFor(ministack, { signal });
  try {
    await progress('It is bootstrapped for the CDK', cdk.bootstrap);
    const store = outputsOfOnlyStack(
      await progress(
        code === undefined
          ? 'The publisher is built (minutes the first time), the event store is deployed'
          : 'The event store is deployed',
        () => cdk.deploy(EVENT_STORE_APP, eventStoreContext(code)),
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
    console.log(nextSteps(ministack.endpoint, store, subscriber));
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
 * @param {Record<string, string>} store
 * @param {Record<string, string>} subscriber
 */
function nextSteps(endpoint, store, subscriber) {
  return `
The pipeline is ready. In another terminal, for services and for the commands below:

  export AWS_ENDPOINT_URL=${endpoint} AWS_REGION=eu-west-1
  export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
  export LIBRARY_TABLE=${store['TableName']}
  export LIBRARY_QUEUE=${subscriber['QueueUrl']}

Append events:

  cargo run --example library

Watch the messages come:

  npm run --silent local:watch

Ctrl-C ends it, and all that was stored is gone.`;
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
