// @ts-check
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readOptions } from './options.mjs';

const known = { checks: ['order', 'destroy'], isEmulated: true, randomSuffix: 'f00d' };

test('what is given is read, and the rest has a default', () => {
  assert.deepEqual(readOptions([], known), {
    isConfirmed: false,
    only: [],
    defects: [],
    tableLayout: 'byTime',
    suffix: 'f00d',
    isCleanUp: false,
  });
  assert.deepEqual(readOptions(['--yes', '--only', 'order', '--suffix', 'mine'], known), {
    isConfirmed: true,
    only: ['order'],
    defects: [],
    tableLayout: 'byTime',
    suffix: 'mine',
    isCleanUp: false,
  });
  assert.deepEqual(readOptions(['--clean-up', 'mine'], known), {
    isConfirmed: false,
    only: [],
    defects: [],
    tableLayout: 'byTime',
    suffix: 'mine',
    isCleanUp: true,
  });
  const byRevision = readOptions(['--table-layout', 'byRevision'], known);
  assert.ok(byRevision !== 'help');
  assert.equal(byRevision.tableLayout, 'byRevision');
  assert.equal(readOptions(['--help'], known), 'help');
});

test('a defect is planted in one check or in all, and never in an account', () => {
  const options = readOptions(['--defect', 'all'], known);
  assert.ok(options !== 'help');
  assert.deepEqual(options.defects, ['order', 'destroy']);
  assert.throws(() => readOptions(['--defect', 'order'], { ...known, isEmulated: false }), {
    message: /for an emulator only/,
  });
});

test('a wrong call is refused with a sentence', () => {
  for (const [given, message] of /** @type {[string[], RegExp][]} */ ([
    [['--only', 'queue'], /no check 'queue'; there are order, destroy/],
    [['--suffix', 'A-b'], /The suffix is 'A-b'; give 4 to 12/],
    [['--clean-up', 'EventDBProof-'], /give 4 to 12/],
    [['--clean-up', ''], /give 4 to 12/],
    [['--clean-up', 'mine', '--only', 'order'], /only --yes goes with it/],
    [['--clean-up', 'mine', '--table-layout', 'byTime'], /only --yes goes with it/],
    [['--table-layout', 'revision'], /layout is 'revision'; give byTime or byRevision/],
    [['--force'], /--force/],
  ])) {
    assert.throws(() => readOptions(given, known), { message });
  }
});
