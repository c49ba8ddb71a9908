// @ts-check
/**
 * Runs a command against a fresh ministack, an emulator of AWS, and stops it afterwards:
 * `node tests/pipeline/emulator/with-ministack.mjs -- cargo test -p eventdb --test conformance`
 *
 * The command finds it by the environment variables of every AWS SDK. It listens on a free port of
 * 127.0.0.1 and keeps everything in memory, so that runs neither meet nor leave anything behind.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { get as getByTls } from 'node:https';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { setUp, withTools } from '../../../scripts/python-environment.mjs';

export const REGION = 'eu-west-1';
const START_SECONDS = 30;

/**
 * @typedef {object} Ministack
 * @property {string} endpoint such as `http://127.0.0.1:40123`
 * @property {NodeJS.ProcessEnv} environment this process's variables, and those that lead to it
 * @property {() => Promise<void>} stop stops it and waits until it is gone
 */

/**
 * @typedef {object} MinistackOptions
 * @property {number} [port] of 127.0.0.1; a free one if not given
 * @property {{ certificate: string, key: string }} [tls] PEM files, to answer by HTTPS only
 * @property {boolean} [enforcesIam] whether it does, for all but the root user `test`
 * @property {boolean} [isPatched] whether its known faults are mended, as they are if not given
 * @property {string} [state] a directory to keep its state in, for a later start on the same port;
 *   kept in memory if not given
 */

/**
 * Starts it. It is also stopped when this process ends.
 *
 * @param {MinistackOptions} options
 * @returns {Promise<Ministack>} once it answers
 */
export async function startMinistack(options = {}) {
  const { python } = setUp();
  const port = await freePort(options.port);
  const endpoint = `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`;
  const directory = mkdtempSync(join(tmpdir(), 'eventdb-ministack-'));
  const own = {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_ENDPOINT_URL: endpoint,
    ...trustOf(options),
  };
  const server = spawn(python, [join(import.meta.dirname, 'start.py')], {
    cwd: directory,
    env: {
      ...withoutAws(withTools()),
      ...own,
      BIND_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      MINISTACK_HOST: '127.0.0.1',
      MINISTACK_REGION: REGION,
      PERSIST_STATE: options.state === undefined ? '0' : '1',
      STATE_DIR: options.state ?? join(directory, 'state'),
      S3_DATA_DIR: join(options.state ?? directory, 's3'),
      EVENTDB_PATCHES: options.isPatched === false ? 'none' : 'all',
      // It unpacks functions there, and leaves them.
      TMPDIR: directory,
      ...(options.enforcesIam === true ? { AUTH: 'true' } : {}),
      ...(options.tls === undefined
        ? {}
        : {
            USE_SSL: '1',
            MINISTACK_SSL_CERT: options.tls.certificate,
            MINISTACK_SSL_KEY: options.tls.key,
          }),
    },
    stdio: ['ignore', 'pipe', 'pipe'],
    // Not in the group that Ctrl-C reaches: it must outlive the command that uses it.
    detached: true,
  });

  let log = '';
  for (const output of [server.stdout, server.stderr]) {
    output.setEncoding('utf8');
    output.on('data', (text) => {
      log = (log + text).slice(-20_000);
    });
  }
  let gone = false;
  let expected = true;
  /** @type {Promise<string>} */
  const ended = new Promise((resolve) => {
    server.once('error', (error) => resolve(error.message));
    server.once('exit', (code, signal) => resolve(`it ended with ${signal ?? `status ${code}`}`));
  });
  // Its whole group, because the functions it runs are separate processes.
  const kill = () => {
    try {
      process.kill(-(server.pid ?? Number.NaN), 'SIGKILL');
    } catch {
      // Nothing is left of it, or it never was.
    }
  };
  process.once('exit', kill);
  const stop = async () => {
    expected = true;
    server.kill('SIGTERM');
    const timer = setTimeout(kill, 5_000);
    await ended;
    clearTimeout(timer);
    kill();
    process.off('exit', kill);
    rmSync(directory, { recursive: true, force: true });
  };
  ended.then((reason) => {
    gone = true;
    if (!expected) {
      console.error(`ministack is gone: ${reason}. The end of its log:\n${log}`);
    }
  });

  const deadline = Date.now() + START_SECONDS * 1_000;
  while (!(await answers(endpoint, options.tls?.certificate))) {
    if (gone || Date.now() > deadline) {
      const reason = gone ? await ended : `it doesn't answer after ${START_SECONDS} seconds`;
      await stop();
      throw new Error(`ministack could not be started: ${reason}\n${log}`);
    }
    await sleep(50);
  }
  expected = false;
  return {
    endpoint,
    environment: {
      ...withoutAws(process.env),
      ...own,
      AWS_ENDPOINT_URL_DYNAMODB: endpoint,
      AWS_ENDPOINT_URL_S3: endpoint,
    },
    stop,
  };
}

