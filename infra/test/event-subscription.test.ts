import { Duration, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import {
  EventDB,
  EventSubscription,
  EventSubscriptionAlarm,
  type EventSubscriptionProps,
} from '../lib';
import {
  actionsOf,
  only,
  props,
  type Statement,
  statementsOfRole,
  testApp,
  testStack,
} from './support';

const TOPIC_ARN = 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents';
const SUBSCRIBER = { account: '222222222222', region: 'eu-west-1' };

/** A subscription in another account than the topic's, and its template. */
function subscribe(
  own: Partial<EventSubscriptionProps> & { readonly topicArn?: string } = {},
  options: { readonly hasKey?: boolean } = {},
): { stack: Stack; template: Template; subscription: EventSubscription } {
  const stack = new Stack(testApp(), 'Subscriber', { env: SUBSCRIBER });
  const { topicArn, ...rest } = own;
  const subscription = new EventSubscription(stack, 'Loans', {
    topic: Topic.fromTopicArn(stack, 'Topic', topicArn ?? TOPIC_ARN),
    encryptionKey: options.hasKey === true ? new Key(stack, 'Key') : undefined,
    ...rest,
  });
  return { stack, template: Template.fromStack(stack), subscription };
}

/** What a queue's policy allows. */
function allowed(template: Template, queue: string): Statement[] {
  const { Statement: statements } = only(template, 'AWS::SQS::QueuePolicy', `${queue}Policy$`)
    .Properties.PolicyDocument;
  return statements.filter((statement: Statement) => statement.Effect === 'Allow');
}

describe('an EventSubscription in another account', () => {
  test('subscribes its queue to the topic, with raw delivery', () => {
    const { template } = subscribe();

    template.hasResourceProperties('AWS::SNS::Subscription', {
      TopicArn: TOPIC_ARN,
      Protocol: 'sqs',
      Endpoint: { 'Fn::GetAtt': [only(template, 'AWS::SQS::Queue', 'LoansQueue').id, 'Arn'] },
      RawMessageDelivery: true,
      FilterPolicy: Match.absent(),
      Region: Match.absent(),
    });
  });

  test('wraps events in the envelope of SNS on demand', () => {
    subscribe({ rawMessageDelivery: false }).template.hasResourceProperties(
      'AWS::SNS::Subscription',
      { RawMessageDelivery: false },
    );
  });

  test('tells SNS the region of the topic where it is another', () => {
    subscribe({
      topicArn: 'arn:aws:sns:us-east-1:111111111111:LibraryEvents',
    }).template.hasResourceProperties('AWS::SNS::Subscription', { Region: 'us-east-1' });
  });

  test.each(['Queue', 'DeadLetters'])('lets exactly that topic send to %s', (queue) => {
    const { template } = subscribe();

    expect(allowed(template, queue)).toEqual([
      expect.objectContaining({
        Principal: { Service: 'sns.amazonaws.com' },
        Action: 'sqs:SendMessage',
        Resource: { 'Fn::GetAtt': [only(template, 'AWS::SQS::Queue', `Loans${queue}`).id, 'Arn'] },
        Condition: { ArnEquals: { 'aws:SourceArn': TOPIC_ARN } },
      }),
    ]);
  });

  test('opens the queue before the first event can come', () => {
    const { template } = subscribe();

    expect(only(template, 'AWS::SNS::Subscription').DependsOn).toContain(
      only(template, 'AWS::SQS::QueuePolicy', 'QueuePolicy$').id,
    );
  });

  test('refuses what comes without TLS, at both queues', () => {
    const { template } = subscribe();

    template.resourceCountIs('AWS::SQS::QueuePolicy', 2);
    template.allResourcesProperties('AWS::SQS::QueuePolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Deny',
            Action: 'sqs:*',
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        ]),
      },
    });
  });

  test('keeps what cannot be consumed or delivered, for as long as SQS can', () => {
    const { template } = subscribe();

    const dead = {
      'Fn::GetAtt': [only(template, 'AWS::SQS::Queue', 'LoansDeadLetters').id, 'Arn'],
    };
    template.hasResourceProperties('AWS::SQS::Queue', {
      RedrivePolicy: { deadLetterTargetArn: dead, maxReceiveCount: 100 },
      VisibilityTimeout: 180,
    });
    template.hasResourceProperties('AWS::SNS::Subscription', {
      RedrivePolicy: { deadLetterTargetArn: dead },
    });
    template.allResourcesProperties('AWS::SQS::Queue', { MessageRetentionPeriod: 14 * 86_400 });
  });

  test('takes the times and the tries of the consumer', () => {
    subscribe({
      visibilityTimeout: Duration.minutes(10),
      maxReceiveCount: 2,
    }).template.hasResourceProperties('AWS::SQS::Queue', {
      VisibilityTimeout: 600,
      RedrivePolicy: Match.objectLike({ maxReceiveCount: 2 }),
    });
  });

  test.each([0, 1001, 2.5])('fails if maxReceiveCount is %d', (maxReceiveCount) => {
    expect(() => subscribe({ maxReceiveCount })).toThrow(
      `maxReceiveCount must be an integer from 1 to 1000, and is ${maxReceiveCount}`,
    );
  });
});

