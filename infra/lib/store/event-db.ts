import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { Alarm, Metric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { Stats } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  Architecture,
  type Code,
  type EventSourceMapping,
  type Function as LambdaFunction,
} from 'aws-cdk-lib/aws-lambda';
import type { LogGroup } from 'aws-cdk-lib/aws-logs';
import { FifoThroughputScope, type ITopic, Topic } from 'aws-cdk-lib/aws-sns';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import {
  allowDuration,
  allowInteger,
  allowOnly,
  allowOptionalBoolean,
  requireBoolean,
  requireProperties,
} from '../properties';
import {
  ALARMS_OF_PUBLISHING,
  ALARMS_OF_VERIFICATION,
  createEventDBAlarms,
  EventDBAlarm,
} from '../watching/event-db-alarms';
import { EventDBDashboard } from '../watching/event-db-dashboard';
import { mappingMetric, publisherMetric } from '../watching/event-db-metrics';
import { usableKey, warnOfForeignKey } from './encryption-key';
import { EventTable } from './event-table';
import { type ExistingTableOptions, validateExistingTable } from './existing-table';
import { FailureBucket } from './failure-bucket';
import { type FeedOptions, hasFeed, validateFeedOptions } from './feed-options';
import { FeedTable, grantFollowOf } from './feed-table';
import { grantToIdentity } from './grants';
import { type EventDBAttributes, type IEventDB, ImportedEventDB } from './imported-event-db';
import { grantOperationOf } from './operation-grants';
import { type OwnStackOptions, stackFor } from './own-stack';
import { Publisher } from './publisher';
import { type PublisherOptions, validatePublisherOptions } from './publisher-options';
import { isPublishing, type PublishingOptions, warnThatNothingIsPublished } from './publishing';
import { schema } from './schema';
import { allowSubscriptions, type SubscriberOptions, subscriptionConditions } from './subscribers';
import { TableCheck } from './table-check';
import { type GrantedTable, grantAppendTo, grantReadOf } from './table-grants';
import {
  type TableLayout,
  type TableLayoutOptions,
  tableSchema,
  validateTableLayout,
} from './table-layout';
import { type TableOptions, validateTableOptions } from './table-options';
import { grantReplayOf, grantTailOf } from './topic-grants';
import { topicNameFor } from './topic-name';
import {
  applyMessageLimit,
  archiveDays,
  givenTopicName,
  messageLimitVariable,
  type TopicOptions,
  validateTopicOptions,
} from './topic-options';
import { grantRepublishOf, grantVerifyOf, type VerifiedTables } from './verification-grants';
import { type VerificationOptions, validateVerificationOptions } from './verification-options';
import { Verifier } from './verifier';

/** What the publisher logs at least. */
export type LogLevel = 'ERROR' | 'WARN' | 'INFO' | 'DEBUG' | 'TRACE';

