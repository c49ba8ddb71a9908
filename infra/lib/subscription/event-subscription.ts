import { Annotations, Aws, Duration, Stack, Token } from 'aws-cdk-lib';
import { type Alarm, type Metric, type MetricOptions, Stats } from 'aws-cdk-lib/aws-cloudwatch';
import {
  AccountPrincipal,
  type AddToResourcePolicyResult,
  Effect,
  type Grant,
  type IGrantable,
  PolicyStatement,
  type ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import {
  type CfnSubscription,
  type ITopic,
  Subscription,
  SubscriptionProtocol,
} from 'aws-cdk-lib/aws-sns';
import {
  DeduplicationScope,
  FifoThroughputLimit,
  Queue,
  QueueEncryption,
  type QueueProps,
} from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { acknowledge } from '../acknowledge';
import {
  allowInteger,
  allowOnly,
  allowOptionalBoolean,
  requireProperties,
  shown,
} from '../properties';
import { usableKey } from '../store/encryption-key';
import { allowAlarms } from '../watching/alarm-topic';
import { createAlarm, FAULT_PERIOD, onAnyFault } from '../watching/alarms';
import { type EventFilterProps, eventFilterPolicy } from './event-filter';
import { snsPrincipals } from './sns-principal';

/** The alarms of an `EventSubscription`. */
export enum EventSubscriptionAlarm {
  /** There are dead letters: events which the consumer has failed on again and again. */
  DEAD_LETTERS = 'DeadLetters',

  /** An event has waited for an hour: the consumer is down or too slow. */
  MESSAGE_AGE = 'MessageAge',
}

/** Properties of an `EventSubscription`. */
export interface EventSubscriptionProps extends EventFilterProps {
  /**
   * The topic of the event store: `eventDB.topic`, or `Topic.fromTopicArn(...)` for one of another
   * app, account or region. The topic of another account must have this one among its
   * `subscriptionAccounts`. If it is FIFO, so are the queues.
   *
   * An ARN that is known at deployment only (`Fn.importValue`, a parameter) tells neither whether
   * the topic is FIFO nor its region: say so by `fifo` and `topicRegion`.
   */
  readonly topic: ITopic;

  /**
   * Whether the topic is a FIFO topic, which makes the queues FIFO queues.
   *
   * @default - as the topic says; with an ARN that is known at deployment only, `false`
   */
  readonly fifo?: boolean;

  /**
   * The topic's region.
   *
   * @default - as the topic says; with an ARN that is known at deployment only, the subscriber's
   */
  readonly topicRegion?: string;

  /**
   * The customer managed key that encrypts both queues. The policy of a key of this app is
   * extended so that SNS may use it. The policy of an imported key can't be: a warning says what
   * it must have.
   *
   * @default - encrypted with a key that SQS owns
   */
  readonly encryptionKey?: IKey;

  /**
   * Whether a message is the bare CloudEvent, with SNS's message attributes as those of the SQS
   * message. Otherwise it is SNS's JSON envelope with the event as a string in `Message`.
   *
   * @default true
   */
  readonly rawMessageDelivery?: boolean;

  /**
   * For how long a message that a consumer has received is hidden from others. At least as long as
   * handling takes; AWS recommends six times the timeout if the consumer is a Lambda function.
   *
   * @default Duration.minutes(3)
   */
  readonly visibilityTimeout?: Duration;

  /**
   * How often a message is received before it becomes a dead letter: 1 to 1,000.
   *
   * The queue delivers events of a subject out of their order. A consumer that can't read the store
   * gives back what comes too early; with 5 receives, most of 500 events that are disordered within
   * 12 places end as dead letters, with 100 none. An event that the consumer always fails on then
   * takes 100 times the visibility timeout to become a dead letter, 5 hours by default; the alarm
   * `MESSAGE_AGE` goes off after one. A consumer that closes gaps from the store gives nothing back
   * for its order: 5 is enough there.
   *
   * @default 100
   */
  readonly maxReceiveCount?: number;

  /**
   * Whether the topic's account may replay earlier events into the queue, with `eventdb replay`. Its
   * identities that have these permissions themselves may then use `sqs:SendMessage`, `GetQueueUrl` and
   * `GetQueueAttributes` on the queue, and `kms:GenerateDataKey` and `Decrypt` on `encryptionKey`
   * through SQS.
   *
   * Replayed messages have the attribute `replay`, and otherwise are as they were published. The alarm
   * `MESSAGE_AGE` goes off if the consumer takes more than an hour for those that wait:
   * `eventdb replay --rate` and `--most-waiting` send no faster than it consumes.
   *
   * @default false
   */
  readonly allowReplay?: boolean;

  /**
   * Which alarms there are: `Object.values(EventSubscriptionAlarm)` for all, `[]` for none.
   *
   * @default - all
   */
  readonly alarms?: readonly EventSubscriptionAlarm[];

  /**
   * The topic that is told when an alarm goes off and when it is over. If it is encrypted, the
   * policy of its key must let `cloudwatch.amazonaws.com` use it.
   *
   * @default - nobody is told
   */
  readonly alarmTopic?: ITopic;
}

/**
 * A consumer without access to the store returns an event that arrives too early until the missing
 * events have arrived. `eventdb/tests/queue_disorder.rs` measures how often.
 */
const MAX_RECEIVE_COUNT = 100;

/** How long SQS keeps a message at most. */
const RETENTION = Duration.days(14);

/**
 * The subscriber's side: a queue that gets the events of an event store, with a dead-letter queue.
 *
 * Every event arrives at least once. The events of a subject may arrive out of order; their `sequence`
 * gives the order. A consumer is a Lambda function (`SqsEventSource` on `queue`) or a service
 * (see `grantConsume`).
 *
 * ```ts
 * new EventSubscription(this, 'Loans', {
 *   topic: Topic.fromTopicArn(this, 'Events', 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents'),
 *   eventTypes: ['book.borrowed', 'book.returned'],
 *   subjectPrefix: 'book:',
 * });
 * ```
 */
export class EventSubscription extends Construct {
  /** The queue to consume. */
  readonly queue: Queue;

  /**
   * The queue for events that couldn't be consumed: those that were received `maxReceiveCount` times,
   * and those that SNS couldn't deliver to the queue.
   */
  readonly deadLetterQueue: Queue;

  /** The subscription of the queue to the topic. */
  readonly subscription: Subscription;

  /** The alarms that there are, for other actions and thresholds. */
  readonly alarms: ReadonlyMap<EventSubscriptionAlarm, Alarm>;

  constructor(scope: Construct, id: string, props: EventSubscriptionProps) {
    super(scope, id);
    requireProperties('EventSubscription', props, '{ topic: eventDB.topic }');
    requireTopic(props.topic);
    const maxReceiveCount = props.maxReceiveCount ?? MAX_RECEIVE_COUNT;
    allowInteger('maxReceiveCount', maxReceiveCount, 1, 1000);
    allowOptionalBoolean('rawMessageDelivery', props.rawMessageDelivery);
    allowOptionalBoolean('fifo', props.fifo);
    allowOptionalBoolean('allowReplay', props.allowReplay);
    const isFifo = fifoOf(props);
    const topicRegion = topicRegionOf(props, this);
    const encryptionKey =
      props.encryptionKey === undefined
        ? undefined
        : usableKey('encryptionKey', props.encryptionKey, this);
    const principals = snsPrincipals(topicRegion ?? Aws.REGION, Stack.of(this).region);
    allowOnly('alarms', props.alarms, Object.values(EventSubscriptionAlarm));

    this.deadLetterQueue = this.createQueue('DeadLetters', isFifo, encryptionKey, {});
    this.queue = this.createQueue('Queue', isFifo, encryptionKey, {
      visibilityTimeout: props.visibilityTimeout ?? Duration.minutes(3),
      deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount },
    });
    acknowledge(this.deadLetterQueue, 'AwsSolutions-SQS3', 'This is the dead-letter queue.');

    const policy = this.letDeliver(this.queue, 'Events', props.topic, principals);
    const deadLetterPolicy = this.letDeliver(
      this.deadLetterQueue,
      'UndeliverableEvents',
      props.topic,
      principals,
    );
    if (encryptionKey !== undefined) {
      this.allowQueueEncryption(props.topic, encryptionKey, principals);
    }

    if (props.allowReplay === true) {
      this.allowReplay(props.topic.env.account, encryptionKey);
    }

    const filterPolicy = eventFilterPolicy(props);
    this.subscription = new Subscription(this, 'Subscription', {
      topic: props.topic,
      protocol: SubscriptionProtocol.SQS,
      endpoint: this.queue.queueArn,
      rawMessageDelivery: props.rawMessageDelivery ?? true,
      filterPolicy,
      region: topicRegion === Stack.of(this).region ? undefined : topicRegion,
    });
    // The CDK's property would add a policy only for the global principal of SNS.
    (this.subscription.node.defaultChild as CfnSubscription).redrivePolicy = {
      deadLetterTargetArn: this.deadLetterQueue.queueArn,
    };
    // SNS gives up on messages that it may not deliver, so the policies must exist before the
    // subscription.
    for (const { policyDependable } of [policy, deadLetterPolicy]) {
      if (policyDependable !== undefined) {
        this.subscription.node.addDependency(policyDependable);
      }
    }

    this.alarms = this.createAlarms(props);
  }

  /**
   * Lets the grantee consume the events.
   *
   * - On the queue: `sqs:ReceiveMessage`, `ChangeMessageVisibility`, `DeleteMessage`,
   *   `GetQueueUrl`, `GetQueueAttributes`.
   * - On `encryptionKey`: `kms:Decrypt`.
   *
   * @param grantee the identity of the consuming service; a Lambda function gets this from its
   *   `SqsEventSource`
   */
  grantConsume(grantee: IGrantable): Grant {
    return this.queue.grantConsumeMessages(grantee);
  }

  /**
   * Events that wait in the queue.
   *
   * @param options statistic (maximum, if not given), period and so on
   */
  metricWaiting(options: MetricOptions = {}): Metric {
    return this.queue.metricApproximateNumberOfMessagesVisible({
      statistic: Stats.MAXIMUM,
      ...options,
    });
  }

  /**
   * Dead letters.
   *
   * @param options statistic (maximum, if not given), period and so on
   */
  metricDeadLetters(options: MetricOptions = {}): Metric {
    return this.deadLetterQueue.metricApproximateNumberOfMessagesVisible({
      statistic: Stats.MAXIMUM,
      ...options,
    });
  }

  /**
   * Age of the oldest event in the queue, in seconds.
   *
   * @param options statistic (maximum, if not given), period and so on
   */
  metricMessageAge(options: MetricOptions = {}): Metric {
    return this.queue.metricApproximateAgeOfOldestMessage({
      statistic: Stats.MAXIMUM,
      ...options,
    });
  }

  private createQueue(
    id: string,
    isFifo: boolean,
    encryptionKey: IKey | undefined,
    own: Pick<QueueProps, 'visibilityTimeout' | 'deadLetterQueue'>,
  ): Queue {
    return new Queue(this, id, {
      ...own,
      encryption: encryptionKey === undefined ? QueueEncryption.SQS_MANAGED : QueueEncryption.KMS,
      encryptionMasterKey: encryptionKey,
      // High throughput: the limit counts per subject, and not for the whole queue.
      ...(isFifo
        ? {
            fifo: true,
            deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
            fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
          }
        : {}),
      enforceSSL: true,
      retentionPeriod: RETENTION,
    });
  }

  /** Lets SNS send the topic's messages to the queue. */
  private letDeliver(
    queue: Queue,
    sid: string,
    topic: ITopic,
    principals: ServicePrincipal[],
  ): AddToResourcePolicyResult {
    return queue.addToResourcePolicy(
      new PolicyStatement({
        sid,
        effect: Effect.ALLOW,
        principals,
        actions: ['sqs:SendMessage'],
        resources: [queue.queueArn],
        conditions: { ArnEquals: { 'aws:SourceArn': topic.topicArn } },
      }),
    );
  }

  /** Lets SNS use the key of the queues. */
  private allowQueueEncryption(topic: ITopic, key: IKey, principals: ServicePrincipal[]): void {
    const added = key.addToResourcePolicy(
      new PolicyStatement({
        sid: 'EventQueueEncryption',
        effect: Effect.ALLOW,
        principals,
        actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
        resources: ['*'],
        conditions: mayNameTopic(topic, key)
          ? { ArnEquals: { 'aws:SourceArn': topic.topicArn } }
          : {
              StringEquals: { 'aws:SourceAccount': topic.env.account },
              ArnLike: {
                'aws:SourceArn': `arn:${Aws.PARTITION}:sns:*:${topic.env.account}:*`,
              },
            },
      }),
      true,
    );
    if (!added.statementAdded) {
      Annotations.of(this).addWarningV2(
        'eventdb:importedQueueKey',
        `encryptionKey is imported, so its policy stays as it is. It must let ${principals
          .map(({ service }) => service)
          .join(' and ')} use ` +
          "kms:Decrypt and kms:GenerateDataKey (with aws:SourceArn = the topic's ARN), else no " +
          'event ever reaches the queue.',
      );
    }
  }

  /** Lets the account of the topic send to the queue. */
  private allowReplay(account: string, key: IKey | undefined): void {
    const principals = [new AccountPrincipal(account)];
    this.queue.addToResourcePolicy(
      new PolicyStatement({
        sid: 'Replay',
        effect: Effect.ALLOW,
        principals,
        actions: ['sqs:GetQueueAttributes', 'sqs:GetQueueUrl', 'sqs:SendMessage'],
        resources: [this.queue.queueArn],
      }),
    );
    const added = key?.addToResourcePolicy(
      new PolicyStatement({
        sid: 'ReplayEncryption',
        effect: Effect.ALLOW,
        principals,
        actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
        resources: ['*'],
        conditions: {
          StringEquals: { 'kms:ViaService': `sqs.${Stack.of(this).region}.${Aws.URL_SUFFIX}` },
        },
      }),
      true,
    );
    if (added?.statementAdded === false) {
      Annotations.of(this).addWarningV2(
        'eventdb:importedReplayKey',
        `encryptionKey is imported, so its policy stays as it is. It must let the account ${account} ` +
          "use kms:Decrypt and kms:GenerateDataKey (with kms:ViaService = SQS's address), else no " +
          'event can be replayed into the queue.',
      );
    }
  }

  private createAlarms(props: EventSubscriptionProps): ReadonlyMap<EventSubscriptionAlarm, Alarm> {
    const conditions = {
      [EventSubscriptionAlarm.DEAD_LETTERS]: onAnyFault(
        'Events have become dead letters. Repair the consumer, then redrive the dead-letter queue.',
        this.metricDeadLetters({ period: FAULT_PERIOD }),
      ),
      [EventSubscriptionAlarm.MESSAGE_AGE]: {
        description: 'An event has waited for more than an hour: the consumer is down or too slow.',
        metric: this.metricMessageAge({ period: FAULT_PERIOD }),
        threshold: Duration.hours(1).toSeconds(),
        evaluationPeriods: 3,
        datapointsToAlarm: 3,
      },
    };
    const wanted = props.alarms ?? Object.values(EventSubscriptionAlarm);
    if (wanted.length === 0) {
      return new Map();
    }
    if (props.alarmTopic !== undefined) {
      allowAlarms(this, props.alarmTopic);
    }
    const scope = new Construct(this, 'Alarms');
    return new Map(
      wanted.map((name) => [name, createAlarm(scope, name, conditions[name], props.alarmTopic)]),
    );
  }
}

