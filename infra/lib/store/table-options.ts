import type { TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { allowInteger } from '../properties';

/** What the table costs at most, and how it is stored. */
export interface TableOptions {
  /**
   * The table's class. `TableClass.STANDARD_INFREQUENT_ACCESS` stores for less and writes and
   * reads for more: for a long history that is seldom read or added to.
   *
   * @default TableClass.STANDARD
   */
  readonly tableClass?: TableClass;

  /**
   * The most read units a second, for the table and for each of its global indexes: what is above
   * is throttled. A bound on what a mistake can cost.
   *
   * @default - none but the account's quota
   */
  readonly maxReadRequestUnits?: number;

  /**
   * The most write units a second, for the table and for each of its global indexes: what is above
   * is throttled, and the store tries it again with a pause.
   *
   * @default - none but the account's quota
   */
  readonly maxWriteRequestUnits?: number;
}

/** Refuses what DynamoDB would refuse only when the stack is deployed. */
export function validateTableOptions(options: TableOptions): void {
  for (const name of ['maxReadRequestUnits', 'maxWriteRequestUnits'] as const) {
    allowInteger(name, options[name], 1, Number.MAX_SAFE_INTEGER);
  }
}
