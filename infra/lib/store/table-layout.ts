import { Token } from 'aws-cdk-lib';
import { allowOnly, shown } from '../properties';
import { schema } from './schema';

/**
 * How a table stores events. The operations and promises of the store are the same for both. The
 * services that use the table must name the same layout when they open the store.
 */
export enum TableLayout {
  /**
   * Events are sorted by time, as in the original library's tables. An append of an event of up to
   * 1 KB takes 7 write units. All events together take about 1,000 write units a second, in one
   * partition of the index `AllEventsByTime`, and a subject has at most 10 GB.
   */
  BY_TIME = 'byTime',

  /**
   * Events are sorted by revision. An append of an event of up to 1 KB takes 3 write units, or 1
   * without the optional indexes. No partition is shared by all events, a subject has no size limit,
   * and history of any age can be imported. The event's data is stored as JSON text, so DynamoDB
   * can't filter by it, and the original library can't read the table.
   */
  BY_REVISION = 'byRevision',
}

/**
 * The indexes that a table by revision can do without. Each costs a write unit for each event of up
 * to 1 KB.
 */
export enum OptionalIndex {
  /** All events in the order of their times, without their data. Reads of all events need it. */
  ALL_EVENTS_BY_TIME = 'AllEventsByTime',

  /** The keys of all events by their ids. Reads of an event by its id need it. */
  ALL_EVENTS_BY_ID = 'AllEventsById',
}

/** The table's layout and indexes. */
export interface TableLayoutOptions {
  /**
   * How the table stores events. `TableLayout.BY_REVISION` costs less than half, and grows further:
   * choose it for a new store. Choose `TableLayout.BY_TIME` for a table that the original library has
   * written or reads.
   *
   * Changing it replaces the table. The events stay in the old one and must be copied.
   *
   * @see docs/choosing.md
   * @default TableLayout.BY_TIME
   */
  readonly tableLayout?: TableLayout;

  /**
   * The indexes to leave out of a table by revision. A read that needs one fails with an error that
   * names it. Without both, an append of an event of up to 1 KB takes 1 write unit, not 3.
   *
   * One can be added later: DynamoDB fills it from the events that are there. CloudFormation adds or
   * removes one index per deployment.
   *
   * @default - none
   */
  readonly omitIndexes?: readonly OptionalIndex[];
}

/** A key attribute in the schema file. */
interface KeyAttribute {
  readonly name: string;
  readonly type: string;
}

/** A global index in the schema file. */
export interface GlobalIndex {
  /** The index's name. */
  readonly name: string;

  /** Its partition key. */
  readonly partitionKey: KeyAttribute;

  /** Its sort key, if it has one. */
  readonly sortKey?: KeyAttribute;

  /** What it projects: `ALL`, `INCLUDE` or `KEYS_ONLY`. */
  readonly projectionType: string;

  /** The attributes that it projects next to the keys, with `INCLUDE`. */
  readonly nonKeyAttributes?: readonly string[];

  /** Whether an existing table, from before the index, is taken without it. */
  readonly mayBeMissing?: boolean;
}

/** A local index in the schema file. */
export interface LocalIndex {
  /** The index's name. */
  readonly name: string;

  /** Its sort key. Its partition key is that of the table. */
  readonly sortKey: KeyAttribute;

  /** What it projects. */
  readonly projectionType: string;
}

/** What a table of events must be like, from `eventdb/schema.json`. */
export interface TableSchema {
  /** The table's layout. */
  readonly layout: TableLayout;

  /** Its partition key. */
  readonly partitionKey: KeyAttribute;

  /** Its sort key. */
  readonly sortKey: KeyAttribute;

  /** Its global indexes, without those that are left out. */
  readonly globalSecondaryIndexes: readonly GlobalIndex[];

  /** Its local indexes. */
  readonly localSecondaryIndexes: readonly LocalIndex[];

  /** The view type of its stream. */
  readonly streamViewType: string;
}

/** Refuses layouts and indexes that don't exist, and what they can't be combined with. */
export function validateTableLayout(options: TableLayoutOptions): void {
  const { tableLayout, omitIndexes = [] } = options;
  if (tableLayout !== undefined && !Object.values(TableLayout).includes(tableLayout)) {
    throw new Error(
      `tableLayout must be ${Object.values(TableLayout)
        .map((layout) => `'${layout}'`)
        .join(' or ')}, and is ${Token.isUnresolved(tableLayout) ? 'a token' : shown(tableLayout)}`,
    );
  }
  allowOnly('omitIndexes', omitIndexes, Object.values(OptionalIndex));
  if (omitIndexes.length > 0 && tableLayout !== TableLayout.BY_REVISION) {
    throw new Error(
      `omitIndexes has ${omitIndexes.map((name) => `'${name}'`).join(', ')}, but a table by time ` +
        "needs all its indexes; leave it empty, or choose tableLayout 'byRevision'",
    );
  }
}

/** What a table with these options must be like. */
export function tableSchema(options: TableLayoutOptions): TableSchema {
  const layout = options.tableLayout ?? TableLayout.BY_TIME;
  const omitted: readonly string[] = options.omitIndexes ?? [];
  const table: Omit<TableSchema, 'layout'> = schema.tables[layout];
  return {
    layout,
    ...table,
    globalSecondaryIndexes: table.globalSecondaryIndexes.filter(
      ({ name }) => !omitted.includes(name),
    ),
  };
}