/**
 * Whether the key's policy can contain the topic. If the topic and its key are created in this app,
 * the topic depends on the stack of the key, so a reference back would be a circular dependency.
 */
function mayNameTopic(topic: ITopic, key: IKey): boolean {
  if (!Token.isUnresolved(topic.topicArn)) {
    return true;
  }
  return topic.masterKey !== key && Stack.of(topic) === Stack.of(key);
}

/** Whether the topic is FIFO, according to the topic or to the property. */
function fifoOf({ topic, fifo }: EventSubscriptionProps): boolean {
  if (fifo === false && topic.fifo) {
    throw new Error('fifo is false, but the topic is a FIFO topic, which takes FIFO queues only');
  }
  if (fifo === true && !topic.fifo && !Token.isUnresolved(topic.topicArn)) {
    throw new Error(
      `fifo is true, but the topic is none: the ARN of a FIFO topic ends in .fifo, and this is ${topic.topicArn}`,
    );
  }
  return fifo ?? topic.fifo;
}

/** The topic's region, as far as it is known at synthesis. */
function topicRegionOf(
  { topic, topicRegion }: EventSubscriptionProps,
  subscriber: Construct,
): string | undefined {
  const { region } = topic.env;
  // Two equal tokens mean that both stacks are in the region to which the app is deployed.
  const known =
    Token.isUnresolved(region) && region !== Stack.of(subscriber).region ? undefined : region;
  if (
    topicRegion !== undefined &&
    known !== undefined &&
    !Token.isUnresolved(known) &&
    !Token.isUnresolved(topicRegion) &&
    topicRegion !== known
  ) {
    throw new Error(`topicRegion is '${topicRegion}', but the topic is in ${known}`);
  }
  return topicRegion ?? known;
}

/** Refuses what isn't a topic, an ARN as text above all. */
function requireTopic(topic: unknown): void {
  if (typeof topic !== 'object' || topic === null || !('topicArn' in topic)) {
    throw new Error(
      `topic must be a topic, and is ${shown(topic)}; give eventDB.topic, or ` +
        "Topic.fromTopicArn(this, 'Events', '<ARN>') for a topic of another app",
    );
  }
}