/** Properties of an `EventDB`. */
export interface EventDBProps
  extends SubscriberOptions,
    PublisherOptions,
    TableLayoutOptions,
    TableOptions,
    TopicOptions,
    ExistingTableOptions,
    PublishingOptions,
    FeedOptions,
    VerificationOptions,
    OwnStackOptions {
  /**
   * Whether this is production.
   *
   * In production, the table, the feed, the topic, the failure bucket and the logs are retained when
   * the stack is deleted. The table and the feed are protected from deletion and can be restored to any
   * second of the last 35 days. Logs are kept for six months, and there are alarms and a dashboard. Elsewhere,
   * everything is deleted with the stack, including all data, and logs are kept for a week.
   */
  readonly isProdEnv: boolean;

  /**
   * The customer managed key that encrypts the table, the feed and the topic. You can also pass an
   * alias of it.
   *
   * It doesn't encrypt the failure bucket. A problem with the key that blocks the publisher would
   * also keep Lambda from writing to the bucket, and there would be no record of the unpublished
   * events. See `failureEncryptionKey`.
   *
   * The key's policy must delegate permissions to the account's IAM policies, as the default policy
   * does (`kms:*` for the account's root). Nothing else is needed. The policy of another account's
   * key must also name the publisher's role, of which a warning reminds you.
   *
   * Logs never contain event data, so the log group isn't encrypted with the key.
   *
   * @default - the table is encrypted with a key that AWS owns, and the topic stores messages
   *   unencrypted until they are delivered
   */
  readonly encryptionKey?: IKey;

  /**
   * The customer managed key that encrypts the failure bucket. Use another key than `encryptionKey`.
   * Otherwise a problem with the key would block the table's stream, the topic and the bucket
   * together.
   *
   * @default - a key that S3 owns (SSE-S3), which can't be disabled or revoked
   */
  readonly failureEncryptionKey?: IKey;

  /**
   * The table's name. Changing it replaces the table.
   *
   * @default - generated by CloudFormation
   */
  readonly tableName?: string;

  /**
   * Makes the topic a FIFO topic: the events of a subject are delivered one after the other, and an
   * event that the publisher sends twice within five minutes is delivered once. Only SQS queues can
   * subscribe to it. Changing this replaces the topic, and with it all subscriptions.
   *
   * The order is that of publication, which can differ from that of the events in rare cases, because
   * DynamoDB Streams keeps only the order per item. So subscribers must still use `sequence`.
   *
   * @default false
   */
  readonly fifo?: boolean;

  /**
   * The publisher as a built bundle: a directory or zip file with the executable `bootstrap` at its
   * top, built for `architecture`.
   *
   * @default - built by cargo-lambda if this package is in its repository, otherwise the bundle in
   *   the package
   */
  readonly code?: Code;

  /**
   * The architecture on which the publisher runs and for which it is built.
   *
   * @default Architecture.ARM_64
   */
  readonly architecture?: Architecture;

  /**
   * The publisher's log level.
   *
   * @default - the publisher's default, `INFO`
   */
  readonly logLevel?: LogLevel;

  /**
   * How often Lambda retries a failed batch before its records go to the failure bucket: 0 to 10,000.
   * Meanwhile, the later records of the shard wait.
   *
   * The publisher reports the first failed record. Lambda then delivers this record and all later
   * records of the batch again, including published ones. So with each retry, subscribers receive up
   * to 99 other events again, and after the last retry, the rest of the batch goes to the failure
   * bucket together with the failed record. If the publisher fails as a whole (a crash, a timeout),
   * Lambda splits the batch, which doesn't count as a retry. A smaller `batchSize` repeats fewer
   * events.
   *
   * @default 20
   */
  readonly retryAttempts?: number;

  /**
   * The maximum age of a record when it is tried, from one minute to 24 hours. Older records go to
   * the failure bucket. The stream drops records after 24 hours.
   *
   * @default Duration.hours(12)
   */
  readonly maxRecordAge?: Duration;

  /**
   * How long the failure bucket keeps a record that nobody has redriven.
   *
   * @default Duration.days(365)
   */
  readonly failureExpiration?: Duration;

  /**
   * Whether the failure bucket is emptied when the stack is deleted. CloudFormation can delete only
   * an empty bucket. A function of the CDK empties it; use `false` where such functions aren't wanted
   * or can't run, as in some emulators. Not allowed in production, where the bucket is retained.
   *
   * @default - outside production only
   */
  readonly emptyFailureBucket?: boolean;

  /**
   * The alarms to create: `Object.values(EventDBAlarm)` for all, `[]` for none.
   *
   * @default - all in production, none elsewhere
   */
  readonly alarms?: readonly EventDBAlarm[];

  /**
   * The topic that is notified when an alarm goes off and when it is over. If it is encrypted, the
   * policy of its key must let `cloudwatch.amazonaws.com` use it.
   *
   * @default - no notifications
   */
  readonly alarmTopic?: ITopic;

  /**
   * Whether there is a CloudWatch dashboard.
   *
   * @default - in production only
   */
  readonly dashboard?: boolean;
}

/**
 * An event store: a table for events, and a topic on which every stored event is published.
 *
 * Directly under an `App` or a `Stage`, it creates a stack with its id as the name. Inside a stack,
 * it is an ordinary construct.
 *
 * ```ts
 * new EventDB(app, 'LibraryEvents', {
 *   isProdEnv: true,
 *   subscriptionAccounts: ['123456789012'],
 * });
 * ```
 */
