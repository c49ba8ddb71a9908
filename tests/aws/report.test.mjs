// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSuccess, percentile, reportOf } from './report.mjs';

/** @type {import('./run-checks.mjs').Check} */
const there = {
  name: 'there',
  proves: 'a | b holds',
  runsOnEmulator: true,
  notOnEmulator: [],
  defect: '',
  run: async () => ({ seen: [] }),
};
const inPart = { ...there, name: 'in-part', notOnEmulator: ['that it is fast'] };
const elsewhere = {
  ...there,
  name: 'elsewhere',
  proves: 'Units are right.',
  runsOnEmulator: false,
};

/** @type {import('./report.mjs').Run} */
const run = {
  began: new Date('2026-01-02T03:04:05Z'),
  place: 'An emulator of AWS',
  isEmulated: true,
  suffix: 'abcd',
  tableLayout: 'byTime',
  checks: [there, inPart, elsewhere],
  results: [
    { check: there, verdict: 'proven', seen: ['3 events'], milliseconds: 1_234 },
    { check: inPart, verdict: 'proven', seen: [], milliseconds: 10 },
    { check: elsewhere, verdict: 'not proven here', seen: [], milliseconds: 0 },
  ],
  left: [],
};

test('a report says what was proven, what was not, and what is left', () => {
  assert.equal(
    reportOf(run),
    `# eventdb: what was proven

An emulator of AWS, begun 2026-01-02T03:04:05.000Z, tables by time, names ending in \`abcd\`.

**2 proven, 0 failed, 1 not proven here, 0 not run.**

| check | claim | result | seconds |
| --- | --- | --- | ---: |
| there | a \\| b holds | proven | 1.2 |
| in-part | a \\| b holds | proven in part | 0.0 |
| elsewhere | Units are right. | not proven here | 0.0 |

## there: proven

- 3 events

## Not proven here

- in-part: that it is fast
- elsewhere: Units are right.

## Left behind

Nothing.
`,
  );
  assert.equal(isSuccess(run), true);
});

test('in an account nothing is excused by the emulator', () => {
  const report = reportOf({ ...run, isEmulated: false, results: run.results.slice(0, 2) });
  assert.match(report, /\| in-part \| .* \| proven \|/);
  assert.match(report, /\| elsewhere \| Units are right\. \| not run \|/);
  assert.match(report, /1 not run\./);
  assert.doesNotMatch(report, /Not proven here/);
});

test('a failure is seen, with its reason, which can not break out of its place', () => {
  /** @type {import('./report.mjs').Run} */
  const failed = {
    ...run,
    results: [
      { check: there, verdict: 'failed', seen: [], reason: 'a ``` b\n# c', milliseconds: 1 },
    ],
  };
  assert.match(reportOf(failed), /\| there \| .* \| \*\*failed\*\* \|/);
  assert.match(reportOf(failed), /```text\na ''' b\n# c\n```/);
  assert.equal(isSuccess(failed), false);
});

test('an early end, or something left, is no success', () => {
  const broken = { ...run, broken: 'interrupted\nby SIGINT' };
  assert.match(reportOf(broken), /The run ended early: interrupted by SIGINT/);
  assert.equal(isSuccess(broken), false);
  const left = { ...run, left: ['queue a'] };
  assert.match(reportOf(left), /- queue a\n\n`npm run test:aws -- --clean-up abcd` removes it\./);
  assert.equal(isSuccess(left), false);
  assert.equal(isSuccess({ ...run, results: [] }), false);
});

test('percentiles are by the nearest rank', () => {
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentile(hundred, 0.5), 50);
  assert.equal(percentile(hundred, 0.99), 99);
  assert.equal(percentile([7], 0.99), 7);
  assert.equal(percentile([], 0.5), Number.NaN);
});
