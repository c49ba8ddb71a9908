import { RemovalPolicy, Validations } from 'aws-cdk-lib';
import { BillingMode, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { keyAttribute, projection, schema, streamView } from './schema';

/** Properties of an `EventTable`. */
export interface EventTableProps {
  /** Whether the table holds events that must survive a mistake. */
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
}

/**
 * The table that holds the events: its keys, indexes and stream come from `eventdb/schema.json`.
 *
 * A `Table` and not a `TableV2`: see docs/decisions/0010.
 */
export class EventTable extends Table {
  constructor(scope: Construct, id: string, props: EventTableProps) {
    super(scope, id, {
      tableName: props.tableName,
      partitionKey: keyAttribute(schema.table.partitionKey),
      sortKey: keyAttribute(schema.table.sortKey),
      stream: streamView(),
      billingMode: BillingMode.PAY_PER_REQUEST,
      // Without a key of the customer's, DynamoDB encrypts with one of its own.
      encryption: props.encryptionKey === undefined ? undefined : TableEncryption.CUSTOMER_MANAGED,
      encryptionKey: props.encryptionKey,
      deletionProtection: props.isProdEnv,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: props.isProdEnv },
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });

    for (const index of schema.table.globalSecondaryIndexes) {
      this.addGlobalSecondaryIndex({
        indexName: index.name,
        partitionKey: keyAttribute(index.partitionKey),
        sortKey: index.sortKey && keyAttribute(index.sortKey),
        projectionType: projection(index.projectionType),
      });
    }
    for (const index of schema.table.localSecondaryIndexes) {
      this.addLocalSecondaryIndex({
        indexName: index.name,
        sortKey: keyAttribute(index.sortKey),
        projectionType: projection(index.projectionType),
      });
    }
    if (!props.isProdEnv) {
      Validations.of(this).acknowledge({
        id: 'AwsSolutions-DDB3',
        reason: 'Outside production the events are for trying out, and go with the stack.',
      });
    }
  }

  /** The ARNs of the indexes, one by one: a policy that names them grants no index to come. */
  get indexArns(): string[] {
    return indexNames().map((name) => `${this.tableArn}/index/${name}`);
  }
}

/** The names of all indexes of the table. */
function indexNames(): string[] {
  return [...schema.table.globalSecondaryIndexes, ...schema.table.localSecondaryIndexes].map(
    (index) => index.name,
  );
}
