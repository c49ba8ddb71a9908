// @ts-check
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { REPOSITORY } from '../../../scripts/python-environment.mjs';
import { differences, readTable, tableOf } from '../capacity-table.mjs';
import { run } from '../events.mjs';
import { demand } from '../run-checks.mjs';

/** @type {import('../run-checks.mjs').Check} */
export const capacity = {
  name: 'capacity',
  proves: 'Each operation consumes the capacity units in docs/costs-and-limits.md.',
  runsOnEmulator: false,
  notOnEmulator: [],
  defect: 'a row of the table has other units (in capacity-table.test.mjs)',
  run: async ({ account, prefix, signal, tableLayout }) => {
    const credentials = await account.client(DynamoDBClient).config.credentials();
    const { status, printed, complaint } = await run(
      'cargo',
      [
        ...'run --quiet --locked --all-features --package eventdb --example capacity'.split(' '),
        ...(tableLayout === 'byRevision' ? ['--', '--by-revision'] : []),
      ],
      {
        env: { ...account.environmentOf(credentials), CAPACITY_TABLE: `${prefix}-Capacity` },
        signal,
      },
    );
    demand(status === 0, `the measurement failed: ${complaint}`);
    const page = readFileSync(join(REPOSITORY, 'docs', 'costs-and-limits.md'), 'utf8');
    const documented = readTable(tableOf(page, tableLayout));
    const found = differences(documented, readTable(printed));
    demand(found.length === 0, found.join('\n'));
    return { seen: [`${documented.size} operations consume what the docs say`] };
  },
};
