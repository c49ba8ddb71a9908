// @ts-check
/**
 * The whole pipeline, deployed by the real `cdk` on a ministack: for `npm run local` and for the
 * test of the pipeline.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve as resolvePath } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LambdaClient, ListEventSourceMappingsCommand } from '@aws-sdk/client-lambda';
import { REPOSITORY, withTools } from '../../../scripts/python-environment.mjs';
import { REGION } from './with-ministack.mjs';

/**
 * The layout of the event store's table in these tests: EVENTDB_TABLE_LAYOUT, `byTime` if not given.
 */
export const TABLE_LAYOUT = readTableLayout();

const ACCOUNT = '000000000000';
const CDK = join(REPOSITORY, 'node_modules', 'aws-cdk', 'bin', 'cdk');
const READY_SECONDS = 60;

/** The app of the event store. */
export const EVENT_STORE_APP = 'node --import tsx infra/app/event-db.ts';
/** The app of a subscriber. */
export const SUBSCRIBER_APP = 'node --import tsx infra/app/subscriber.ts';

/** @typedef {{ name: string, type: string }} KeyAttribute */

/**
 * @typedef {object} TableSchema
 * @property {KeyAttribute} partitionKey
 * @property {KeyAttribute} sortKey
 * @property {{ name: string, partitionKey: KeyAttribute, sortKey?: KeyAttribute,
 *   projectionType: string, nonKeyAttributes?: string[] }[]} globalSecondaryIndexes
 * @property {{ name: string, sortKey: KeyAttribute, projectionType: string }[]} localSecondaryIndexes
 */

/** @typedef {{ tables: { byTime: TableSchema, byRevision: TableSchema } }} SchemaFile */

/** @typedef {Record<string, Record<string, string>>} Outputs by stack, by name */

/**
 * @typedef {object} Cdk
 * @property {() => Promise<void>} bootstrap
 * @property {(app: string, context: Record<string, string>) => Promise<Outputs>} deploy
 * @property {(app: string, context: Record<string, string>) => Promise<void>} destroy
 * @property {() => void} discard what it wrote
 */

/**
 * The `cdk` command for one ministack, or for another place.
 *
 * @param {{ environment: NodeJS.ProcessEnv }} place the variables that lead there
 * @param {{ signal?: AbortSignal, isQuiet?: boolean, account?: string, region?: string }} options a
 *   signal that ends a command under way; whether what the commands say is shown only if they fail;
 *   the account and region, if they aren't those of a ministack
 * @returns {Cdk}
 */
