import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import { Rule, RuleTargetInput, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction as FunctionTarget } from 'aws-cdk-lib/aws-events-targets';
import { PolicyDocument, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Architecture, Code, Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { FeedTable } from './feed-table';
import { publisherFunction } from './publisher-code';
import { schema } from './schema';
import type { GrantedTable } from './table-grants';
import { OptionalIndex } from './table-layout';
import { verifyPermissions } from './verification-grants';

/** Properties of a `Verifier`. */
export interface VerifierProps {
  /** Whether logs are retained, and for a longer time. */
  readonly isProdEnv: boolean;

  /** The table of events. */
  readonly events: GrantedTable;

  /** The feed. */
  readonly feed: FeedTable;

  /** The key that encrypts the feed, if there is a customer managed one. */
  readonly feedKey: IKey | undefined;

  /** A built bundle of the function. */
  readonly code: Code | undefined;

  /** The architecture on which the function runs. */
  readonly architecture: Architecture;

  /** The function's log level. */
  readonly logLevel: string | undefined;

  /** How often it runs. */
  readonly interval: Duration;
}

/** Events may be that much older than the interval, so that two runs overlap. */
const OVERLAP = Duration.hours(1);

/** The function that regularly compares the table of events with the feed. */
export class Verifier extends Construct {
  /** The function. It is the publisher's program with other variables. */
  readonly function: LambdaFunction;

  constructor(scope: Construct, id: string, props: VerifierProps) {
    super(scope, id);

    const logGroup = new LogGroup(this, 'Logs', {
      retention: props.isProdEnv ? RetentionDays.SIX_MONTHS : RetentionDays.ONE_WEEK,
      removalPolicy: props.isProdEnv ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    });
    const { environment } = schema;
    const { events, feed, interval } = props;
    const hasTimes = events.schema.globalSecondaryIndexes.some(
      ({ name }) => name === OptionalIndex.ALL_EVENTS_BY_TIME,
    );
    this.function = publisherFunction(this, 'Function', {
      description: 'Verifies that the events of an eventdb table were published',
      role: this.role(props, logGroup),
      code: props.code,
      architecture: props.architecture,
      logGroup,
      // A hash of 8 bytes for each of a million events, and a page of each table.
      memorySize: 512,
      // Twice five minutes between two looks, and the time to read.
      timeout: Duration.minutes(15),
      environment: {
        [environment.eventTable]: events.table.tableName,
        [environment.tableLayout]: events.schema.layout,
        [environment.feedTable]: feed.tableName,
        ...(hasTimes
          ? { [environment.verificationWindow]: String(interval.plus(OVERLAP).toSeconds()) }
          : {}),
        ...(props.logLevel === undefined ? {} : { [environment.logLevel]: props.logLevel }),
      },
    });
    new Rule(this, 'Schedule', {
      description: 'Verifies that the events of an eventdb table were published',
      schedule: Schedule.rate(interval),
      targets: [
        // The next run is soon enough.
        new FunctionTarget(this.function, {
          event: RuleTargetInput.fromObject({}),
          retryAttempts: 0,
        }),
      ],
    });
  }

  private role(props: VerifierProps, logGroup: LogGroup): Role {
    const { events, feed, feedKey } = props;
    const permissions = [
      ...verifyPermissions(this, { events, feed, feedKey }),
      {
        actions: ['dynamodb:PutItem'],
        resources: [feed.tableArn],
        // Only what it remembers of earlier runs: it can't list events.
        conditions: {
          'ForAllValues:StringEquals': { 'dynamodb:LeadingKeys': [schema.feed.verification] },
          Null: { 'dynamodb:LeadingKeys': 'false' },
        },
      },
      {
        actions: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        resources: [logGroup.logGroupArn],
      },
    ];
    const statements = permissions.map(
      ({ actions, resources, conditions }) =>
        new PolicyStatement({
          actions: [...actions],
          resources: [...resources],
          conditions: conditions && { ...conditions },
        }),
    );
    return new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
      description: 'Compares events with the feed',
      inlinePolicies: { Verify: new PolicyDocument({ statements }) },
    });
  }
}