export class EventDB extends Construct implements IEventDB {
  /**
   * A store that another stack or app deploys. It has the grants, but creates no resources.
   *
   * ```ts
   * const events = EventDB.fromAttributes(stack, 'Events', {
   *   tableArn: 'arn:aws:dynamodb:eu-west-1:123456789012:table/LibraryEvents',
   *   topicArn: 'arn:aws:sns:eu-west-1:123456789012:LibraryEvents',
   * });
   * events.grantAppend(lending);
   * ```
   *
   * @param scope the parent of the construct
   * @param id the construct's id
   * @param attributes the outputs of the other stack
   */
  static fromAttributes(scope: Construct, id: string, attributes: EventDBAttributes): IEventDB {
    return new ImportedEventDB(scope, id, attributes);
  }

  /** The table that holds the events. */
  readonly table: ITable;

  /** How the table stores events. */
  readonly tableLayout: TableLayout;

  /** The names of the table's global indexes, each of which has metrics. */
  readonly globalIndexNames: readonly string[];

  /** The feed, in which the publisher lists what it has published, if there is one. */
  readonly feed: FeedTable | undefined;

  /** The topic on which every stored event is published. */
  readonly topic: Topic;

  /** The function that publishes what appears in the table's stream. */
  readonly publisher: LambdaFunction;

  /** The publisher's logs. */
  readonly logGroup: LogGroup;

  /** What feeds the stream's records to the publisher; `undefined` with `publish: false`. */
  readonly eventSourceMapping: EventSourceMapping | undefined;

  /** The bucket that keeps the records which could not be published, until they are redriven. */
  readonly failureBucket: FailureBucket;

  /** The key that was given; where that was an alias, the key behind it. */
  readonly encryptionKey: IKey | undefined;

  /** The alarms that there are, for other actions and thresholds. */
  readonly alarms: ReadonlyMap<EventDBAlarm, Alarm>;

  /** The dashboard, if there is one. */
  readonly dashboard: EventDBDashboard | undefined;

  /** The function that verifies that events were published, if there is one. */
  readonly verifier: LambdaFunction | undefined;

  private readonly granted: GrantedTable;

  private readonly subscriptionConditions: Readonly<Record<string, Record<string, unknown>>>;

