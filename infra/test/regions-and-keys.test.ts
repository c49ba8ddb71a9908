import { Fn, Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Alias, Key } from 'aws-cdk-lib/aws-kms';
import { type ITopic, Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import { EventDB, EventSubscription, type EventSubscriptionProps } from '../lib';
import { only, props, type Statement, testApp, testStack } from './support';

/** A subscription in the region to a topic of another one, and its template. */
function subscribe(
  region: string | undefined,
  topicArn: string,
  own: Partial<EventSubscriptionProps> = {},
) {
  const stack = new Stack(
    testApp(),
    'Subscriber',
    region === undefined ? {} : { env: { account: '222222222222', region } },
  );
  new EventSubscription(stack, 'Loans', {
    topic: Topic.fromTopicArn(stack, 'Topic', topicArn),
    encryptionKey: new Key(stack, 'Key'),
    ...own,
  });
  return { stack, template: Template.fromStack(stack) };
}

/** Which services may send to the queues and use their key. */
function services(template: Template): unknown[] {
  const documents = [
    ...Object.values(template.findResources('AWS::SQS::QueuePolicy')).map(
      ({ Properties: properties }) => properties.PolicyDocument,
    ),
    only(template, 'AWS::KMS::Key').Properties.KeyPolicy,
  ];
  return documents.map((document) =>
    document.Statement.filter(({ Sid: sid }: Statement) =>
      /Events$|Encryption$/.test(sid ?? ''),
    ).flatMap(({ Principal: principal }: { Principal: { Service: unknown } }) => principal.Service),
  );
}

const arn = (region: string) => `arn:aws:sns:${region}:111111111111:LibraryEvents`;

describe('across regions', () => {
  test.each<[string | undefined, string, string[]]>([
    ['eu-west-1', 'eu-west-1', ['sns.amazonaws.com']],
    ['eu-west-1', 'us-east-1', ['sns.amazonaws.com']],
    ['ap-east-1', 'ap-east-1', ['sns.amazonaws.com']],
    ['us-east-1', 'ap-east-1', ['sns.ap-east-1.amazonaws.com']],
    ['ap-east-1', 'us-east-1', ['sns.ap-east-1.amazonaws.com']],
    // Where the queue's region is known at deployment only, the topic's own is possible, too.
    [undefined, 'ap-east-1', ['sns.amazonaws.com', 'sns.ap-east-1.amazonaws.com']],
    [undefined, 'eu-west-1', ['sns.amazonaws.com']],
  ])(
    'a queue in %s takes what a topic in %s sends as %j, and so does its key',
    (queue, topic, expected) => {
      expect(services(subscribe(queue, arn(topic)).template)).toEqual([
        expected,
        expected,
        expected,
      ]);
    },
  );

  test('fails between two regions that have to be opted into', () => {
    expect(() => subscribe('af-south-1', arn('ap-east-1'))).toThrow(
      'The topic is in ap-east-1 and the queue in af-south-1: between two regions that have to be opted into, SNS does not deliver.',
    );
  });

  test('topicRegion says what an ARN of deployment time does not', () => {
    const { template } = subscribe('eu-west-1', Fn.importValue('TopicArn'), {
      topicRegion: 'ap-east-1',
    });

    expect(services(template)[0]).toEqual(['sns.ap-east-1.amazonaws.com']);
    template.hasResourceProperties('AWS::SNS::Subscription', { Region: 'ap-east-1' });
  });

  test('fails if topicRegion is not that of the topic', () => {
    expect(() => subscribe('eu-west-1', arn('eu-west-1'), { topicRegion: 'us-east-1' })).toThrow(
      "topicRegion is 'us-east-1', but the topic is in eu-west-1",
    );
  });

  test('what can not be delivered is kept, and lets no other topic in', () => {
    const { template } = subscribe('us-east-1', arn('ap-east-1'));
    const queue = { 'Fn::GetAtt': [only(template, 'AWS::SQS::Queue', 'DeadLetters').id, 'Arn'] };

    template.hasResourceProperties('AWS::SNS::Subscription', {
      RedrivePolicy: { deadLetterTargetArn: queue },
    });
    template.allResourcesProperties('AWS::SQS::QueuePolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Allow',
            Condition: { ArnEquals: { 'aws:SourceArn': arn('ap-east-1') } },
          }),
        ]),
      },
    });
    expect(only(template, 'AWS::SNS::Subscription').DependsOn).toHaveLength(2);
  });
});

describe('a topic whose ARN is known at deployment only', () => {
  test('is FIFO where it is said to be', () => {
    const { template } = subscribe('eu-west-1', Fn.importValue('TopicArn'), { fifo: true });

    template.allResourcesProperties('AWS::SQS::Queue', { FifoQueue: true });
  });

  test('is not, where nothing is said', () => {
    const { template } = subscribe('eu-west-1', Fn.importValue('TopicArn'));

    template.allResourcesProperties('AWS::SQS::Queue', { FifoQueue: Match.absent() });
  });

  test.each<[boolean, string, string]>([
    [
      true,
      arn('eu-west-1'),
      'fifo is true, but the topic is none: the ARN of a FIFO topic ends in .fifo',
    ],
    [false, `${arn('eu-west-1')}.fifo`, 'fifo is false, but the topic is a FIFO topic'],
  ])('fails if fifo is %s and the ARN says otherwise', (fifo, topicArn, message) => {
    expect(() => subscribe('eu-west-1', topicArn, { fifo })).toThrow(message);
  });
});

