// @ts-check
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { REPOSITORY } from '../scripts/python-environment.mjs';

/** @type {string | undefined} */
let built;

/**
 * The path of the operators' tool `eventdb`, built on the first call. With the examples, it has the
 * features that the Rust tests build it with, so most often there is nothing to build.
 */
export function operatorsTool() {
  if (built === undefined) {
    const options = '--quiet --locked --all-features --bin eventdb --examples';
    const { status } = spawnSync('cargo', ['build', ...options.split(' ')], {
      cwd: REPOSITORY,
      stdio: ['ignore', 2, 2],
    });
    if (status !== 0) {
      throw new Error("the operators' tool can't be built");
    }
    built = join(REPOSITORY, 'target', 'debug', 'eventdb');
  }
  return built;
}

/**
 * Runs a program to its end, with this text as its input.
 *
 * @param {string} program
 * @param {string[]} command
 * @param {NodeJS.ProcessEnv} env
 * @param {string} input
 * @returns {Promise<{ status: unknown, printed: string, complaint: string }>}
 */
export async function runProgram(program, command, env, input) {
  const child = spawn(program, command, {
    cwd: REPOSITORY,
    env,
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let printed = '';
  let complaint = '';
  child.stdout.setEncoding('utf8').on('data', (text) => {
    printed += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  // It may end before it has read all; its status says so.
  child.stdin.on('error', () => {});
  child.stdin.end(input);
  const status = await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { status, printed, complaint };
}

/**
 * Serves the page of `eventdb explore` until it is closed.
 *
 * @param {NodeJS.ProcessEnv} env says which store
 * @returns {Promise<{ address: string | undefined, close: () => Promise<{ status: unknown, complaint: string }> }>}
 *   the address to open; none if it couldn't be served
 */
export async function serveExplore(env) {
  const child = spawn(operatorsTool(), ['explore', '--port', '0'], {
    cwd: REPOSITORY,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaint = '';
  child.stderr.setEncoding('utf8').on('data', (text) => {
    complaint += text;
  });
  const ended = once(child, 'close');
  const printed = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const { value: address } = await printed.next();
  return {
    address,
    close: async () => {
      child.kill('SIGINT');
      const [status] = await ended;
      return { status, complaint };
    },
  };
}