describe('the filter', () => {
  test('is on the message attributes that the publisher sets', () => {
    const { template } = subscribe({
      eventTypes: ['book.borrowed', 'book.returned'],
      eventSources: ['https://library.example.com'],
      subjectPrefix: 'book:',
    });

    template.hasResourceProperties('AWS::SNS::Subscription', {
      FilterPolicy: {
        [schema.messageAttributes.type]: ['book.borrowed', 'book.returned'],
        [schema.messageAttributes.source]: ['https://library.example.com'],
        [schema.messageAttributes.subject]: [{ prefix: 'book:' }],
      },
      // The attributes are the default scope; the body would be the other.
      FilterPolicyScope: Match.absent(),
    });
  });

  test('has only the conditions that are given', () => {
    subscribe({ subjectPrefix: 'book:' }).template.hasResourceProperties('AWS::SNS::Subscription', {
      FilterPolicy: { subject: [{ prefix: 'book:' }] },
    });
  });

  test.each([
    [{ eventTypes: [] }, 'eventTypes is empty, so no event would ever match'],
    [{ eventSources: [] }, 'eventSources is empty, so no event would ever match'],
    [{ subjectPrefix: '' }, 'subjectPrefix is empty'],
    [{ eventTypes: ['a.b', 'a.b'] }, "eventTypes: 'a.b' is there more than once"],
    [
      {
        eventTypes: Array.from({ length: 16 }, (_, n) => `type.${n}`),
        eventSources: Array.from({ length: 10 }, (_, n) => `source/${n}`),
      },
      '16 eventTypes and 10 eventSources make 160 combinations; SNS allows 150',
    ],
  ])('fails if it is %j', (filter, message) => {
    expect(() => subscribe(filter)).toThrow(message);
  });
});

