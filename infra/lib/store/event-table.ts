import { PhysicalName, RemovalPolicy } from 'aws-cdk-lib';
import { BillingMode, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { acknowledge } from '../acknowledge';
import { keyAttribute, projection, streamView } from './schema';
import type { TableSchema } from './table-layout';
import type { TableOptions } from './table-options';

/** Properties of an `EventTable`. */
export interface EventTableProps {
  /** Whether the table is protected against mistakes. */
  readonly isProdEnv: boolean;

  /**
   * The table's name.
   *
   * @default - generated
   */
  readonly tableName?: string;

  /**
   * The key that encrypts the table.
   *
   * @default - a key that DynamoDB owns
   */
  readonly encryptionKey?: IKey;

  /** Whether the table has a stream, which publishing needs. */
  readonly hasStream: boolean;

  /** The table's keys, indexes and stream. */
  readonly schema: TableSchema;

  /** The table's class and throughput limits. */
  readonly options: TableOptions;
}

/**
 * The table of the events. Its keys, indexes and stream come from `eventdb/schema.json`.
 *
 * Why it is a `Table` and not a `TableV2`: docs/decisions/0010.
 */
export class EventTable extends Table {
  constructor(scope: Construct, id: string, props: EventTableProps) {
    const maximum = {
      maxReadRequestUnits: props.options.maxReadRequestUnits,
      maxWriteRequestUnits: props.options.maxWriteRequestUnits,
    };
    super(scope, id, {
      ...maximum,
      tableClass: props.options.tableClass,
      // CloudFormation generates the name, unless a stack of another account refers to the table.
      tableName: props.tableName ?? PhysicalName.GENERATE_IF_NEEDED,
      partitionKey: keyAttribute(props.schema.partitionKey),
      sortKey: keyAttribute(props.schema.sortKey),
      stream: props.hasStream ? streamView(props.schema.streamViewType) : undefined,
      billingMode: BillingMode.PAY_PER_REQUEST,
      // Without a customer managed key, DynamoDB encrypts with a key that it owns.
      encryption: props.encryptionKey === undefined ? undefined : TableEncryption.CUSTOMER_MANAGED,
      encryptionKey: props.encryptionKey,
      deletionProtection: props.isProdEnv,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: props.isProdEnv },
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });

    for (const index of props.schema.globalSecondaryIndexes) {
      this.addGlobalSecondaryIndex({
        ...maximum,
        indexName: index.name,
        partitionKey: keyAttribute(index.partitionKey),
        sortKey: index.sortKey && keyAttribute(index.sortKey),
        projectionType: projection(index.projectionType),
        nonKeyAttributes: index.nonKeyAttributes && [...index.nonKeyAttributes],
      });
    }
    for (const index of props.schema.localSecondaryIndexes) {
      this.addLocalSecondaryIndex({
        indexName: index.name,
        sortKey: keyAttribute(index.sortKey),
        projectionType: projection(index.projectionType),
      });
    }
    if (!props.isProdEnv) {
      acknowledge(
        this,
        'AwsSolutions-DDB3',
        'Outside production, the events are for experiments and are deleted with the stack.',
      );
    }
  }
}
