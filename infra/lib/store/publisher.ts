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
import type { FeedTable } from './feed-table';
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
  /** Whether logs are retained, and for a longer time. */
  readonly isProdEnv: boolean;

  /** The table whose stream is read. */
  readonly table: ITable;

  /** The topic that events are published to. */
  readonly topic: ITopic;

  /** The feed that published events are listed in, if there is one. */
  readonly feed: FeedTable | undefined;

  /** The bucket for records that can't be published. */
  readonly failureBucket: FailureBucket;

  /** The customer managed key of table and topic, if there is one. */
  readonly encryptionKey: IKey | undefined;

  /** The customer managed key of the table, if there is one: the key above or an existing table's. */
  readonly tableKey: IKey | undefined;

  /** Whether the table's stream is read. */
  readonly isPublishing: boolean;

  /** A built bundle of the function. */
  readonly code: Code | undefined;

  /** The architecture on which the function runs. */
  readonly architecture: Architecture;

  /** The function's log level. */
  readonly logLevel: string | undefined;

  /** How often a failed batch is retried. */
  readonly retryAttempts: number;

  /** Maximum age of a record when it is tried. */
  readonly maxRecordAge: Duration;

  /** How the function runs. */
  readonly options: PublisherOptions;

  /** Further environment variables. */
  readonly environment: Readonly<Record<string, string>>;
}

/** The function that publishes the events in the table's stream, with its role, logs and mapping. */
export class Publisher extends Construct {
  /** The function. */
  readonly function: LambdaFunction;

  /** The function's log group. */
  readonly logGroup: LogGroup;

  /** The mapping that passes the stream's records to the function, if the table has a stream. */
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
        ...props.feed?.publisherVariables(),
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
      // Events that are written before the mapping is active must be published, too.
      startingPosition: StartingPosition.TRIM_HORIZON,
      filters: [FilterCriteria.filter(schema.eventSourceFilter)],
      batchSize: props.options.batchSize ?? 100,
      maxBatchingWindow: props.options.maxBatchingWindow,
      // With several concurrent batches per shard, Lambda keeps only the order per item, and every
      // event is a separate item.
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
   * The function's role, with an inline policy: the policy exists together with the role, and
   * creating the mapping needs it.
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
      ...(props.feed?.publisherStatements() ?? []),
      ...props.failureBucket.deliveryStatements(),
      ...vpcStatements(props.options),
    ];
    if (props.encryptionKey !== undefined) {
      statements.push(
        new PolicyStatement({
          sid: 'UseKey',
          actions: [...KEY_ACTIONS_FOR_PUBLISHING],
          resources: [props.encryptionKey.keyArn],
          // To publish, and to read the table's stream.
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

/** The permissions that the function's role needs so that Lambda can read the table's stream. */
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
