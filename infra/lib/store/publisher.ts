import { type Duration, RemovalPolicy } from 'aws-cdk-lib';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  type Architecture,
  type Code,
  EventSourceMapping,
  FilterCriteria,
  type Function as LambdaFunction,
  MetricType,
  StartingPosition,
} from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import { KEY_ACTIONS_FOR_PUBLISHING } from './encryption-key';
import type { FailureBucket } from './failure-bucket';
import { viaServices } from './grants';
import { publisherFunction } from './publisher-code';
import {
  acknowledgeVpcWildcard,
  functionOptions,
  type PublisherOptions,
  vpcStatements,
} from './publisher-options';
import { schema } from './schema';

/** Properties of a `Publisher`. */
export interface PublisherProps {
  /** Whether logs stay, and for long. */
  readonly isProdEnv: boolean;

  /** The table whose stream is read. */
  readonly table: ITable;

  /** The topic that events are published to. */
  readonly topic: ITopic;

  /** Where records end that can't be published. */
  readonly failureBucket: FailureBucket;

  /** The key of table and topic, if they have one of the customer's. */
  readonly encryptionKey: IKey | undefined;

  /** The key of the table, if it has one of the customer's: that above, or an existing table's. */
  readonly tableKey: IKey | undefined;

  /** Whether the table's stream is read. */
  readonly isPublishing: boolean;

  /** A built bundle of the function. */
  readonly code: Code | undefined;

  /** The machine that the function runs on. */
  readonly architecture: Architecture;

  /** What the function logs at least. */
  readonly logLevel: string | undefined;

  /** How often a failed batch is tried again. */
  readonly retryAttempts: number;

  /** How old a record may be when it is tried (again). */
  readonly maxRecordAge: Duration;

  /** How the function runs. */
  readonly options: PublisherOptions;

  /** Further environment variables. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The function that publishes what appears in the table's stream, with its role, logs and mapping. */
export class Publisher extends Construct {
  /** The function. */
  readonly function: LambdaFunction;

  /** The function's log group. */
  readonly logGroup: LogGroup;

  /** What feeds the stream's records to the function, if the table has a stream. */
  readonly eventSourceMapping: EventSourceMapping | undefined;

  constructor(scope: Construct, id: string, props: PublisherProps) {
    super(scope, id);

    this.logGroup = new LogGroup(this, 'Logs', {
      retention: props.isProdEnv ? RetentionDays.SIX_MONTHS : RetentionDays.ONE_WEEK,
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });

    this.function = publisherFunction(this, 'Function', {
      description: 'Publishes the events of an eventdb table on its topic',
      role: this.role(props),
      code: props.code,
      architecture: props.architecture,
      logGroup: this.logGroup,
      ...functionOptions(props.options, props.logLevel),
      environment: {
        [schema.environment.eventTopicArn]: props.topic.topicArn,
        ...(props.logLevel === undefined ? {} : { [schema.environment.logLevel]: props.logLevel }),
        ...props.environment,
      },
    });

    this.eventSourceMapping =
      !props.isPublishing || props.table.tableStreamArn === undefined
        ? undefined
        : this.mapping(props, props.table.tableStreamArn);
  }

  private mapping(props: PublisherProps, streamArn: string): EventSourceMapping {
    return new EventSourceMapping(this, 'Mapping', {
      target: this.function,
      eventSourceArn: streamArn,
      // An event that was written before the mapping is live must be published too.
      startingPosition: StartingPosition.TRIM_HORIZON,
      filters: [FilterCriteria.filter(schema.eventSourceFilter)],
      batchSize: props.options.batchSize ?? 100,
      maxBatchingWindow: props.options.maxBatchingWindow,
      // With more than one batch per shard at a time Lambda keeps the order per item only, and
      // every event is an item of its own.
      parallelizationFactor: 1,
      reportBatchItemFailures: true,
      bisectBatchOnError: true,
      retryAttempts: props.retryAttempts,
      maxRecordAge: props.maxRecordAge,
      onFailure: props.failureBucket,
      supportS3OnFailureDestination: true,
      metricsConfig: { metrics: [MetricType.EVENT_COUNT] },
    });
  }

  /**
   * The function's role, with one policy inside it: whatever is created after the role finds the
   * whole policy, which creating the mapping depends on.
   */
  private role(props: PublisherProps): Role {
    const statements = [
      ...(props.isPublishing ? readStreamStatements(props.table) : []),
      new PolicyStatement({
        sid: 'PublishEvents',
        actions: ['sns:Publish'],
        resources: [props.topic.topicArn],
      }),
      new PolicyStatement({
        sid: 'WriteLogs',
        actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: [this.logGroup.logGroupArn],
      }),
      ...props.failureBucket.deliveryStatements(),
      ...vpcStatements(props.options),
    ];
    if (props.encryptionKey !== undefined) {
      statements.push(
        new PolicyStatement({
          sid: 'UseKey',
          actions: [...KEY_ACTIONS_FOR_PUBLISHING],
          resources: [props.encryptionKey.keyArn],
          // For publishing, and for reading the stream of the table.
          conditions: viaServices(this, ['sns', 'dynamodb']),
        }),
      );
    }
    if (props.tableKey !== undefined && props.tableKey !== props.encryptionKey) {
      statements.push(
        new PolicyStatement({
          sid: 'UseTableKey',
          actions: ['kms:Decrypt'],
          resources: [props.tableKey.keyArn],
          conditions: viaServices(this, ['dynamodb']),
        }),
      );
    }

    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Reads the event stream, publishes events, keeps what fails',
      inlinePolicies: { Publish: new PolicyDocument({ statements }) },
    });
    props.failureBucket.acknowledgeObjectsWildcard(role);
    acknowledgeVpcWildcard(role, props.options);
    return role;
  }
}

/** What Lambda needs, in the function's name, to read the table's stream. */
function readStreamStatements(table: ITable): PolicyStatement[] {
  if (table.tableStreamArn === undefined) {
    return [];
  }
  return [
    new PolicyStatement({
      sid: 'ReadStream',
      actions: [
        'dynamodb:DescribeStream',
        'dynamodb:GetRecords',
        'dynamodb:GetShardIterator',
        'dynamodb:ListStreams',
      ],
      resources: [table.tableStreamArn],
    }),
  ];
}