  constructor(scope: Construct, id: string, props: EventDBProps) {
    // Checked first, because plain JavaScript and casts let any value through.
    validate(props);
    const isInStack = scope.node.scopes.some(Stack.isStack);
    // The id 'Default' isn't part of the logical ids of the stack's resources.
    super(stackFor(scope, id, props), isInStack ? id : 'Default');

    this.encryptionKey =
      props.encryptionKey === undefined
        ? undefined
        : usableKey('encryptionKey', props.encryptionKey, this);
    const table = tableSchema(props);
    this.tableLayout = table.layout;
    this.globalIndexNames = table.globalSecondaryIndexes.map(({ name }) => name);
    this.table =
      props.table ??
      new EventTable(this, 'Table', {
        isProdEnv: props.isProdEnv,
        tableName: props.tableName,
        encryptionKey: this.encryptionKey,
        hasStream: isPublishing(props),
        schema: table,
        options: props,
      });
    // An existing table has its own key, or none.
    const tableKey = props.table === undefined ? this.encryptionKey : props.table.encryptionKey;
    this.granted = { table: this.table, schema: table, key: tableKey };
    this.feed = hasFeed(props)
      ? new FeedTable(this, 'Feed', {
          isProdEnv: props.isProdEnv,
          encryptionKey: this.encryptionKey,
          partitions: props.feedPartitions,
        })
      : undefined;
    this.subscriptionConditions = subscriptionConditions(props);
    this.topic = this.createTopic(props);
    this.failureBucket = new FailureBucket(this, 'Failures', {
      isProdEnv: props.isProdEnv,
      encryptionKey:
        props.failureEncryptionKey === undefined
          ? undefined
          : usableKey('failureEncryptionKey', props.failureEncryptionKey, this),
      isEmptiedWithStack: props.emptyFailureBucket ?? !props.isProdEnv,
      expiration: props.failureExpiration ?? Duration.days(365),
    });

    const publisher = new Publisher(this, 'Publisher', {
      isProdEnv: props.isProdEnv,
      table: this.table,
      topic: this.topic,
      feed: this.feed,
      failureBucket: this.failureBucket,
      encryptionKey: this.encryptionKey,
      tableKey,
      isPublishing: isPublishing(props),
      code: props.code,
      architecture: props.architecture ?? Architecture.ARM_64,
      logLevel: props.logLevel,
      retryAttempts: props.retryAttempts ?? 20,
      maxRecordAge: props.maxRecordAge ?? Duration.hours(12),
      options: props,
      environment: messageLimitVariable(props),
    });
    this.publisher = publisher.function;
    this.verifier =
      props.verification === undefined || this.feed === undefined
        ? undefined
        : new Verifier(this, 'Verifier', {
            isProdEnv: props.isProdEnv,
            events: this.granted,
            feed: this.feed,
            feedKey: this.encryptionKey,
            code: props.code,
            architecture: props.architecture ?? Architecture.ARM_64,
            logLevel: props.logLevel,
            interval: props.verification,
          }).function;
    this.logGroup = publisher.logGroup;
    this.eventSourceMapping = publisher.eventSourceMapping;
    if (props.table !== undefined) {
      const check = new TableCheck(this, 'TableCheck', {
        table: props.table,
        schema: table,
        isPublishing: isPublishing(props),
        isProdEnv: props.isProdEnv,
      });
      // Nothing must be published from an unsuitable table.
      this.eventSourceMapping?.node.addDependency(check);
    }

    this.alarms = createEventDBAlarms(
      this,
      (props.alarms ?? (props.isProdEnv ? Object.values(EventDBAlarm) : [])).filter(
        (alarm) =>
          (isPublishing(props) || !ALARMS_OF_PUBLISHING.includes(alarm)) &&
          (hasFeed(props) || alarm !== EventDBAlarm.UNLISTED_EVENTS) &&
          (this.verifier !== undefined || !ALARMS_OF_VERIFICATION.includes(alarm)),
      ),
      props.alarmTopic,
    );
    this.dashboard =
      (props.dashboard ?? props.isProdEnv)
        ? new EventDBDashboard(this, 'Dashboard', this)
        : undefined;
    if (!isPublishing(props)) {
      warnThatNothingIsPublished(this);
    }
  }

  /**
   * Lets the grantee append events, and read them, which appending needs.
   *
   * - On the table: `dynamodb:ConditionCheckItem`, `GetItem`, `Query`. `GetItem` covers
   *   `TransactGetItems`, by which commands are looked up; IAM has no separate action for it.
   * - On a table by time: `PutItem` only as part of a transaction; on the items of heads and
   *   snapshots, but not on events, `PutItem` and `UpdateItem`.
   * - On a table by revision: `PutItem`, and no update at all, because no item is ever updated.
   * - On `encryptionKey`, only through DynamoDB: `kms:Decrypt`, `DescribeKey`, `Encrypt`,
   *   `GenerateDataKey`, `GenerateDataKeyWithoutPlaintext`, `ReEncryptFrom`, `ReEncryptTo`.
   *
   * The grantee can't update or delete events. But no IAM policy can require that a put finds a free
   * key, so the grantee could overwrite an event with a `PutItem` that it makes itself: by time in
   * a transaction, by revision also outside one. The crate never does, because each of its puts of an
   * event has this condition. So let services append with the crate only.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if it belongs to another account, or no policy can be attached to it
   */
  grantAppend(grantee: IGrantable): Grant {
    return grantAppendTo(this, this.granted, grantee);
  }

