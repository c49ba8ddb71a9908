// @ts-check
/**
 * Runs the steps of the test command in two lanes at the same time, each lane in its order.
 *
 * What the first lane prints is shown as it comes. What the other one prints is kept until its step
 * has ended and the first lane is between two steps, so that no output is mixed with another.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {(shell: Shell) => Promise<unknown>} run rejected when the step fails
 *
 * @typedef {object} CommandOptions
 * @property {Record<string, string>} [variables] environment variables besides the usual ones
 * @property {number} [seconds] how long it may take; for any time if not given
 *
 * @typedef {object} Shell how a step runs commands
 * @property {(program: string, programArguments: string[], options?: CommandOptions) => Promise<void>} command
 *   runs one and shows what it prints
 * @property {(program: string, programArguments: string[], options?: CommandOptions) => Promise<string>} output
 *   runs one and answers with what it prints on standard output
 * @property {(step: string) => Promise<void>} after waits for a step of the other lane
 * @property {(text: string) => void} say prints a line
 *
 * @typedef {{ promise: Promise<void>, resolve: () => void }} Deferred
 *
 * @typedef {{ cwd: string, environment: NodeJS.ProcessEnv }} Place where commands run
 * @typedef {{ status: number, durations: [string, number][] }} Result
 */

/** @type {Set<import('node:child_process').ChildProcess>} */
const running = new Set();
/** @type {NodeJS.Signals | undefined} */
let interrupted;
/** Why the lanes stop; the first failure wins. @type {string | undefined} */
let failure;
/** Steps that haven't ended yet, for those who wait for them. @type {Map<string, Deferred>} */
const pending = new Map();

/** @returns {boolean} whether somebody asked the test command to end */
export function isInterrupted() {
  return interrupted !== undefined;
}

/** Tells the commands under way when this process is told to end, so that they can clean up. */
export function passSignalsOn() {
  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      interrupted = signal;
      for (const child of running) {
        child.kill(signal);
      }
    });
  }
}

/**
 * @param {Place} place
 * @param {Step[]} first
 * @param {Step[]} [second]
 * @returns {Promise<Result>} status 0 when every step passed
 */
export async function runLanes(place, first, second = []) {
  for (const { name } of [...first, ...second]) {
    pending.set(name, deferred());
  }
  /** @type {string[]} */
  const kept = [];
  const flush = () => {
    process.stdout.write(kept.join(''));
    kept.length = 0;
  };
  /** @type {[string, number][]} */
  const durations = [];
  const shown = runLane(place, first, (text) => process.stdout.write(text), durations, flush);
  const apart = runLane(place, second, undefined, durations, (text) => kept.push(text));
  shown.then(flush);
  await Promise.all([shown, apart]);
  flush();
  if (failure === undefined) {
    return { status: 0, durations };
  }
  console.log(`\nFAILED: ${failure}`);
  const status = interrupted === undefined ? 1 : 128 + constants.signals[interrupted];
  return { status, durations };
}

/**
 * @param {Place} place
 * @param {Step[]} steps
 * @param {((text: string) => void) | undefined} show prints immediately; output is kept if not given
 * @param {[string, number][]} durations
 * @param {(text: string) => void} onEnd gets what was kept of each step
 */
async function runLane(place, steps, show, durations, onEnd) {
  for (const { name, run } of steps) {
    if (failure !== undefined) {
      return;
    }
    let kept = '';
    const keep = (/** @type {string} */ text) => {
      kept += text;
    };
    const say = show ?? keep;
    say(`\n=== ${name}\n`);
    const started = Date.now();
    try {
      await run(shellFor(place, say, show !== undefined));
      durations.push([name, Date.now() - started]);
      say(`--- ${name}: ${duration(Date.now() - started)}\n`);
    } catch (error) {
      if (failure === undefined) {
        failure = `${name}, in ${duration(Date.now() - started)}: ${message(error)}`;
        for (const child of running) {
          child.kill('SIGTERM');
        }
        // Nobody waits for a step that never comes.
        for (const { resolve } of pending.values()) {
          resolve();
        }
      } else {
        say(`--- ${name}: stopped, because another step failed\n`);
      }
    }
    pending.get(name)?.resolve();
    onEnd(kept);
  }
}

/**
 * @param {Place} place
 * @param {(text: string) => void} say
 * @param {boolean} isShown whether the commands of this step print to the terminal by themselves
 * @returns {Shell}
 */
function shellFor({ cwd, environment }, say, isShown) {
  /**
   * @param {string} program
   * @param {string[]} programArguments
   * @param {CommandOptions} options
   * @param {boolean} isAnswer whether standard output is the answer
   * @returns {Promise<string>}
   */
  const start = (program, programArguments, { variables = {}, seconds = 0 }, isAnswer) =>
    new Promise((resolve, reject) => {
      const child = spawn(program, programArguments, {
        cwd,
        env: { ...environment, ...variables },
        stdio: ['ignore', isShown && !isAnswer ? 'inherit' : 'pipe', isShown ? 'inherit' : 'pipe'],
        shell: process.platform === 'win32' && program === 'npm',
        timeout: seconds * 1_000,
      });
      running.add(child);
      let answer = '';
      child.stdout?.setEncoding('utf8').on('data', (text) => {
        if (isAnswer) {
          answer += text;
        } else {
          say(text);
        }
      });
      child.stderr?.setEncoding('utf8').on('data', say);
      const line = [program, ...programArguments].join(' ').replaceAll(`${cwd}/`, '');
      child.once('error', (error) => {
        running.delete(child);
        reject(new Error(`${program} can't be run: ${error.message}`));
      });
      child.once('close', (status, signal) => {
        running.delete(child);
        if (interrupted !== undefined) {
          reject(new Error(`interrupted by ${interrupted}`));
        } else if (status === 0) {
          resolve(answer);
        } else {
          reject(new Error(`\`${line}\` ended with ${signal ?? `status ${status}`}\n${answer}`));
        }
      });
    });
  return {
    command: async (program, programArguments, options = {}) => {
      await start(program, programArguments, options, false);
    },
    output: (program, programArguments, options = {}) =>
      start(program, programArguments, options, true),
    after: async (step) => {
      await pending.get(step)?.promise;
      if (failure !== undefined) {
        throw new Error('stopped');
      }
    },
    say: (text) => say(`${text}\n`),
  };
}

/** @returns {Deferred} */
function deferred() {
  let resolve = () => {};
  const promise = new Promise((done) => {
    resolve = () => done(undefined);
  });
  return { promise: /** @type {Promise<void>} */ (promise), resolve };
}

/** @param {unknown} error */
export function message(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {number} milliseconds */
export function duration(milliseconds) {
  const seconds = milliseconds / 1_000;
  return seconds < 60
    ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}