describe('encryption of the queues', () => {
  test('is that of SQS by default', () => {
    subscribe().template.allResourcesProperties('AWS::SQS::Queue', { SqsManagedSseEnabled: true });
  });

  test('with a key lets SNS use the key, for exactly that topic', () => {
    const { template } = subscribe({}, { hasKey: true });

    template.allResourcesProperties('AWS::SQS::Queue', {
      KmsMasterKeyId: { 'Fn::GetAtt': [only(template, 'AWS::KMS::Key').id, 'Arn'] },
    });
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          {
            Sid: 'EventQueueEncryption',
            Effect: 'Allow',
            Principal: { Service: 'sns.amazonaws.com' },
            Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
            Resource: '*',
            Condition: { ArnEquals: { 'aws:SourceArn': TOPIC_ARN } },
          },
        ]),
      },
    });
  });

  test('with an imported key warns of what its policy must have', () => {
    // GIVEN
    const stack = testStack();

    // WHEN
    new EventSubscription(stack, 'Loans', {
      topic: Topic.fromTopicArn(stack, 'Topic', TOPIC_ARN),
      encryptionKey: Key.fromKeyArn(
        stack,
        'Key',
        'arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      ),
    });

    // THEN
    Annotations.fromStack(stack).hasWarning(
      '/TestStack/Loans',
      Match.stringLikeRegexp('must let sns.amazonaws.com use kms:Decrypt and kms:GenerateDataKey'),
    );
  });

  test('works with one key for topic and queue in one stack, without a circle', () => {
    // GIVEN
    const stack = testStack();
    const encryptionKey = new Key(stack, 'Key');
    const { topic } = new EventDB(stack, 'Events', props({ encryptionKey }));

    // WHEN
    new EventSubscription(stack, 'Loans', { topic, encryptionKey });

    // THEN (Template.fromStack fails on a circular dependency)
    Template.fromStack(stack).hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Sid: 'EventQueueEncryption',
            Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
          }),
        ]),
      },
    });
  });

  test('works with a separate key next to an encrypted topic', () => {
    // GIVEN
    const stack = testStack();
    const { topic } = new EventDB(stack, 'Events', props({ encryptionKey: new Key(stack, 'A') }));

    // WHEN
    new EventSubscription(stack, 'Loans', { topic, encryptionKey: new Key(stack, 'B') });

    // THEN
    const key = only(Template.fromStack(stack), 'AWS::KMS::Key', '^B$').Properties;
    expect(key.KeyPolicy.Statement.at(-1).Condition).toEqual({
      ArnEquals: { 'aws:SourceArn': stack.resolve(topic.topicArn) },
    });
  });
});

describe('an EventSubscription in the same app', () => {
  test('takes the topic of an EventDB of another stack', () => {
    // GIVEN
    const app = testApp();
    const eventDB = new EventDB(app, 'LibraryEvents', props());
    const stack = new Stack(app, 'Subscriber');

    // WHEN
    new EventSubscription(stack, 'Loans', { topic: eventDB.topic });

    // THEN
    app.synth();
    expect(stack.dependencies).toContain(Stack.of(eventDB));
    Template.fromStack(stack).resourceCountIs('AWS::SNS::Subscription', 1);
  });

  test('has FIFO queues where the topic is FIFO', () => {
    // GIVEN
    const stack = testStack();
    const { topic } = new EventDB(stack, 'Events', props({ fifo: true }));

    // WHEN
    new EventSubscription(stack, 'Loans', { topic });

    // THEN
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::SQS::Queue', 2);
    template.allResourcesProperties('AWS::SQS::Queue', {
      FifoQueue: true,
      DeduplicationScope: 'messageGroup',
      FifoThroughputLimit: 'perMessageGroupId',
    });
  });

  test('recognises a FIFO topic by its ARN', () => {
    const { template } = subscribe({ topicArn: `${TOPIC_ARN}.fifo` });

    template.allResourcesProperties('AWS::SQS::Queue', { FifoQueue: true });
  });
});

describe('grantConsume', () => {
  test('gives receiving and deleting, and decrypting where there is a key', () => {
    // GIVEN
    const stack = testStack();
    const subscription = new EventSubscription(stack, 'Loans', {
      topic: Topic.fromTopicArn(stack, 'Topic', TOPIC_ARN),
      encryptionKey: new Key(stack, 'Key'),
    });
    const role = new Role(stack, 'Service', {
      assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    });

    // WHEN
    subscription.grantConsume(role);

    // THEN
    expect(actionsOf(statementsOfRole(Template.fromStack(stack), 'Service'))).toEqual([
      'kms:Decrypt',
      'sqs:ChangeMessageVisibility',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
      'sqs:GetQueueUrl',
      'sqs:ReceiveMessage',
    ]);
  });
});

