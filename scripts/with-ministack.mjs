// @ts-check
/**
 * Runs a command against a fresh ministack, an emulator of AWS, and stops it afterwards:
 * `node scripts/with-ministack.mjs -- cargo test -p eventdb --test conformance`
 *
 * The command finds it by the environment variables of every AWS SDK. It listens on a free port of
 * 127.0.0.1 and keeps everything in memory, so that runs neither meet nor leave anything behind.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { REPOSITORY, setUp, withTools } from './python-environment.mjs';

const REGION = 'eu-west-1';
const START_SECONDS = 30;

/**
 * @typedef {object} Ministack
 * @property {string} endpoint such as `http://127.0.0.1:40123`
 * @property {NodeJS.ProcessEnv} environment this process's variables, and those that lead to it
 * @property {() => Promise<void>} stop stops it and waits until it is gone
 */

/**
 * Starts it. It is also stopped when this process ends.
 *
 * @param {Record<string, string>} settings further environment variables for it
 * @returns {Promise<Ministack>} once it answers
 */
export async function startMinistack(settings = {}) {
  const { python } = setUp();
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const directory = mkdtempSync(join(tmpdir(), 'eventdb-ministack-'));
  const own = {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_REGION: REGION,
    AWS_DEFAULT_REGION: REGION,
    AWS_ENDPOINT_URL: endpoint,
  };
  const server = spawn(python, [join(REPOSITORY, 'scripts', 'mended_ministack.py')], {
    cwd: directory,
    env: {
      ...withoutAws(withTools()),
      ...own,
      BIND_HOST: '127.0.0.1',
      GATEWAY_PORT: String(port),
      MINISTACK_HOST: '127.0.0.1',
      MINISTACK_REGION: REGION,
      PERSIST_STATE: '0',
      STATE_DIR: join(directory, 'state'),
      ...settings,
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
  const kill = () => server.kill('SIGKILL');
  process.once('exit', kill);
  const stop = async () => {
    expected = true;
    server.kill('SIGTERM');
    const timer = setTimeout(kill, 5_000);
    await ended;
    clearTimeout(timer);
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
  while (!(await answers(endpoint))) {
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
    },
    stop,
  };
}

/** @param {string} endpoint */
async function answers(endpoint) {
  try {
    const response = await fetch(`${endpoint}/_ministack/health`, {
      signal: AbortSignal.timeout(1_000),
    });
    await response.text();
    return response.ok;
  } catch {
    return false;
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
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
    console.error('Usage: node scripts/with-ministack.mjs -- <command> [argument ...]');
    process.exit(2);
  }
  try {
    process.exitCode = await runAgainstMinistack(command, commandArguments);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}