/**
 * Where the tools of each language look for the certificates they trust. For most these take the
 * place of the system's, so that nothing here can reach the real AWS.
 *
 * @param {MinistackOptions} options
 * @returns {Record<string, string>}
 */
function trustOf({ tls }) {
  return tls === undefined
    ? {}
    : {
        AWS_CA_BUNDLE: tls.certificate,
        NODE_EXTRA_CA_CERTS: tls.certificate,
        SSL_CERT_FILE: tls.certificate,
      };
}

/**
 * @param {string} endpoint
 * @param {string | undefined} certificate
 * @returns {Promise<boolean>}
 */
function answers(endpoint, certificate) {
  return new Promise((resolve) => {
    const url = `${endpoint}/_ministack/health`;
    /** @param {import('node:http').IncomingMessage} response */
    const onResponse = (response) => {
      response.resume();
      response.once('end', () => resolve(response.statusCode === 200));
      response.once('error', () => resolve(false));
    };
    const request =
      certificate === undefined
        ? get(url, { timeout: 1_000 }, onResponse)
        : getByTls(url, { timeout: 1_000, ca: readFileSync(certificate) }, onResponse);
    request.once('timeout', () => request.destroy(new Error('timeout')));
    request.once('error', () => resolve(false));
  });
}

/**
 * @param {number} wanted 0 for any
 * @returns {Promise<number>} rejected if that port is taken, maybe by another ministack
 */
function freePort(wanted = 0) {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(wanted, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        resolve(address !== null && typeof address === 'object' ? address.port : 0),
      );
    });
  });
}

/**
 * Without what would lead to somebody's real account, or to another emulator.
 *
 * @param {NodeJS.ProcessEnv} environment
 * @returns {NodeJS.ProcessEnv}
 */
function withoutAws(environment) {
  // AWS_LC_… are settings of a library's build.
  const foreign = /^AWS_(?!LC_)/i;
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !foreign.test(name)));
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @returns {Promise<number>} the command's exit status
 */
async function runAgainstMinistack(command, commandArguments) {
  /** @type {NodeJS.Signals | undefined} */
  let interrupted;
  /** @type {import('node:child_process').ChildProcess | undefined} */
  let child;
  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      interrupted = signal;
      child?.kill(signal);
    });
  }
  const ministack = await startMinistack();
  try {
    if (interrupted === undefined) {
      console.error(`ministack listens on ${ministack.endpoint}`);
      const started = spawn(command, commandArguments, {
        stdio: 'inherit',
        env: ministack.environment,
      });
      child = started;
      const status = await new Promise((resolve) => {
        started.once('error', (error) => {
          console.error(`${command} can't be run: ${error.message}`);
          resolve(127);
        });
        started.once('exit', (code, signal) =>
          resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
        );
      });
      if (interrupted === undefined) {
        return status;
      }
    }
  } finally {
    await ministack.stop();
  }
  return 128 + (interrupted === undefined ? 0 : constants.signals[interrupted]);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const given = process.argv.slice(2);
  const [command, ...commandArguments] = given[0] === '--' ? given.slice(1) : given;
  if (command === undefined) {
    console.error(
      'Usage: node tests/pipeline/emulator/with-ministack.mjs -- <command> [argument ...]',
    );
    process.exit(2);
  }
  try {
    process.exitCode = await runAgainstMinistack(command, commandArguments);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
