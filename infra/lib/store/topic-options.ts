import { type Duration, Token } from 'aws-cdk-lib';
import type { CfnTopic, Topic } from 'aws-cdk-lib/aws-sns';
import { allowInteger, wholeDays } from '../properties';
import { schema } from './schema';

/** The end of a FIFO topic's name. */
const FIFO_SUFFIX = '.fifo';

/** The topic's name, archive and message limit. */
export interface TopicOptions {
  /**
   * The topic's name: up to 256 letters, digits, hyphens and underscores. With `fifo` it ends in
   * `.fifo`, which is added if it is missing. Changing it replaces the topic, and with it all
   * subscriptions.
   *
   * In production, the topic is retained when the stack is deleted, and its name stays in use. To
   * deploy the stack again, use another name or delete the topic first.
   *
   * @default - generated: by CloudFormation, or for a FIFO topic from the construct's path
   */
  readonly topicName?: string;

  /**
   * How long a FIFO topic keeps published messages, so that SNS can replay them to a subscriber: a
   * whole number of days, up to 365. SNS charges for kept messages.
   *
   * SNS refuses to delete a topic that keeps messages. Deploy without `archive` before you destroy
   * the stack.
   *
   * @see https://docs.aws.amazon.com/sns/latest/dg/message-archiving-and-replay-topic-owner.html
   * @default - nothing is kept
   */
  readonly archive?: Duration;

  /**
   * The most bytes of a message, attributes included: from 262,144 (256 KiB) to 1,048,576 (1 MiB).
   *
   * Above the default, SNS allows at most 100 subscriptions, and only SQS, Lambda and Firehose as
   * subscribers. The crate `eventdb` refuses events above the default until it is told, too:
   * `EventDb::with_message_limit(1_048_576)`. Deploy first: what is stored before the topic takes it
   * goes to the failure bucket. Lowering the limit again leaves stored events that can't be
   * published. An item of DynamoDB still has at most 400 KB.
   *
   * @see https://docs.aws.amazon.com/sns/latest/dg/large-message-payloads.html
   * @default - `limits.messageBytes` in `eventdb/schema.json`: 262,144
   */
  readonly maxMessageBytes?: number;
}

/**
 * Refuses what SNS would refuse only when the stack is deployed.
 *
 * @param options what the user has said
 * @param isFifo whether the topic is a FIFO topic
 */
export function validateTopicOptions(options: TopicOptions, isFifo: boolean): void {
  const { topicName, archive } = options;
  if (topicName !== undefined && !Token.isUnresolved(topicName)) {
    const isValid = /^[A-Za-z0-9_-]{1,256}$/.test(
      isFifo ? withoutFifoSuffix(topicName) : topicName,
    );
    if (!isValid || fifoName(topicName, isFifo).length > 256) {
      throw new Error(
        `topicName is '${topicName}'; it must have up to 256 letters, digits, hyphens and underscores` +
          `${isFifo ? ', with .fifo at the end' : topicName.endsWith(FIFO_SUFFIX) ? ': .fifo at the end needs fifo: true' : ''}`,
      );
    }
  }
  if (archive !== undefined && !isFifo) {
    throw new Error('archive needs fifo: true, for SNS keeps messages of FIFO topics only');
  }
  allowInteger(
    'maxMessageBytes',
    options.maxMessageBytes,
    schema.limits.messageBytes,
    schema.limits.largestMessageBytes,
  );
}

/** The given name, with `.fifo` for a FIFO topic. */
export function givenTopicName(
  options: TopicOptions & { readonly fifo?: boolean },
): string | undefined {
  return options.topicName && fifoName(options.topicName, options.fifo === true);
}

/** The number of days for which the topic keeps messages. */
export function archiveDays({ archive }: TopicOptions): number | undefined {
  return archive === undefined ? undefined : wholeDays('archive', archive, 365);
}

/** Sets the topic's message limit, for which the CDK's construct has no property. */
export function applyMessageLimit(topic: Topic, options: TopicOptions): void {
  if (isRaised(options)) {
    // An override, because older versions of the CDK don't know the property.
    (topic.node.defaultChild as CfnTopic).addPropertyOverride(
      'MaximumMessageSize',
      options.maxMessageBytes,
    );
  }
}

/** The publisher's environment variable for the limit, if it isn't the default. */
export function messageLimitVariable(options: TopicOptions): Record<string, string> {
  return isRaised(options)
    ? { [schema.environment.messageBytes]: String(options.maxMessageBytes) }
    : {};
}

function isRaised(options: TopicOptions): boolean {
  return (
    options.maxMessageBytes !== undefined && options.maxMessageBytes !== schema.limits.messageBytes
  );
}

function fifoName(name: string, isFifo: boolean): string {
  return !isFifo || Token.isUnresolved(name) ? name : `${withoutFifoSuffix(name)}${FIFO_SUFFIX}`;
}

function withoutFifoSuffix(name: string): string {
  return name.endsWith(FIFO_SUFFIX) ? name.slice(0, -FIFO_SUFFIX.length) : name;
}