export function cdkFor(
  place,
  { signal, isQuiet = false, account = ACCOUNT, region = REGION } = {},
) {
  const directory = mkdtempSync(join(tmpdir(), 'eventdb-cdk-'));
  const environment = {
    ...place.environment,
    PATH: withTools()['PATH'],
    CDK_DEFAULT_ACCOUNT: account,
    CDK_DEFAULT_REGION: region,
    // It remembers accounts there, which are other ones on each ministack.
    CDK_HOME: join(directory, 'home'),
    // The templates are validated in separate tests.
    CDK_VALIDATION: 'false',
    CI: 'true',
  };
  let runs = 0;

  /**
   * @param {string[]} cdkArguments
   * @param {string} workingDirectory
   * @returns {Promise<void>}
   */
  const cdk = (cdkArguments, workingDirectory) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const child = spawn(process.execPath, [CDK, ...cdkArguments, '--no-notices'], {
        cwd: workingDirectory,
        env: environment,
        stdio: ['ignore', isQuiet ? 'pipe' : 2, isQuiet ? 'pipe' : 2],
        // Its own process group, which ends as a whole: the app, and cargo that it runs, don't end
        // with cdk.
        detached: true,
      });
      const end = () => process.kill(-(child.pid ?? Number.NaN), 'SIGTERM');
      signal?.addEventListener('abort', end);
      let said = '';
      for (const output of [child.stdout, child.stderr]) {
        output?.setEncoding('utf8').on('data', (text) => {
          said += text;
        });
      }
      child.once('error', reject);
      child.once('close', (status) => {
        signal?.removeEventListener('abort', end);
        if (status === 0) {
          resolve();
        } else {
          reject(new Error(`cdk ${cdkArguments.join(' ')} ended with status ${status}\n${said}`));
        }
      });
    });

  /**
   * @param {string} app
   * @param {Record<string, string>} context
   */
  const appArguments = (app, context) => {
    runs += 1;
    return [
      ...['--app', app, '--output', join(directory, `cdk.out-${runs}`), '--all'],
      ...Object.entries(context).flatMap(([name, value]) => ['--context', `${name}=${value}`]),
    ];
  };

  return {
    // Not in the repository, whose cdk.json would have the app synthesized for nothing.
    bootstrap: () => cdk(['bootstrap', `aws://${account}/${region}`], directory),
    deploy: async (app, context) => {
      const outputs = join(directory, `outputs-${runs + 1}.json`);
      await cdk(
        [
          'deploy',
          ...appArguments(app, context),
          // ministack mixes up what is deployed at the same time.
          ...['--concurrency', '1', '--require-approval', 'never', '--outputs-file', outputs],
        ],
        REPOSITORY,
      );
      return /** @type {Outputs} */ (JSON.parse(readFileSync(outputs, 'utf8')));
    },
    destroy: (app, context) =>
      cdk(['destroy', ...appArguments(app, context), '--force'], REPOSITORY),
    discard: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/**
 * The context values with which the event store can be deployed on a ministack.
 *
 * @param {string | undefined} code a directory with a built `bootstrap`; built if not given
 * @returns {Record<string, string>}
 */
export function eventStoreContext(code) {
  return {
    env: 'dev',
    tableLayout: TABLE_LAYOUT,
    // ministack runs the function as a process of this machine.
    architecture: process.arch === 'arm64' ? 'arm64' : 'x86_64',
    // The function that empties the bucket is one of Node.js, whose SDK ministack doesn't bring.
    emptyFailureBucket: 'false',
    ...(code === undefined ? {} : { code }),
  };
}

/** What the schema file says of the table. */
export function tableSchema() {
  /** @type {SchemaFile} */
  const schema = JSON.parse(readFileSync(join(REPOSITORY, 'eventdb', 'schema.json'), 'utf8'));
  return schema.tables[TABLE_LAYOUT];
}

/** @returns {'byTime' | 'byRevision'} */
function readTableLayout() {
  const given = process.env['EVENTDB_TABLE_LAYOUT'] ?? 'byTime';
  if (given !== 'byTime' && given !== 'byRevision') {
    throw new Error(`EVENTDB_TABLE_LAYOUT is '${given}'; give byTime or byRevision`);
  }
  return given;
}

/**
 * A directory with the publisher for this machine: EVENTDB_CODE, or built.
 *
 * @returns {string}
 */
export function publisherCode() {
  const given = process.env['EVENTDB_CODE'];
  if (given !== undefined) {
    return resolvePath(given);
  }
  const architecture = eventStoreContext(undefined)['architecture'] ?? '';
  const { status } = spawnSync(
    process.execPath,
    [join(REPOSITORY, 'scripts', 'build-function.mjs'), architecture],
    { stdio: ['ignore', 2, 2] },
  );
  if (status !== 0) {
    throw new Error(`the publisher could not be built for ${architecture}`);
  }
  return join(REPOSITORY, 'infra', 'function', architecture);
}

/**
 * The outputs of the one stack of an app.
 *
 * @param {Outputs} outputs
 * @param {string[]} names which must be among them
 * @returns {Record<string, string>}
 */
export function outputsOfOnlyStack(outputs, names) {
  const [stack, ...others] = Object.values(outputs);
  const missing = names.filter((name) => stack?.[name] === undefined);
  if (stack === undefined || others.length > 0 || missing.length > 0) {
    throw new Error(`cdk deploy has not put out ${missing.join(', ')}: ${JSON.stringify(outputs)}`);
  }
  return stack;
}

/**
 * Waits until what is in the table's stream reaches the publisher.
 *
 * @param {LambdaClient} lambda
 * @param {string} publisher
 * @param {AbortSignal} [signal]
 */
export async function untilPublisherIsReady(lambda, publisher, signal) {
  const deadline = Date.now() + READY_SECONDS * 1_000;
  for (;;) {
    const { EventSourceMappings: mappings = [] } = await lambda.send(
      new ListEventSourceMappingsCommand({ FunctionName: publisher }),
    );
    if (mappings.length > 0 && mappings.every(({ State: state }) => state === 'Enabled')) {
      return;
    }
    if (Date.now() > deadline) {
      throw new Error(`the publisher's stream mapping isn't ready: ${JSON.stringify(mappings)}`);
    }
    await sleep(100, undefined, { signal });
  }
}
