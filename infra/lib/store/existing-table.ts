import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { TableSchema } from './table-layout';
import type { TableOptions } from './table-options';

/** A table that exists already, in place of a new one. */
export interface ExistingTableOptions {
  /**
   * An existing table to use in place of a new one: restored to a point in time, imported, written
   * by the original library, or made elsewhere in the app. Its settings stay as they are.
   *
   * ```ts
   * Table.fromTableAttributes(stack, 'Restored', {
   *   tableName: 'LibraryEvents-restored',
   *   tableStreamArn: 'arn:aws:dynamodb:eu-west-1:123456789012:table/LibraryEvents-restored/stream/2026-01-01T00:00:00.000',
   *   encryptionKey: key, // if it is encrypted with one of yours
   * });
   * ```
   *
   * The deployment checks the table and fails with everything that is missing: keys, indexes and
   * their projections, the stream and its view, and in production also deletion protection and
   * point-in-time recovery. A function of this construct asks DynamoDB for that, each time the
   * table, its stream or what is expected of it changes. A table by time from before the index
   * `AllSubjects` is taken without it; the output `Advice` says so.
   *
   * @see docs/operating.md and docs/migrating.md
   * @default - a new table
   */
  readonly table?: ITable;
}

/**
 * Refuses what can't work with an existing table, or would have no effect.
 *
 * @param options what the user has said
 * @param isPublishing whether the table's stream is to be read
 */
export function validateExistingTable(
  options: ExistingTableOptions & TableOptions & { readonly tableName?: string },
  isPublishing: boolean,
): void {
  const { table } = options;
  if (table === undefined) {
    return;
  }
  for (const name of [
    'tableName',
    'tableClass',
    'maxReadRequestUnits',
    'maxWriteRequestUnits',
  ] as const) {
    if (options[name] !== undefined) {
      throw new Error(
        `${name} is given together with table, whose settings stay as they are: set it on the table`,
      );
    }
  }
  if (isPublishing && table.tableStreamArn === undefined) {
    throw new Error(
      `table ${table.node.path} has no stream, so nothing could be published. For a table of the app ` +
        'set stream: StreamViewType.NEW_IMAGE; for an imported one give tableStreamArn to ' +
        'Table.fromTableAttributes (aws dynamodb describe-table shows it as LatestStreamArn); or ' +
        'deploy with publish: false',
    );
  }
}

/** The ARNs of the indexes, one by one: a policy that names them grants no index to come. */
export function indexArnsOf(table: ITable, schema: TableSchema): string[] {
  return [...schema.globalSecondaryIndexes, ...schema.localSecondaryIndexes].map(
    ({ name }) => `${table.tableArn}/index/${name}`,
  );
}