  /**
   * Lets the grantee read events.
   *
   * - On the table: `dynamodb:DescribeTable` (for the store's id), `GetItem`, `Query`; on a table by
   *   revision also `BatchGetItem` (for reading all events).
   * - On each of its indexes: `dynamodb:Query`.
   * - On `encryptionKey`, only through DynamoDB: `kms:Decrypt`, `DescribeKey`.
   *
   * A role of another account, an account (`AccountPrincipal`) or an ARN gets these permissions in
   * the policies of the table and of `encryptionKey`. The other account must also grant them to its
   * identity, and use the table's full ARN instead of its name. Another account can be recognised
   * only if the stack has an `env` with an account.
   *
   * @param grantee the identity that may read
   * @throws if it is a service, or the table can't be read from another account
   */
  grantRead(grantee: IGrantable): Grant {
    return grantReadOf(this, this.granted, grantee);
  }

  /**
   * Lets the grantee follow the feed, and fetch the events that it lists.
   *
   * - On the feed: `dynamodb:GetItem`, `Query`.
   * - On the table: `dynamodb:BatchGetItem`, `DescribeTable` (for the store's id).
   * - On `encryptionKey`, only through DynamoDB: `kms:Decrypt`, `DescribeKey`.
   *
   * It gives no other way of reading, so a projection that closes gaps also needs `grantRead`. For a
   * role of another account, an account or an ARN, what `grantRead` says applies, too.
   *
   * @param grantee the identity that may follow
   * @throws if the store has no feed, if the grantee is a service, or if the tables can't be read from
   *   another account
   */
  grantFollow(grantee: IGrantable): Grant {
    return grantFollowOf(
      this,
      {
        feed: this.feed,
        feedKey: this.encryptionKey,
        events: this.table,
        eventsKey: this.granted.key,
      },
      grantee,
    );
  }

  /**
   * Lets the grantee verify that events were published (`eventdb verify`): read both tables in every
   * way, and change nothing.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if the store has no feed, or if no policy can be attached to the grantee
   */
  grantVerify(grantee: IGrantable): Grant {
    return grantVerifyOf(this, this.verified(), grantee);
  }

  /**
   * Lets the grantee do something about what was found: what `grantVerify` gives, put entries and
   * acknowledgements into the feed, and what `grantInvokePublisher` gives, with its danger.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if the store has no feed, or if no policy can be attached to the grantee
   */
  grantRepublish(grantee: IGrantable): Grant {
    return grantRepublishOf(this, this.verified(), grantee).combine(
      this.grantInvokePublisher(grantee),
    );
  }

  /**
   * Lets the grantee read all events (`eventdb export`): `dynamodb:DescribeTable`, `GetItem`, `Query`,
   * `Scan`, and on `encryptionKey`, only through DynamoDB, `kms:Decrypt`, `DescribeKey`.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantExport(grantee: IGrantable): Grant {
    return grantOperationOf('Export', this, this.verified(), grantee);
  }

  /**
   * Lets the grantee write events from outside with any ids, times and revisions (`eventdb import`), and
   * list them in the feed. It can also overwrite events: grant it only to operators.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantImport(grantee: IGrantable): Grant {
    return grantOperationOf('Import', this, this.verified(), grantee);
  }

  /**
   * Lets the grantee examine the table and the feed (`eventdb doctor`), and change nothing.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantExamine(grantee: IGrantable): Grant {
    return grantOperationOf('Examine', this, this.verified(), grantee);
  }

  /**
   * Lets the grantee examine and repair (`eventdb doctor --write`): what `grantExamine` gives, put and
   * update items in a table by time, and delete snapshots. It can also overwrite events of a table by
   * time: grant it only to operators.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantRepair(grantee: IGrantable): Grant {
    return grantOperationOf('Repair', this, this.verified(), grantee);
  }

  /**
   * Lets the grantee overwrite the data of events (`eventdb erase`), and delete snapshots. What is
   * overwritten is lost, except in backups: grant it only to operators.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantErase(grantee: IGrantable): Grant {
    return grantOperationOf('Erase', this, this.verified(), grantee);
  }

  /**
   * Lets the grantee follow the topic with a temporary queue, after the last events
   * (`eventdb tail --follow --queue`).
   *
   * - On the table: `dynamodb:DescribeTable`; on a table by revision also `BatchGetItem`.
   * - On the index `AllEventsByTime`, if there is one: `dynamodb:Query`.
   * - On queues of this account and region whose names begin with `eventdb-tail-`:
   *   `sqs:CreateQueue`, `DeleteMessage`, `DeleteQueue`, `GetQueueAttributes`, `ReceiveMessage`,
   *   `SetQueueAttributes`.
   * - On the topic: `sns:Subscribe`, only with these queues. `sns:Unsubscribe`, which IAM can't limit
   *   to a topic.
   * - On the table's key, only through DynamoDB: `kms:Decrypt`, `DescribeKey`.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if no policy can be attached to the grantee
   */
  grantTail(grantee: IGrantable): Grant {
    return grantTailOf(this, this.granted, this.topic, grantee);
  }

