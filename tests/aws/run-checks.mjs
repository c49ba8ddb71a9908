// @ts-check
/** Runs the checks one after the other and notes what each has shown. */

/**
 * @typedef {object} Context what the checks work with
 * @property {import('./account.mjs').Account} account
 * @property {string} prefix with which all names begin
 * @property {AbortSignal} signal
 * @property {import('./options.mjs').TableLayout} tableLayout of the stores
 * @property {import('./deployment.mjs').Deployment} deployment
 * @property {import('./deployment.mjs').Stacks} stacks
 * @property {import('./events.mjs').Inbox} inbox of the subscriber to everything
 * @property {() => Promise<import('./account.mjs').Credentials>} appender takes on the role that has
 *   the append policy and nothing else
 * @property {(appends: import('./events.mjs').Json[][]) => ReturnType<typeof import('./events.mjs').append>} append
 *   appends to the store, as the appender
 *
 * @typedef {object} Outcome
 * @property {string[]} seen what was measured or seen, a line each
 *
 * @typedef {object} Check
 * @property {string} name of the check, for `--only`
 * @property {string} proves the claim, as a sentence
 * @property {boolean} runsOnEmulator whether the emulator can run it at all
 * @property {string[]} notOnEmulator what it proves on AWS only
 * @property {string} defect what is planted when it has to fail
 * @property {(context: Context, isDefective: boolean) => Promise<Outcome>} run rejected with the
 *   reason when the claim doesn't hold
 *
 * @typedef {'proven' | 'failed' | 'not proven here' | 'not run'} Verdict
 *
 * @typedef {object} Result
 * @property {Check} check
 * @property {Verdict} verdict
 * @property {string[]} seen
 * @property {string} [reason] why it failed or has not run
 * @property {number} milliseconds
 */

/**
 * @param {readonly Check[]} checks
 * @param {Context} context
 * @param {{ only: string[], defects: string[], say: (line: string) => void, results: Result[] }} options
 *   results: where they are put as they come, so that they are there after an interruption
 */
export async function runChecks(checks, context, { only, defects, say, results }) {
  for (const check of checks) {
    const started = Date.now();
    /** @param {Omit<Result, 'check' | 'milliseconds'>} result */
    const note = (result) => {
      results.push({ check, milliseconds: Date.now() - started, ...result });
      say(
        `${check.name}: ${result.verdict}${result.reason === undefined ? '' : `: ${result.reason}`}`,
      );
    };
    if (only.length > 0 && !only.includes(check.name)) {
      note({ verdict: 'not run', seen: [], reason: 'left out by --only' });
    } else if (context.account.isEmulated && !check.runsOnEmulator) {
      note({ verdict: 'not proven here', seen: [] });
    } else {
      try {
        const { seen } = await check.run(context, defects.includes(check.name));
        note({ verdict: 'proven', seen });
      } catch (error) {
        // Nothing else can be run after an interruption.
        context.signal.throwIfAborted();
        note({
          verdict: 'failed',
          seen: [],
          reason: error instanceof Error ? error.message : String(error),
        });
      }
    }
  }
}

/**
 * What an emulator can't show, known before anything is run.
 *
 * @param {readonly Check[]} checks
 * @returns {string[]}
 */
export function notProvenOnEmulator(checks) {
  return checks.flatMap(({ name, proves, runsOnEmulator, notOnEmulator }) =>
    (runsOnEmulator ? notOnEmulator : [proves, ...notOnEmulator]).map((what) => `${name}: ${what}`),
  );
}

/**
 * @param {unknown} condition
 * @param {string} reason
 * @returns {asserts condition}
 */
export function demand(condition, reason) {
  if (!condition) {
    throw new Error(reason);
  }
}
