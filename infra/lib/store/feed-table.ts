import { PhysicalName, RemovalPolicy } from 'aws-cdk-lib';
import { BillingMode, type ITable, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb';
import { type Grant, type IGrantable, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { acknowledge } from '../acknowledge';
import { KEY_ACTIONS_FOR_READING, KEY_ACTIONS_FOR_WRITING } from './encryption-key';
import {
  grantByKeyPolicy,
  grantByTablePolicy,
  grantToIdentity,
  keyPermission,
  needsResourcePolicy,
  viaServices,
} from './grants';
import { keyAttribute, schema } from './schema';

/** Properties of a `FeedTable`. */
export interface FeedTableProps {
  /** Whether the table is protected against mistakes. */
  readonly isProdEnv: boolean;

  /** The key that encrypts the table, if it isn't one that DynamoDB owns. */
  readonly encryptionKey: IKey | undefined;

  /** The number of partitions of a new feed, if it isn't the publisher's default. */
  readonly partitions: number | undefined;
}

/**
 * The feed: which events were published, in an order that can be followed. It has no stream, because
 * nothing is published from it.
 */
export class FeedTable extends Table {
  private readonly partitions: number | undefined;

  constructor(scope: Construct, id: string, props: FeedTableProps) {
    super(scope, id, {
      // CloudFormation generates the name, unless a stack of another account refers to the table.
      tableName: PhysicalName.GENERATE_IF_NEEDED,
      partitionKey: keyAttribute(schema.feed.partitionKey),
      sortKey: keyAttribute(schema.feed.sortKey),
      billingMode: BillingMode.PAY_PER_REQUEST,
      // Without a customer managed key, DynamoDB encrypts with a key that it owns.
      encryption: props.encryptionKey === undefined ? undefined : TableEncryption.CUSTOMER_MANAGED,
      encryptionKey: props.encryptionKey,
      deletionProtection: props.isProdEnv,
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: props.isProdEnv },
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    this.partitions = props.partitions;
    if (!props.isProdEnv) {
      acknowledge(
        this,
        'AwsSolutions-DDB3',
        'Outside production, the feed is for experiments and is deleted with the stack.',
      );
    }
  }

  /** The environment variables of the publisher that lists events here. */
  publisherVariables(): Record<string, string> {
    const { feedTable, feedPartitions } = schema.environment;
    return {
      [feedTable]: this.tableName,
      ...(this.partitions === undefined ? {} : { [feedPartitions]: String(this.partitions) }),
    };
  }

  /** What the publisher may do: read where partitions end, and put what isn't there. */
  publisherStatements(): PolicyStatement[] {
    const statements = [
      new PolicyStatement({
        sid: 'ListEvents',
        actions: ['dynamodb:PutItem', 'dynamodb:Query'],
        resources: [this.tableArn],
      }),
    ];
    if (this.encryptionKey !== undefined) {
      statements.push(
        new PolicyStatement({
          sid: 'UseFeedKey',
          actions: [...KEY_ACTIONS_FOR_WRITING],
          resources: [this.encryptionKey.keyArn],
          conditions: viaServices(this, ['dynamodb']),
        }),
      );
    }
    return statements;
  }
}

/** What following needs. */
export interface FollowedTables {
  /** The feed, if there is one. */
  readonly feed: ITable | undefined;

  /** The key that encrypts the feed, if there is a customer managed one. */
  readonly feedKey: IKey | undefined;

  /** The table of the events. */
  readonly events: ITable;

  /** The key that encrypts the table of the events, if there is a customer managed one. */
  readonly eventsKey: IKey | undefined;
}

/** Reading the feed. */
const FEED_ACTIONS = ['dynamodb:GetItem', 'dynamodb:Query'] as const;

/** Fetching listed events, and the store's id, which positions of read models keep. */
const EVENTS_ACTIONS = ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable'] as const;

/** `EventDB.grantFollow`, for a store of this stack or another one. */
export function grantFollowOf(
  scope: Construct,
  { feed, feedKey, events, eventsKey }: FollowedTables,
  grantee: IGrantable,
): Grant {
  if (feed === undefined) {
    throw new Error(
      `grantFollow: ${scope.node.path} has no feed; deploy it with feed: true, or, if another stack ` +
        'deploys it, give feedTableArn to EventDB.fromAttributes',
    );
  }
  const keys = [...new Set([feedKey, eventsKey])].filter((key) => key !== undefined);
  const permissionOn = (key: IKey) =>
    keyPermission(scope, key, KEY_ACTIONS_FOR_READING, ['dynamodb']);
  if (needsResourcePolicy(scope, grantee)) {
    const grant = grantByTablePolicy('grantFollow', feed, grantee, FEED_ACTIONS).combine(
      grantByTablePolicy('grantFollow', events, grantee, EVENTS_ACTIONS),
    );
    for (const key of keys) {
      grantByKeyPolicy('grantFollow', scope, key, grantee, permissionOn(key));
    }
    return grant;
  }
  return grantToIdentity('grantFollow', scope, grantee, [
    { actions: FEED_ACTIONS, resources: [feed.tableArn] },
    { actions: EVENTS_ACTIONS, resources: [events.tableArn] },
    ...keys.map(permissionOn),
  ]);
}