  /**
   * Lets the grantee send published events to a subscriber's queue again (`eventdb replay`).
   *
   * - On the feed: `dynamodb:GetItem`, `Query`.
   * - On the table: `dynamodb:BatchGetItem`, `DescribeTable`, `Query`.
   * - On the topic: `sns:ListSubscriptionsByTopic`. `sns:GetSubscriptionAttributes`, which IAM can't
   *   limit to a topic.
   * - On the queues: `sqs:GetQueueAttributes`, `GetQueueUrl`, `SendMessage`; on their keys, only
   *   through SQS: `kms:Decrypt`, `GenerateDataKey`.
   * - On the keys of feed and table, only through DynamoDB: `kms:Decrypt`, `DescribeKey`.
   *
   * A queue of another account must allow this account, too: `allowReplay` of `EventSubscription`.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @param queues the queues to send to, for example `Queue.fromQueueArn(...)`; none, if the grantee
   *   has these permissions otherwise
   * @throws if the store has no feed, or no policy can be attached to the grantee
   */
  grantReplay(grantee: IGrantable, queues: readonly IQueue[] = []): Grant {
    return grantReplayOf(this, this.verified(), this.topic, grantee, queues);
  }

  /**
   * Lets the grantee look into the store (`eventdb explore`), and change nothing.
   *
   * - On the table: `dynamodb:DescribeTable`, `GetItem`, `Query`, also on its indexes, by revision also
   *   `BatchGetItem`.
   * - On the feed: `dynamodb:GetItem`, `Query`.
   * - On the failure bucket, below `aws/lambda/`: `s3:ListBucket`, `GetObject`.
   * - On the keys of these, only through DynamoDB and S3: `kms:Decrypt`, and `DescribeKey` through
   *   DynamoDB.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if it belongs to another account, or no policy can be attached to it
   */
  grantExplore(grantee: IGrantable): Grant {
    return grantOperationOf('Explore', this, this.verified(), grantee).combine(
      grantToIdentity('grantExplore', this, grantee, this.failureBucket.readPermissions()),
    );
  }

  private verified(): VerifiedTables {
    return { events: this.granted, feed: this.feed, feedKey: this.encryptionKey };
  }

  /**
   * Lets the grantee subscribe to the topic: `sns:Subscribe`, with the protocols in
   * `subscriptionProtocols`.
   *
   * It needs no permission on `encryptionKey`, because SNS decrypts messages before it delivers them.
   * `EventSubscription` sets up the permissions for an encrypted queue of the subscriber.
   *
   * @param grantee the identity that may subscribe; for a whole account, use `subscriptionAccounts`,
   *   and for an organization, `organizationId`
   */
  grantSubscribe(grantee: IGrantable): Grant {
    return Grant.addToPrincipalOrResource({
      grantee,
      actions: ['sns:Subscribe'],
      resourceArns: [this.topic.topicArn],
      resource: this.topic,
      conditions: this.subscriptionConditions,
    });
  }

  /**
   * Lets the grantee list, read and delete the records in the failure bucket.
   *
   * - On the bucket, below `aws/lambda/`: `s3:ListBucket`, `GetObject`, `DeleteObject`.
   * - On `failureEncryptionKey`, only through S3: `kms:Decrypt`.
   *
   * A redrive (`eventdb redrive`) also needs `grantInvokePublisher`.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if it belongs to another account, or no policy can be attached to it
   */
  grantRedrive(grantee: IGrantable): Grant {
    return grantToIdentity('grantRedrive', this, grantee, this.failureBucket.redrivePermissions());
  }

