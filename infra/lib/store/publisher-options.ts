import { Duration } from 'aws-cdk-lib';
import type { ISecurityGroup, IVpc, SubnetSelection } from 'aws-cdk-lib/aws-ec2';
import { PolicyStatement } from 'aws-cdk-lib/aws-iam';
import {
  ApplicationLogLevel,
  type FunctionOptions,
  LoggingFormat,
  SystemLogLevel,
} from 'aws-cdk-lib/aws-lambda';
import type { IConstruct } from 'constructs';
import { acknowledge } from '../acknowledge';
import { allowDuration, allowInteger } from '../properties';

/** How the publisher runs. The defaults suit most stores. */
export interface PublisherOptions {
  /**
   * Memory of the publisher in MB: 128 to 10,240. It holds one batch, about 10 MB. More memory also
   * means more processor time.
   *
   * @default 256
   */
  readonly memorySize?: number;

  /**
   * How long one invocation may take: 10 seconds to 15 minutes. The publisher stops a second before
   * the end and reports the events that it hasn't published, and Lambda delivers these again.
   *
   * @default Duration.minutes(1)
   */
  readonly timeout?: Duration;

  /**
   * The number of the account's concurrent executions that is reserved for the publisher, which is
   * also its maximum. Each shard of the stream needs one execution, so fewer executions than shards
   * slow publishing down. 0 isn't allowed: see `publish`.
   *
   * @default - none reserved: the publisher shares the account's concurrency
   */
  readonly reservedConcurrentExecutions?: number;

  /**
   * The most records of one invocation: 1 to 10,000. Larger batches need fewer invocations, but an
   * unpublishable record then causes more records to be delivered again.
   *
   * @default 100
   */
  readonly batchSize?: number;

  /**
   * How long Lambda may wait until a batch is full: up to 5 minutes. This needs fewer invocations,
   * but events may be published that much later.
   *
   * @default Duration.seconds(0)
   */
  readonly maxBatchingWindow?: Duration;

  /**
   * The VPC in which the publisher runs. The VPC must give access to SNS, by an interface endpoint
   * (`InterfaceVpcEndpointAwsService.SNS`) or a NAT gateway. The stream, the logs and the failure
   * bucket need no access, because Lambda uses them outside the VPC.
   *
   * @default - none: the publisher runs outside any VPC of the account
   */
  readonly vpc?: IVpc;

  /**
   * The subnets of `vpc`.
   *
   * @default - private subnets with egress, or isolated ones
   */
  readonly vpcSubnets?: SubnetSelection;

  /**
   * The publisher's security groups in `vpc`.
   *
   * @default - a new one that allows all outbound traffic
   */
  readonly securityGroups?: readonly ISecurityGroup[];

  /**
   * The format of Lambda's log lines about the publisher. The publisher's lines are JSON in either
   * case.
   *
   * With `LoggingFormat.JSON`, Lambda logs only problems. It leaves out the lines START, END and
   * REPORT of each invocation, and with them the used memory. With few events per batch, these lines
   * are most of the log.
   *
   * @default LoggingFormat.TEXT
   */
  readonly logFormat?: LoggingFormat;
}

/** The limits of Lambda: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
export function validatePublisherOptions(options: PublisherOptions): void {
  allowInteger('memorySize', options.memorySize, 128, 10_240);
  allowDuration('timeout', options.timeout, Duration.seconds(10), Duration.minutes(15));
  if (options.reservedConcurrentExecutions === 0) {
    throw new Error(
      'reservedConcurrentExecutions is 0, so the publisher would never run, and events would not be ' +
        'published; to deploy a store that publishes nothing, use publish: false',
    );
  }
  allowInteger(
    'reservedConcurrentExecutions',
    options.reservedConcurrentExecutions,
    1,
    Number.MAX_SAFE_INTEGER,
  );
  allowInteger('batchSize', options.batchSize, 1, 10_000);
  allowDuration(
    'maxBatchingWindow',
    options.maxBatchingWindow,
    Duration.seconds(0),
    Duration.minutes(5),
  );
  const needVpc = (['vpcSubnets', 'securityGroups'] as const).find((name) => options[name]);
  if (options.vpc === undefined && needVpc !== undefined) {
    throw new Error(`${needVpc} needs vpc; give both or neither`);
  }
}

/**
 * The options as properties of the function.
 *
 * @param options what the user has said
 * @param logLevel what the publisher logs at least
 */
export function functionOptions(
  options: PublisherOptions,
  logLevel: string | undefined,
): FunctionOptions {
  return {
    memorySize: options.memorySize ?? 256,
    // A batch of 100 takes from 10 requests to SNS (many subjects) to 100 (a single subject), which
    // is at most a few seconds. The rest is for retries if SNS throttles or doesn't answer.
    timeout: options.timeout ?? Duration.minutes(1),
    reservedConcurrentExecutions: options.reservedConcurrentExecutions,
    vpc: options.vpc,
    vpcSubnets: options.vpcSubnets,
    securityGroups: options.securityGroups === undefined ? undefined : [...options.securityGroups],
    ...(options.logFormat === LoggingFormat.JSON
      ? {
          loggingFormat: LoggingFormat.JSON,
          systemLogLevelV2: SystemLogLevel.WARN,
          applicationLogLevelV2: applicationLogLevel(logLevel),
        }
      : {}),
  };
}

/**
 * The log level at which Lambda filters the publisher's lines. At least INFO, because the lines with
 * the metrics have no level, and Lambda treats them as INFO.
 */
function applicationLogLevel(logLevel: string | undefined): ApplicationLogLevel {
  switch (logLevel) {
    case 'TRACE':
      return ApplicationLogLevel.TRACE;
    case 'DEBUG':
      return ApplicationLogLevel.DEBUG;
    default:
      return ApplicationLogLevel.INFO;
  }
}

/**
 * The permissions that the function's role needs so that Lambda can connect it to a VPC. The network
 * interfaces aren't known before, so the actions can't be limited to resources.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html
 */
export function vpcStatements(options: PublisherOptions): PolicyStatement[] {
  if (options.vpc === undefined) {
    return [];
  }
  return [
    new PolicyStatement({
      sid: 'ConnectToVpc',
      actions: [
        'ec2:AssignPrivateIpAddresses',
        'ec2:CreateNetworkInterface',
        'ec2:DeleteNetworkInterface',
        'ec2:DescribeNetworkInterfaces',
        'ec2:DescribeSubnets',
        'ec2:UnassignPrivateIpAddresses',
      ],
      resources: ['*'],
    }),
  ];
}

/**
 * Tells cdk-nag why a policy names all resources.
 *
 * @param scope what holds the policy
 * @param options what the user has said
 */
export function acknowledgeVpcWildcard(scope: IConstruct, options: PublisherOptions): void {
  if (options.vpc !== undefined) {
    acknowledge(
      scope,
      'AwsSolutions-IAM5[Resource::*]',
      "Lambda makes the network interfaces at run time; describing them and the subnets can't " +
        'be limited to resources.',
    );
  }
}