describe('the alarms', () => {
  test('watch dead letters and the age of what waits', () => {
    const { template, subscription } = subscribe();

    const alarm = (name: string) => only(template, 'AWS::CloudWatch::Alarm', `${name}$`).Properties;
    expect(alarm('DeadLetters')).toMatchObject({
      MetricName: 'ApproximateNumberOfMessagesVisible',
      Dimensions: [
        {
          Name: 'QueueName',
          Value: {
            'Fn::GetAtt': [only(template, 'AWS::SQS::Queue', 'LoansDeadLetters').id, 'QueueName'],
          },
        },
      ],
      Threshold: 1,
    });
    expect(alarm('MessageAge')).toMatchObject({
      MetricName: 'ApproximateAgeOfOldestMessage',
      Threshold: 3600,
    });
    expect([...subscription.alarms.keys()]).toEqual(Object.values(EventSubscriptionAlarm));
  });

  test('can be chosen, and be off', () => {
    subscribe({ alarms: [] }).template.resourceCountIs('AWS::CloudWatch::Alarm', 0);
    subscribe({
      alarms: [EventSubscriptionAlarm.MESSAGE_AGE],
    }).template.resourceCountIs('AWS::CloudWatch::Alarm', 1);
  });

  test('tell the topic that is given', () => {
    const stack = testStack();
    const alarmTopic = new Topic(stack, 'Operators');
    new EventSubscription(stack, 'Loans', {
      topic: Topic.fromTopicArn(stack, 'Topic', TOPIC_ARN),
      alarmTopic,
    });

    Template.fromStack(stack).allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: [stack.resolve(alarmTopic.topicArn)],
    });
  });
});

describe('allowReplay', () => {
  test('lets the account of the topic send to the queue, and to it alone', () => {
    const { template } = subscribe({ allowReplay: true });

    const replay = allowed(template, 'LoansQueue').filter(({ Sid }) => Sid === 'Replay');
    expect(replay).toHaveLength(1);
    expect(replay[0]?.Action).toEqual([
      'sqs:GetQueueAttributes',
      'sqs:GetQueueUrl',
      'sqs:SendMessage',
    ]);
    expect(JSON.stringify(replay[0]?.Principal)).toContain(':iam::111111111111:root');
    expect(allowed(template, 'LoansDeadLetters').map(({ Sid }) => Sid)).not.toContain('Replay');
    const without = allowed(subscribe().template, 'LoansQueue');
    expect(without.map(({ Sid }) => Sid)).not.toContain('Replay');
  });

  test('in the account of the topic works too', () => {
    const stack = testStack();
    const { topic } = new EventDB(stack, 'EventDB', props());
    new EventSubscription(stack, 'Loans', { topic, allowReplay: true });
    const template = Template.fromStack(stack);
    const replay = allowed(template, 'LoansQueue').find(({ Sid }) => Sid === 'Replay');
    expect(JSON.stringify(replay?.Principal)).toContain(':iam::');
  });

  test('lets it use the key of the queue, through SQS', () => {
    const { template } = subscribe({ allowReplay: true }, { hasKey: true });
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Sid: 'ReplayEncryption',
            Principal: Match.anyValue(),
            Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
            Condition: {
              StringEquals: {
                'kms:ViaService': {
                  'Fn::Join': ['', ['sqs.eu-west-1.', { Ref: 'AWS::URLSuffix' }]],
                },
              },
            },
          }),
        ]),
      },
    });
  });

  test('with an imported key warns of what its policy must have', () => {
    const stack = new Stack(testApp(), 'Subscriber', { env: SUBSCRIBER });
    new EventSubscription(stack, 'Loans', {
      topic: Topic.fromTopicArn(stack, 'Topic', TOPIC_ARN),
      encryptionKey: Key.fromKeyArn(
        stack,
        'Key',
        'arn:aws:kms:eu-west-1:222222222222:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      ),
      allowReplay: true,
    });
    Annotations.fromStack(stack).hasWarning(
      '/Subscriber/Loans',
      Match.stringLikeRegexp('111111111111.*kms:ViaService.*replayed'),
    );
  });
});