  /**
   * Lets the grantee invoke the publisher with records: `lambda:InvokeFunction`.
   *
   * **The publisher publishes any record that it is invoked with.** It can't distinguish a forged
   * record from one of the stream, so the grantee can publish events that were never stored. Redrives
   * need this permission; grant it only to operators.
   *
   * @param grantee an identity of this account to which policies can be attached
   * @throws if it belongs to another account, or no policy can be attached to it
   */
  grantInvokePublisher(grantee: IGrantable): Grant {
    return grantToIdentity('grantInvokePublisher', this, grantee, [
      // Only the function, because it has no versions or aliases.
      { actions: ['lambda:InvokeFunction'], resources: [this.publisher.functionArn] },
    ]);
  }

  /**
   * Shows the depth of a subscriber's queue on the dashboard, if there is one.
   *
   * @param title the title of the graphs, such as the subscriber's name
   * @param queue the queue from which the consumer receives
   * @param deadLetterQueue the queue's dead-letter queue, if there is one
   */
  addQueueToDashboard(title: string, queue: IQueue, deadLetterQueue?: IQueue): void {
    this.dashboard?.addQueue(title, queue, deadLetterQueue);
  }

  /**
   * A metric that the publisher writes.
   *
   * @param metricName a name from `metrics` in `eventdb/schema.json`
   * @param options statistic, period and so on
   */
  metric(metricName: string, options: MetricOptions = {}): Metric {
    return publisherMetric(this.publisher, metricName, options);
  }

  /**
   * Events that the topic has accepted.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricPublishedEvents(options: MetricOptions = {}): Metric {
    return this.metric(schema.metrics.publishedEvents, { statistic: Stats.SUM, ...options });
  }

  /**
   * Records that weren't new events.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricSkippedRecords(options: MetricOptions = {}): Metric {
    return this.metric(schema.metrics.skippedRecords, { statistic: Stats.SUM, ...options });
  }

  /**
   * Records that the publisher reported as failed. A record that is retried counts each time.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricFailedRecords(options: MetricOptions = {}): Metric {
    return this.metric(schema.metrics.failedRecords, { statistic: Stats.SUM, ...options });
  }

  /**
   * Stored events that the feed doesn't list, by the latest verification of each part of the table.
   *
   * @param options statistic (maximum, if not given), period and so on
   * @throws without `verification`
   */
  metricUnpublishedEvents(options: MetricOptions = {}): Metric {
    return this.verificationMetric(schema.metrics.unpublishedEvents, options);
  }

  /**
   * The age of the oldest verification of a part of the table, in seconds.
   *
   * @param options statistic (maximum, if not given), period and so on
   * @throws without `verification`
   */
  metricOldestVerification(options: MetricOptions = {}): Metric {
    return this.verificationMetric(schema.metrics.oldestVerification, options);
  }

  private verificationMetric(metricName: string, options: MetricOptions): Metric {
    if (this.verifier === undefined) {
      throw new Error(`There is no metric ${metricName} without verification`);
    }
    return publisherMetric(this.verifier, metricName, { statistic: Stats.MAXIMUM, ...options });
  }

  /**
   * Events that the topic has accepted, but that couldn't be listed in the feed. An event that is
   * tried again counts each time. There is no data without a feed.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricUnlistedEvents(options: MetricOptions = {}): Metric {
    return this.metric(schema.metrics.unlistedEvents, { statistic: Stats.SUM, ...options });
  }

  /**
   * Milliseconds from an event's arrival in the table's stream to its publication. Imported events
   * with old times count from their import. The stream contains only the second of the arrival, so
   * an event whose time isn't in that second counts up to one second too much.
   *
   * @param options statistic (99th percentile, if not given), period and so on
   */
  metricPublishLag(options: MetricOptions = {}): Metric {
    return this.metric(schema.metrics.publishLag, { statistic: Stats.p(99), ...options });
  }

  /**
   * Age, in milliseconds, of the oldest record when its batch reached the publisher.
   *
   * @param options statistic (maximum, if not given), period and so on
   */
  metricIteratorAge(options: MetricOptions = {}): Metric {
    return this.publisher.metric('IteratorAge', { statistic: Stats.MAXIMUM, ...options });
  }

