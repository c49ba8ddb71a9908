// @ts-check
/** Stores in files, and the programs that serve their pages. */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const TARGET = process.env['CARGO_TARGET_DIR'] ?? join(import.meta.dirname, '../../target');
const TOOL = join(TARGET, 'debug', 'eventdb');
/** The program that writes a store. */
export const DEMO_STORE = join(TARGET, 'debug', 'examples', 'demo_store');

/** What was called, but for what leads to somebody's store. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^(AWS|EVENTDB)_/.test(name)),
);

/**
 * A page that is served until it is closed.
 *
 * @typedef {object} Served
 * @property {string} address with the token that works once
 * @property {string} origin
 * @property {() => Promise<string>} close returns what was written to stderr
 */

/**
 * Writes a store to a file.
 *
 * @param {string} file
 * @param {string[]} options
 */
export function writeStore(file, ...options) {
  run(DEMO_STORE, file, ...options);
}

/**
 * Calls the tool for the store in a file.
 *
 * @param {string} file
 * @param {string[]} words
 */
export function tool(file, ...words) {
  return run(TOOL, '--file', file, ...words);
}

/**
 * @param {string} file
 * @param {string[]} options
 */
export function serve(file, ...options) {
  return started(TOOL, ['--file', file, 'explore', '--port', '0', ...options]);
}

/** The example of a team's own program, with its aggregates. */
export function serveLibrary() {
  return started(join(TARGET, 'debug', 'examples', 'typed_library'), ['--explore']);
}

/**
 * @param {string} program
 * @param {string[]} words
 */
function run(program, ...words) {
  return execFileSync(program, words, { encoding: 'utf8', env: environment, stdio: 'pipe' });
}

/**
 * @param {string} program
 * @param {string[]} words
 * @returns {Promise<Served>}
 */
async function started(program, words) {
  const child = spawn(program, words, { env: environment, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  child.stderr.on('data', (text) => {
    said += text;
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const address = /http:\/\/127\.0\.0\.1:\d+\/#token=\S+/.exec(line)?.[0];
    if (address !== undefined) {
      return {
        address,
        origin: new URL(address).origin,
        close: async () => {
          const ended = once(child, 'exit');
          child.kill('SIGINT');
          await ended;
          return said;
        },
      };
    }
  }
  throw new Error(`${program} printed no address: ${said}`);
}
