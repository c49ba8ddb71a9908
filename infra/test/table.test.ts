import { Token } from 'aws-cdk-lib';
import { Match } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB, type EventDBProps, OptionalIndex, TableLayout } from '../lib';
import { tableSchema } from '../lib/store/table-layout';
import { only, synthesize, testStack } from './support';

/** A key of the schema file as CloudFormation writes it. */
function keys(partitionKey: { name: string }, sortKey?: { name: string }) {
  return [
    { AttributeName: partitionKey.name, KeyType: 'HASH' },
    ...(sortKey === undefined ? [] : [{ AttributeName: sortKey.name, KeyType: 'RANGE' }]),
  ];
}

/** The indexes of the schema file that can be left out. */
const OPTIONAL = schema.tables.byRevision.globalSecondaryIndexes
  .filter((index) => index.canBeLeftOut)
  .map((index) => index.name);

const TABLES: readonly (Partial<EventDBProps> & { readonly indexes: readonly string[] })[] = [
  { indexes: ['AllEventsByTime', 'AllEventsById', 'AllSubjects'] },
  {
    tableLayout: TableLayout.BY_TIME,
    indexes: ['AllEventsByTime', 'AllEventsById', 'AllSubjects'],
  },
  {
    tableLayout: TableLayout.BY_REVISION,
    indexes: ['AllEventsByTime', 'AllEventsById', 'AllSubjects'],
  },
  {
    tableLayout: TableLayout.BY_REVISION,
    omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME],
    indexes: ['AllEventsById', 'AllSubjects'],
  },
  {
    tableLayout: TableLayout.BY_REVISION,
    omitIndexes: [OptionalIndex.ALL_EVENTS_BY_ID, OptionalIndex.ALL_EVENTS_BY_TIME],
    indexes: ['AllSubjects'],
  },
];

describe.each(TABLES)('the table with $tableLayout without $omitIndexes', ({ indexes, ...own }) => {
  const { eventDB, template } = synthesize(own);
  const expected = tableSchema(own);
  const table = only(template, 'AWS::DynamoDB::Table', 'Table$').Properties;

  test('has the keys, the stream and the billing of the design', () => {
    template.hasResourceProperties('AWS::DynamoDB::Table', {
      KeySchema: keys(expected.partitionKey, expected.sortKey),
      StreamSpecification: { StreamViewType: 'NEW_IMAGE' },
      BillingMode: 'PAY_PER_REQUEST',
    });
  });

  test('has exactly the indexes that it should, with the projections of the schema file', () => {
    expect(table.GlobalSecondaryIndexes.map(({ IndexName: name }: Index) => name)).toEqual(indexes);
    expect(eventDB.globalIndexNames).toEqual(indexes);
    const { globalSecondaryIndexes, localSecondaryIndexes } = schema.tables[expected.layout];
    expect(table.GlobalSecondaryIndexes).toEqual(
      globalSecondaryIndexes
        .filter(({ name }) => indexes.includes(name))
        .map((index) => ({
          IndexName: index.name,
          KeySchema: keys(index.partitionKey, 'sortKey' in index ? index.sortKey : undefined),
          Projection: {
            ProjectionType: index.projectionType,
            ...('nonKeyAttributes' in index ? { NonKeyAttributes: index.nonKeyAttributes } : {}),
          },
        })),
    );
    expect(table.LocalSecondaryIndexes ?? []).toEqual(
      localSecondaryIndexes.map((index: { name: string; sortKey: { name: string } }) => ({
        IndexName: index.name,
        KeySchema: keys(expected.partitionKey, index.sortKey),
        Projection: { ProjectionType: 'KEYS_ONLY' },
      })),
    );
  });

  test('declares every key attribute with its type, and no other', () => {
    const types = new Map<string, string>();
    for (const key of [
      expected.partitionKey,
      expected.sortKey,
      ...expected.globalSecondaryIndexes.flatMap((index) => [
        index.partitionKey,
        ...(index.sortKey === undefined ? [] : [index.sortKey]),
      ]),
      ...expected.localSecondaryIndexes.map((index) => index.sortKey),
    ]) {
      types.set(key.name, key.type);
    }
    const declared = table.AttributeDefinitions;
    expect(
      new Map(
        declared.map((a: Record<string, string>) => [a['AttributeName'], a['AttributeType']]),
      ),
    ).toEqual(types);
    expect(declared).toHaveLength(types.size);
  });
});