  /**
   * How often Lambda polled the table's stream. It polls continuously, even without events, so
   * missing data means that nothing reads the stream.
   *
   * @param options statistic (sample count, if not given), period and so on
   */
  metricStreamPolls(options: MetricOptions = {}): Metric {
    // Each poll is a sample, whose value is the number of records, which can be 0.
    return mappingMetric(this.eventSourceMapping, 'PolledEventCount', {
      statistic: Stats.SAMPLE_COUNT,
      ...options,
    });
  }

  /**
   * Records that Lambda gave up on after the last retry or because of their age.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricDroppedRecords(options: MetricOptions = {}): Metric {
    return mappingMetric(this.eventSourceMapping, 'DroppedEventCount', options);
  }

  /**
   * Messages that SNS couldn't deliver to a subscriber after all retries.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricFailedNotifications(options: MetricOptions = {}): Metric {
    return this.topic.metricNumberOfNotificationsFailed({ statistic: Stats.SUM, ...options });
  }

  /**
   * The number of objects in the failure bucket, each with the records of one batch. S3 counts them
   * once a day.
   *
   * @param options period (a day, if not given), label and so on
   */
  metricFailureBucketObjects(options: MetricOptions = {}): Metric {
    return this.failureBucket.metricObjects(options);
  }

  /**
   * Records that Lambda has written to the failure bucket.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricFailureDestinationRecords(options: MetricOptions = {}): Metric {
    return mappingMetric(
      this.eventSourceMapping,
      'OnFailureDestinationDeliveredEventCount',
      options,
    );
  }

  /**
   * How often Lambda couldn't write to the failure bucket.
   *
   * @param options statistic (sum, if not given), period and so on
   */
  metricFailureDestinationErrors(options: MetricOptions = {}): Metric {
    return this.publisher.metric('DestinationDeliveryFailures', {
      statistic: Stats.SUM,
      ...options,
    });
  }

  private createTopic(props: EventDBProps): Topic {
    const topic = new Topic(this, 'Topic', {
      topicName: topicNameFor(this, { fifo: props.fifo, topicName: givenTopicName(props) }),
      messageRetentionPeriodInDays: archiveDays(props),
      enforceSSL: true,
      masterKey: this.encryptionKey,
      // The publisher sets the deduplication ids, from the source and id of the event.
      ...(props.fifo === true
        ? { fifo: true, fifoThroughputScope: FifoThroughputScope.MESSAGE_GROUP }
        : {}),
    });
    applyMessageLimit(topic, props);
    allowSubscriptions(topic, props, this.subscriptionConditions);
    if (this.encryptionKey !== undefined) {
      warnOfForeignKey(this, this.encryptionKey);
    }
    topic.applyRemovalPolicy(props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY);
    return topic;
  }
}

/** Refuses what AWS would refuse only when the stack is deployed, or what would destroy data. */
function validate(props: EventDBProps): void {
  requireProperties('EventDB', props, '{ isProdEnv: true }');
  // A missing value would count as "not production", where all data is deleted with the stack.
  requireBoolean('isProdEnv', props.isProdEnv);
  allowOptionalBoolean('fifo', props.fifo);
  allowOptionalBoolean('emptyFailureBucket', props.emptyFailureBucket);
  allowOptionalBoolean('dashboard', props.dashboard);
  allowOnly('alarms', props.alarms, Object.values(EventDBAlarm));
  allowInteger('retryAttempts', props.retryAttempts, 0, 10_000);
  if (props.isProdEnv && props.emptyFailureBucket === true) {
    throw new Error('emptyFailureBucket is true, but in production the failure bucket is retained');
  }
  allowOptionalBoolean('publish', props.publish);
  allowDuration('maxRecordAge', props.maxRecordAge, Duration.minutes(1), Duration.hours(24));
  validatePublisherOptions(props);
  validateTableLayout(props);
  validateTableOptions(props);
  validateFeedOptions(props);
  validateVerificationOptions(props);
  validateExistingTable(props, isPublishing(props));
  validateTopicOptions(props, props.fifo === true);
}
