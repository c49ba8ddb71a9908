// @ts-check
/** How `npm run test:aws` is called. */
import { parseArgs } from 'node:util';

export const USAGE = `Deploys event stores into the account of the AWS CLI's profile, checks there what this project
claims, prints a report in Markdown, and removes everything.

npm run test:aws -- [--yes] [--only <check>]... [--table-layout <layout>] [--suffix <suffix>]
npm run test:aws -- --clean-up <suffix> [--yes]

  --yes       answers the question whether to begin
  --only      that check only (repeatable); everything is deployed and removed all the same
  --table-layout
              of the stores' tables: byTime or byRevision (default: byTime)
  --suffix    the end of all names, 4 to 12 small letters and digits (default: random)
  --clean-up  removes what a run with this suffix has left, and checks nothing
  --defect    plants a defect in that check, or in 'all', which must fail then; on an emulator only

Region and credentials are found as by any AWS tool (AWS_REGION, AWS_PROFILE, ...).
EVENTDB_CODE can name a directory with a built publisher; else it is built, for EVENTDB_ARCHITECTURE.
Exit status: 0 every check passed, 1 one failed or something is left, 2 wrong call or refused,
130 and 143 interrupted, and everything removed.`;

/** The command line is wrong. */
export class UsageError extends Error {}

/** @typedef {'byTime' | 'byRevision'} TableLayout */

/**
 * @typedef {object} Options
 * @property {boolean} isConfirmed whether the question is answered already
 * @property {string[]} only the names of the checks; all if empty
 * @property {string[]} defects the names of the checks in which one is planted
 * @property {TableLayout} tableLayout the layout of the stores' tables
 * @property {string} suffix the end of all names
 * @property {boolean} isCleanUp whether to remove only
 */

/**
 * @param {string[]} commandArguments
 * @param {{ checks: string[], isEmulated: boolean, randomSuffix: string }} known
 * @returns {Options | 'help'}
 * @throws {UsageError} with a sentence that says what is allowed
 */
export function readOptions(commandArguments, { checks, isEmulated, randomSuffix }) {
  const given = parse(commandArguments);
  if (given.help === true) {
    return 'help';
  }
  const { only = [], defect = [], suffix, 'table-layout': layout, 'clean-up': cleanUp } = given;
  if (
    cleanUp !== undefined &&
    (only.length > 0 || defect.length > 0 || suffix !== undefined || layout !== undefined)
  ) {
    throw new UsageError('--clean-up checks nothing, so only --yes goes with it');
  }
  for (const name of [...only, ...defect.filter((each) => each !== 'all')]) {
    if (!checks.includes(name)) {
      throw new UsageError(`There is no check '${name}'; there are ${checks.join(', ')}`);
    }
  }
  if (defect.length > 0 && !isEmulated) {
    throw new UsageError('--defect is for an emulator only (AWS_ENDPOINT_URL), not for an account');
  }
  const tableLayout = layout ?? 'byTime';
  if (tableLayout !== 'byTime' && tableLayout !== 'byRevision') {
    throw new UsageError(`The table layout is '${tableLayout}'; give byTime or byRevision`);
  }
  const end = cleanUp ?? suffix ?? randomSuffix;
  if (!/^[a-z0-9]{4,12}$/.test(end)) {
    throw new UsageError(`The suffix is '${end}'; give 4 to 12 small letters and digits`);
  }
  return {
    isConfirmed: given.yes ?? false,
    only,
    defects: defect.includes('all') ? checks : defect,
    tableLayout,
    suffix: end,
    isCleanUp: cleanUp !== undefined,
  };
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({
      args,
      options: {
        yes: { type: 'boolean' },
        only: { type: 'string', multiple: true },
        suffix: { type: 'string' },
        'table-layout': { type: 'string' },
        'clean-up': { type: 'string' },
        defect: { type: 'string', multiple: true },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
