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

/** How the publisher runs. The defaults suit most stores; each has its reason. */
export interface PublisherOptions {
  /**
   * Memory of the publisher in MB: 128 to 10,240. It holds one batch, some 10 MB; what more memory
   * buys is processor time.
   *
   * @default 256
   */
  readonly memorySize?: number;

  /**
   * How long one invocation may take: 10 seconds to 15 minutes. The publisher stops a second
   * before the end and reports what it has not published; Lambda delivers that again.
   *
   * @default Duration.minutes(1)
   */
  readonly timeout?: Duration;

  /**
   * Reserves that many concurrent executions of the account for the publisher, and allows no more.
   * The stream is read with one execution per shard, so a number below that of the shards slows
   * publishing down. 0 would stop it: see `publish`.
   *
   * @default - none reserved: the publisher shares the account's concurrency
   */
  readonly reservedConcurrentExecutions?: number;

  /**
   * The most records of one invocation: 1 to 10,000. Larger batches take fewer invocations; a
   * record that can't be published takes a larger batch with it each time it is tried.
   *
   * @default 100
   */
  readonly batchSize?: number;

  /**
   * How long Lambda may wait until a batch is full: up to 5 minutes. Every event is published that
   * much later, in the worst case; fewer invocations cost less.
   *
   * @default Duration.seconds(0)
   */
  readonly maxBatchingWindow?: Duration;

  /**
   * The VPC that the publisher runs in. It needs a way to SNS there: an interface endpoint
   * (`InterfaceVpcEndpointAwsService.SNS`) or a NAT gateway. Reading the stream, logging and the
   * failure bucket need none, for Lambda does these outside the VPC.
   *
   * @default - none: the publisher runs outside any VPC of the account
   */
  readonly vpc?: IVpc;

  /**
   * The subnets of `vpc`.
   *
   * @default - private subnets with a way out, or isolated ones
   */
  readonly vpcSubnets?: SubnetSelection;

  /**
   * The publisher's security groups in `vpc`.
   *
   * @default - a new one that allows all outbound traffic
   */
  readonly securityGroups?: readonly ISecurityGroup[];

  /**
   * The format of what Lambda itself logs about the publisher. The publisher's own lines are JSON
   * in either case.
   *
   * With `LoggingFormat.JSON` Lambda logs only what is wrong: the lines START, END and REPORT of
   * each invocation are left out, which are most of the log where there are few events per batch.
   * With them goes the memory that each invocation used.
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
      'reservedConcurrentExecutions is 0, with which the publisher never runs and events are lost ' +
        'to the topic after 24 hours; publish: false deploys a store that publishes nothing',
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
    throw new Error(`${needVpc} is given without vpc, in which they would be`);
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
    // A batch of 100 takes ten calls to SNS, a few hundred milliseconds in all. The rest is for
    // the publisher's own retries when SNS throttles or doesn't answer.
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
 * What Lambda lets through of the publisher's lines. Never less than INFO: Lambda takes the lines
 * that carry the metrics for INFO, since they have no level.
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
 * What Lambda needs, in the function's name, to connect it to a VPC. These actions can't be
 * limited to resources that are known before.
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
