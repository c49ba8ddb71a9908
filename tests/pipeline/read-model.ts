/**
 * A read model as a team deploys it: a queue subscribed to the topic, the function of
 * `lambda/examples/read_model.rs`, and the table of its view.
 */
import { CfnOutput, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { AttributeType, BillingMode, Table } from 'aws-cdk-lib/aws-dynamodb';
import { ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { LogGroup } from 'aws-cdk-lib/aws-logs';
import { Topic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { EventSubscription } from '../../infra/lib';

export interface ReadModelProps {
  /** Of the event store. */
  readonly topicArn: string;
  /** Of the event store. */
  readonly tableName: string;
  /** Of the event store. */
  readonly tableLayout: string;
  /** The event store's policy for readers: missing events are read from its table. */
  readonly readPolicyArn: string;
  /** Directory with the built `bootstrap`. */
  readonly code: string;
}

export class ReadModelStack extends Stack {
  constructor(scope: Construct, id: string, props: ReadModelProps) {
    super(scope, id);
    const view = new Table(this, 'View', {
      partitionKey: { name: 'id', type: AttributeType.STRING },
      billingMode: BillingMode.PAY_PER_REQUEST,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const { queue } = new EventSubscription(this, 'Events', {
      topic: Topic.fromTopicArn(this, 'Topic', props.topicArn),
    });
    const logGroup = new LogGroup(this, 'Logs', { removalPolicy: RemovalPolicy.DESTROY });
    // Without it the function would get AWS's policy for all functions, by which one that is at
    // work when the stack goes brings its log group back.
    const role = new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('lambda.amazonaws.com'),
    });
    logGroup.grantWrite(role);
    role.addManagedPolicy(ManagedPolicy.fromManagedPolicyArn(this, 'Read', props.readPolicyArn));
    view.grant(role, 'dynamodb:GetItem', 'dynamodb:UpdateItem');
    const keeper = new LambdaFunction(this, 'Keeper', {
      role,
      code: Code.fromAsset(props.code),
      handler: 'bootstrap',
      runtime: Runtime.PROVIDED_AL2023,
      architecture: process.arch === 'arm64' ? Architecture.ARM_64 : Architecture.X86_64,
      memorySize: 256,
      // The queue hides a message for longer.
      timeout: Duration.seconds(15),
      environment: {
        VIEW_TABLE: view.tableName,
        EVENT_TABLE: props.tableName,
        EVENT_TABLE_LAYOUT: props.tableLayout,
      },
      logGroup,
    });
    keeper.addEventSource(new SqsEventSource(queue, { reportBatchItemFailures: true }));
    new CfnOutput(this, 'ViewTable', { value: view.tableName });
  }
}
