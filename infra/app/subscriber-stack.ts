import { CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import { ManagedPolicy } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { type CfnSubscription, Topic } from 'aws-cdk-lib/aws-sns';
import type { Construct } from 'constructs';
import { EventSubscription } from '../lib';
import { arn, type Context, flag, list, text } from './settings';

/** What the context (`-c name=value`) settles on the subscriber's side. */
export interface SubscriberSettings {
  /** `-c name=`: the stack's name. Default `EventSubscriber`. */
  readonly name: string;

  /** `-c topicArn=`, required: the output TopicArn of the event store's stack. */
  readonly topicArn: string;

  /** `-c eventTypes=`, separated by commas. Default all. */
  readonly eventTypes: readonly string[];

  /** `-c eventSources=`, separated by commas. Default all. */
  readonly eventSources: readonly string[];

  /** `-c subjectPrefix=`. Default all subjects. */
  readonly subjectPrefix: string | undefined;

  /** `-c allowReplay=true`: the topic's account may replay earlier events into the queue. */
  readonly allowReplay: boolean;

  /** `-c encryption=customer`: a new key encrypts the queues. */
  readonly hasOwnKey: boolean;
}

/**
 * Reads the settings of the subscriber's stack.
 *
 * @throws with a sentence for the user of the command line if a value is missing or wrong
 */
export function readSubscriberSettings(context: Context): SubscriberSettings {
  const topicArn = arn(context, 'topicArn', 'sns');
  if (topicArn === undefined) {
    throw new Error(
      "The context value topicArn is missing; give the output TopicArn of the event store's stack: " +
        '-c topicArn=arn:aws:sns:<region>:<account>:<name>',
    );
  }
  const encryption = text(context, 'encryption') ?? 'sqs';
  if (encryption !== 'sqs' && encryption !== 'customer') {
    throw new Error(`The context value encryption is '${encryption}'; give one of sqs, customer`);
  }
  return {
    name: text(context, 'name') ?? 'EventSubscriber',
    topicArn,
    eventTypes: list(context, 'eventTypes'),
    eventSources: list(context, 'eventSources'),
    subjectPrefix: text(context, 'subjectPrefix'),
    allowReplay: flag(context, 'allowReplay') ?? false,
    hasOwnKey: encryption === 'customer',
  };
}

/** Properties of a `SubscriberStack`. */
export interface SubscriberStackProps extends StackProps {
  /** What is deployed. */
  readonly settings: SubscriberSettings;
}

/** The subscriber's side, deployed into the consuming account. */
export class SubscriberStack extends Stack {
  /** The queue and its subscription. */
  readonly events: EventSubscription;

  constructor(scope: Construct, id: string, props: SubscriberStackProps) {
    super(scope, id, props);
    const { settings } = props;

    this.events = new EventSubscription(this, 'Events', {
      topic: Topic.fromTopicArn(this, 'Topic', settings.topicArn),
      eventTypes: settings.eventTypes.length === 0 ? undefined : settings.eventTypes,
      eventSources: settings.eventSources.length === 0 ? undefined : settings.eventSources,
      subjectPrefix: settings.subjectPrefix,
      allowReplay: settings.allowReplay,
      encryptionKey: settings.hasOwnKey
        ? new Key(this, 'Key', { enableKeyRotation: true, description: 'Queues of events' })
        : undefined,
    });
    const policy = new ManagedPolicy(this, 'ConsumePolicy', {
      description: 'For services that consume events',
    });
    this.events.grantConsume(policy);

    this.output('QueueUrl', this.events.queue.queueUrl, 'Queue to consume');
    this.output('DeadLetterQueueUrl', this.events.deadLetterQueue.queueUrl, 'Its dead letters');
    this.output(
      'SubscriptionArn',
      (this.events.subscription.node.defaultChild as CfnSubscription).ref,
      'For `eventdb replay`',
    );
    this.output('ConsumePolicyArn', policy.managedPolicyArn, 'For services that consume events');
  }

  private output(name: string, value: string, description: string): void {
    new CfnOutput(this, `${name}Output`, { value, description }).overrideLogicalId(name);
  }
}