describe('an alias as the key', () => {
  test('of the app stands for its key, in every policy', () => {
    // GIVEN
    const stack = testStack();
    const key = new Key(stack, 'Key');
    const alias = new Alias(stack, 'Alias', { aliasName: 'alias/events', targetKey: key });

    // WHEN
    const eventDB = new EventDB(stack, 'Events', props({ encryptionKey: alias }));
    new EventSubscription(stack, 'Loans', { topic: eventDB.topic, encryptionKey: alias });

    // THEN
    expect(eventDB.encryptionKey).toBe(key);
    const template = Template.fromStack(stack);
    const named = stack.resolve(key.keyArn);
    template.hasResourceProperties('AWS::SNS::Topic', { KmsMasterKeyId: named });
    template.allResourcesProperties('AWS::SQS::Queue', { KmsMasterKeyId: named });
    for (const type of ['AWS::IAM::Role', 'AWS::IAM::Policy', 'AWS::SNS::Topic']) {
      expect(JSON.stringify(template.findResources(type))).not.toContain('alias');
    }
  });

  test.each<[string, (stack: Stack) => unknown, string]>([
    [
      'an imported alias',
      (stack) => Alias.fromAliasName(stack, 'Alias', 'alias/events'),
      "encryptionKey is the imported alias 'alias/events', and a policy can't name an alias; give the key behind it: Key.fromKeyArn(",
    ],
    [
      'a key of another region',
      (stack) =>
        Key.fromKeyArn(
          stack,
          'Key',
          'arn:aws:kms:us-east-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
        ),
      'encryptionKey is a key in us-east-1, but what it is to encrypt is in eu-west-1',
    ],
    [
      'an ARN',
      () => 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      'encryptionKey must be a KMS key, and is',
    ],
    ['null', () => null, 'encryptionKey must be a KMS key, and is null'],
  ])('fails with what to give instead if it is %s', (_, keyOf, message) => {
    const stack = new Stack(testApp(), 'Stack', {
      env: { account: '111111111111', region: 'eu-west-1' },
    });
    const encryptionKey = keyOf(stack) as never;
    const topic: ITopic = Topic.fromTopicArn(stack, 'Topic', arn('eu-west-1'));

    expect(() => new EventDB(stack, 'Events', props({ encryptionKey }))).toThrow(message);
    expect(() => new EventSubscription(stack, 'Loans', { topic, encryptionKey })).toThrow(message);
  });
});

describe('keys of one shared stack', () => {
  test('for the topic and the queues make no circle of stacks', () => {
    // GIVEN
    const app = testApp();
    const keys = new Stack(app, 'Keys');
    const eventDB = new EventDB(app, 'Events', props({ encryptionKey: new Key(keys, 'TopicKey') }));

    // WHEN
    new EventSubscription(new Stack(app, 'Subscriber'), 'Loans', {
      topic: eventDB.topic,
      encryptionKey: new Key(keys, 'QueueKey'),
    });

    // THEN (a circle would throw here)
    app.synth();
    const key = only(Template.fromStack(keys), 'AWS::KMS::Key', 'QueueKey').Properties;
    const account = { Ref: 'AWS::AccountId' };
    expect(key.KeyPolicy.Statement.at(-1).Condition).toEqual({
      StringEquals: { 'aws:SourceAccount': account },
      ArnLike: {
        'aws:SourceArn': {
          'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':sns:*:', account, ':*']],
        },
      },
    });
  });
});

describe('the topic that alarms tell', () => {
  const cloudWatch = (topic: string) => ({
    Effect: 'Allow',
    Principal: { Service: 'cloudwatch.amazonaws.com' },
    Action: 'sns:Publish',
    Resource: { Ref: topic },
    Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
  });

  test('lets the alarms of this account in, once, also with enforceSSL', () => {
    // GIVEN
    const stack = testStack();
    const masterKey = new Key(stack, 'Key');
    const alarmTopic = new Topic(stack, 'Operators', { enforceSSL: true, masterKey });

    // WHEN
    const { topic } = new EventDB(stack, 'Events', props({ isProdEnv: true, alarmTopic }));
    new EventSubscription(stack, 'Loans', { topic, alarmTopic });

    // THEN
    const template = Template.fromStack(stack);
    const policy = only(template, 'AWS::SNS::TopicPolicy', 'OperatorsPolicy').Properties;
    expect(
      policy.PolicyDocument.Statement.filter(({ Effect: effect }: Statement) => effect === 'Allow'),
    ).toEqual([
      expect.objectContaining(cloudWatch(only(template, 'AWS::SNS::Topic', 'Operators').id)),
    ]);
    const key = only(template, 'AWS::KMS::Key').Properties.KeyPolicy.Statement;
    expect(
      key.filter((s: { Principal: { Service?: string } }) =>
        s.Principal.Service?.startsWith('cloudw'),
      ),
    ).toHaveLength(1);
    Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
  });

  test('is warned about where it is imported', () => {
    const stack = testStack();
    const alarmTopic = Topic.fromTopicArn(stack, 'Operators', arn('eu-west-1'));

    new EventDB(stack, 'Events', props({ isProdEnv: true, alarmTopic }));

    Annotations.fromStack(stack).hasWarning(
      '/TestStack/Events',
      Match.stringLikeRegexp(
        'alarmTopic or its key is imported.*must allow sns:Publish.*cloudwatch',
      ),
    );
  });

  test('is left alone where there are no alarms', () => {
    const stack = testStack();
    const alarmTopic = new Topic(stack, 'Operators');

    new EventDB(stack, 'Events', props({ alarms: [], alarmTopic }));

    expect(
      Object.keys(Template.fromStack(stack).findResources('AWS::SNS::TopicPolicy')),
    ).not.toContainEqual(expect.stringContaining('Operators'));
  });
});
