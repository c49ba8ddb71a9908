import { Match } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { only, synthesize } from './support';

/** A key of the schema file as CloudFormation writes it. */
function keys(partitionKey: { name: string }, sortKey?: { name: string }) {
  return [
    { AttributeName: partitionKey.name, KeyType: 'HASH' },
    ...(sortKey === undefined ? [] : [{ AttributeName: sortKey.name, KeyType: 'RANGE' }]),
  ];
}

describe('the table', () => {
  test('has the keys, the stream and the billing of the design', () => {
    const { template } = synthesize();

    template.hasResourceProperties('AWS::DynamoDB::Table', {
      KeySchema: keys(schema.tables.byTime.partitionKey, schema.tables.byTime.sortKey),
      StreamSpecification: { StreamViewType: 'NEW_IMAGE' },
      BillingMode: 'PAY_PER_REQUEST',
    });
  });

  test('has exactly the indexes of the schema file, with their projections', () => {
    const { template } = synthesize();
    const table = only(template, 'AWS::DynamoDB::Table').Properties;

    expect(table.GlobalSecondaryIndexes).toEqual(
      schema.tables.byTime.globalSecondaryIndexes.map((index) => ({
        IndexName: index.name,
        KeySchema: keys(index.partitionKey, index.sortKey),
        Projection: { ProjectionType: index.projectionType },
      })),
    );
    expect(table.LocalSecondaryIndexes).toEqual(
      schema.tables.byTime.localSecondaryIndexes.map((index) => ({
        IndexName: index.name,
        KeySchema: keys(schema.tables.byTime.partitionKey, index.sortKey),
        Projection: { ProjectionType: index.projectionType },
      })),
    );
  });

  test('declares every key attribute with its type, and no other', () => {
    const { template } = synthesize();

    const types = new Map<string, string>();
    for (const key of [
      schema.tables.byTime.partitionKey,
      schema.tables.byTime.sortKey,
      ...schema.tables.byTime.globalSecondaryIndexes.flatMap((index) => [
        index.partitionKey,
        ...(index.sortKey === undefined ? [] : [index.sortKey]),
      ]),
      ...schema.tables.byTime.localSecondaryIndexes.map((index) => index.sortKey),
    ]) {
      types.set(key.name, key.type);
    }
    const declared = only(template, 'AWS::DynamoDB::Table').Properties.AttributeDefinitions;
    expect(
      new Map(
        declared.map((a: Record<string, string>) => [a['AttributeName'], a['AttributeType']]),
      ),
    ).toEqual(types);
    expect(declared).toHaveLength(types.size);
  });

  test('gets the name that is asked for, else one from CloudFormation', () => {
    synthesize({ tableName: 'LibraryEvents' }).template.hasResourceProperties(
      'AWS::DynamoDB::Table',
      { TableName: 'LibraryEvents' },
    );
    synthesize().template.hasResourceProperties('AWS::DynamoDB::Table', {
      TableName: Match.absent(),
    });
  });
});
