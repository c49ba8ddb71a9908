// @ts-check
/** The report of a run, in Markdown. No I/O. */
import { IN_WORDS } from './announcement.mjs';
import { notProvenOnEmulator } from './run-checks.mjs';

/**
 * @typedef {object} Run
 * @property {Date} began
 * @property {string} place the account and region, or that it was an emulator
 * @property {boolean} isEmulated
 * @property {string} suffix
 * @property {import('./options.mjs').TableLayout} tableLayout of the stores
 * @property {import('./run-checks.mjs').Result[]} results
 * @property {readonly import('./run-checks.mjs').Check[]} checks all that there are
 * @property {string[]} left what could not be removed
 * @property {string} [broken] why the run has ended before its end
 */

/**
 * @param {Run} run
 * @returns {string}
 */
export function reportOf(run) {
  const { results, checks } = run;
  const count = (/** @type {string} */ verdict) =>
    results.filter((result) => result.verdict === verdict).length;
  const notReached = checks.filter((check) => results.every((result) => result.check !== check));
  return [
    '# eventdb: what was proven',
    '',
    `${run.place}, begun ${run.began.toISOString()}, tables ${IN_WORDS[run.tableLayout]}, names ending in \`${run.suffix}\`.`,
    '',
    `**${count('proven')} proven, ${count('failed')} failed, ${count('not proven here')} not proven here, ${count('not run') + notReached.length} not run.**`,
    ...(run.broken === undefined ? [] : ['', `The run ended early: ${inOneLine(run.broken)}`]),
    '',
    '| check | claim | result | seconds |',
    '| --- | --- | --- | ---: |',
    ...results.map(
      ({ check, verdict, milliseconds }) =>
        `| ${check.name} | ${cell(check.proves)} | ${verdictOf(verdict, check, run.isEmulated)} | ${(milliseconds / 1_000).toFixed(1)} |`,
    ),
    ...notReached.map((check) => `| ${check.name} | ${cell(check.proves)} | not run | |`),
    ...sections(results),
    ...(run.isEmulated ? ['', '## Not proven here', '', ...list(notProvenOnEmulator(checks))] : []),
    '',
    '## Left behind',
    '',
    ...(run.left.length === 0
      ? ['Nothing.']
      : [...list(run.left), '', `\`npm run test:aws -- --clean-up ${run.suffix}\` removes it.`]),
    '',
  ].join('\n');
}

/**
 * @param {Run} run
 * @returns {boolean} whether all that was to be proven was, and nothing is left
 */
export function isSuccess({ results, left, broken }) {
  return (
    broken === undefined &&
    left.length === 0 &&
    results.some(({ verdict }) => verdict === 'proven') &&
    results.every(({ verdict }) => verdict !== 'failed')
  );
}

/**
 * The value below which that share of the values lies, by the nearest rank.
 *
 * @param {number[]} values
 * @param {number} share from 0 to 1
 */
export function percentile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? Number.NaN;
}

/**
 * @param {import('./run-checks.mjs').Verdict} verdict
 * @param {import('./run-checks.mjs').Check} check
 * @param {boolean} isEmulated
 */
function verdictOf(verdict, check, isEmulated) {
  if (verdict === 'failed') {
    return '**failed**';
  }
  return verdict === 'proven' && isEmulated && check.notOnEmulator.length > 0
    ? 'proven in part'
    : verdict;
}

/** @param {import('./run-checks.mjs').Result[]} results */
function sections(results) {
  return results
    .filter(({ seen, reason }) => seen.length > 0 || reason !== undefined)
    .flatMap(({ check, verdict, seen, reason }) => [
      '',
      `## ${check.name}: ${verdict}`,
      '',
      ...(reason === undefined ? [] : ['```text', reason.replaceAll('```', "'''"), '```']),
      ...list(seen),
    ]);
}

/** @param {string[]} items */
function list(items) {
  return items.map((item) => `- ${inOneLine(item)}`);
}

/** @param {string} text */
function cell(text) {
  return inOneLine(text).replaceAll('|', '\\|');
}

/** @param {string} text */
function inOneLine(text) {
  return text.replaceAll(/\s+/g, ' ').trim();
}
