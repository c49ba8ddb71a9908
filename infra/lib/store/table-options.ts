import type { TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { allowInteger } from '../properties';

/** The table's class and throughput limits. */
export interface TableOptions {
  /**
   * The table's class. With `TableClass.STANDARD_INFREQUENT_ACCESS`, storage costs less, and reads
   * and writes cost more: for a long history that is rarely read or extended.
   *
   * @default TableClass.STANDARD
   */
  readonly tableClass?: TableClass;

  /**
   * The most read units per second, for the table and for each global index. DynamoDB throttles
   * requests above it. It limits the cost of a mistake.
   *
   * @default - only the account's quota
   */
  readonly maxReadRequestUnits?: number;

  /**
   * The most write units per second, for the table and for each global index. DynamoDB throttles
   * requests above it, and the store retries them after a pause.
   *
   * @default - only the account's quota
   */
  readonly maxWriteRequestUnits?: number;
}

/** Refuses what DynamoDB would refuse only when the stack is deployed. */
export function validateTableOptions(options: TableOptions): void {
  for (const name of ['maxReadRequestUnits', 'maxWriteRequestUnits'] as const) {
    allowInteger(name, options[name], 1, Number.MAX_SAFE_INTEGER);
  }
}