describe('the layout of the table', () => {
  test('is one of those in the schema file, and by time where none is given', () => {
    expect(Object.values(TableLayout).sort()).toEqual(Object.keys(schema.tables).sort());
    expect(synthesize().eventDB.tableLayout).toBe(TableLayout.BY_TIME);
    expect(synthesize().template.toJSON()).toEqual(
      synthesize({ tableLayout: TableLayout.BY_TIME, omitIndexes: [] }).template.toJSON(),
    );
  });

  test('can leave out the indexes that the schema file says can be left out', () => {
    expect(Object.values(OptionalIndex)).toEqual(OPTIONAL);
  });

  test('keeps the logical ids of the table, so that a change of it replaces the table', () => {
    const idOf = (tableLayout: TableLayout) =>
      only(synthesize({ tableLayout }).template, 'AWS::DynamoDB::Table', 'Table$').id;

    expect(idOf(TableLayout.BY_REVISION)).toBe(idOf(TableLayout.BY_TIME));
  });

  test.each<[Record<string, unknown>, string]>([
    [
      { tableLayout: 'ByRevision' },
      "tableLayout must be 'byTime' or 'byRevision', and is 'ByRevision'",
    ],
    [{ tableLayout: null }, "tableLayout must be 'byTime' or 'byRevision', and is null"],
    [{ tableLayout: 2 }, "tableLayout must be 'byTime' or 'byRevision', and is 2"],
    [
      { tableLayout: Token.asString({ Ref: 'Layout' }) },
      "tableLayout must be 'byTime' or 'byRevision', and is a token",
    ],
    [
      { tableLayout: TableLayout.BY_REVISION, omitIndexes: ['AllSubjects'] },
      "omitIndexes has 'AllSubjects', which doesn't exist; give a list of 'AllEventsByTime', 'AllEventsById'",
    ],
    [
      { tableLayout: TableLayout.BY_REVISION, omitIndexes: 'AllEventsById' },
      "omitIndexes must be a list, and is 'AllEventsById'",
    ],
    [
      { tableLayout: TableLayout.BY_REVISION, omitIndexes: ['AllEventsById', 'AllEventsById'] },
      "omitIndexes: 'AllEventsById' is there more than once",
    ],
    ...[undefined, TableLayout.BY_TIME].map((tableLayout): [Record<string, unknown>, string] => [
      { tableLayout, omitIndexes: ['AllEventsById'] },
      "omitIndexes has 'AllEventsById', but a table by time needs all its indexes; leave it empty, or choose tableLayout 'byRevision'",
    ]),
  ])('is refused if it is %j', (own, message) => {
    expect(() => synthesize(own)).toThrow(message);
    expect(() =>
      EventDB.fromAttributes(testStack(), 'Events', {
        tableArn: 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents',
        topicArn: 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents',
        ...own,
      }),
    ).toThrow(message);
  });
});

describe('the name of the table', () => {
  test('is the one that is asked for, else one from CloudFormation', () => {
    synthesize({ tableName: 'LibraryEvents' }).template.hasResourceProperties(
      'AWS::DynamoDB::Table',
      { TableName: 'LibraryEvents' },
    );
    synthesize().template.hasResourceProperties('AWS::DynamoDB::Table', {
      TableName: Match.absent(),
    });
  });
});

interface Index {
  readonly IndexName: string;
}
