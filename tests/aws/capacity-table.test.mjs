// @ts-check
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { differences, readTable, tableOf } from './capacity-table.mjs';

const page = readFileSync(join(REPOSITORY, 'docs', 'costs-and-limits.md'), 'utf8');
const table = tableOf(page, 'byTime');
const BY_TYPE = 'read the 100 events of one type of a subject, 0.5 KB each';

test('the table of the docs is read, and equals itself', () => {
  const documented = readTable(table);
  assert.deepEqual(documented.get('append an event, 1 KB'), { write: 7, read: 1, requests: 2 });
  assert.deepEqual(documented.get('read an event by its id, 0.5 KB'), {
    write: 0,
    read: 1.5,
    requests: 2,
  });
  assert.ok(documented.size > 20);
  assert.deepEqual(differences(documented, documented), []);
});

test('each layout has its own table', () => {
  const both =
    '<!-- capacity: a -->\n| an append | 7 | 1 | 2 |\n<!-- /capacity -->\n' +
    '<!-- capacity by revision: b -->\n| an append | 3 | 1 | 2 |\n<!-- /capacity by revision -->\n';
  assert.equal(readTable(tableOf(both, 'byTime')).get('an append')?.write, 7);
  assert.equal(readTable(tableOf(both, 'byRevision')).get('an append')?.write, 3);
  assert.equal(tableOf('no table', 'byRevision'), '');
});

test('other units, a row too many and one that is missing are told', () => {
  const measured = readTable(
    table
      .replace('| append an event, 1 KB | 7 | 1 | 2 |', '| append an event, 1 KB | 8 | 1 | 2 |')
      .replace('| repeat that append |', '| another thing |'),
  );
  assert.deepEqual(differences(readTable(table), measured), [
    'another thing: measured, but not in the docs',
    'append an event, 1 KB: 7 written, 1 read, 2 requests in the docs, 8 written, 1 read, 2 requests measured',
    'repeat that append: in the docs, but not measured',
  ]);
});

test('AWS may read each event of a type by itself, as the docs say, and no more', () => {
  const documented = readTable(table);
  const withRead = (/** @type {number} */ read) =>
    new Map(documented).set(BY_TYPE, { write: 0, read, requests: 1 });
  assert.deepEqual(differences(documented, withRead(115)), []);
  assert.equal(differences(documented, withRead(115.5)).length, 1);
  assert.equal(differences(documented, withRead(14.5)).length, 1);
});

test('no table at all is a difference', () => {
  assert.deepEqual(differences(readTable(''), readTable(table)), [
    'there is no table of capacity units in the docs',
  ]);
});
