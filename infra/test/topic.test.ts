import { Fn, Stack, Token } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import { EventDB, type EventDBProps, EventSubscription } from '../lib';
import { only, props, type Statement, synthesize, testApp, testStack } from './support';

/** The statements of the topic's policy that allow something. */
function allowing(template: Template): Statement[] {
  const policy = only(template, 'AWS::SNS::TopicPolicy').Properties.PolicyDocument;
  return policy.Statement.filter((statement: Statement) => statement.Effect === 'Allow');
}

const rootOf = (account: unknown) => ({
  'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, `:iam::${account}:root`]],
});

describe('the topic', () => {
  test('refuses what is published without TLS', () => {
    const { template } = synthesize();

    template.hasResourceProperties('AWS::SNS::TopicPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Deny',
            Principal: '*',
            Action: 'sns:Publish',
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        ]),
      },
    });
  });

  test('is a standard topic by default, and FIFO on demand', () => {
    synthesize().template.hasResourceProperties('AWS::SNS::Topic', { FifoTopic: Match.absent() });

    const { template, eventDB } = synthesize({ fifo: true });
    template.hasResourceProperties('AWS::SNS::Topic', {
      FifoTopic: true,
      // The publisher and the subscribers recognise a FIFO topic by the end of its name.
      TopicName: Match.stringLikeRegexp('\\.fifo$'),
      // The publisher gives the deduplication id.
      ContentBasedDeduplication: Match.absent(),
    });
    expect(eventDB.topic.fifo).toBe(true);
  });

  test('lets the subscription accounts subscribe, and nobody do anything else', () => {
    const { template } = synthesize({ subscriptionAccounts: ['111111111111', '222222222222'] });

    const topic = only(template, 'AWS::SNS::Topic').id;
    expect(allowing(template)).toEqual([
      {
        Sid: 'Subscribe',
        Effect: 'Allow',
        Principal: { AWS: [rootOf('111111111111'), rootOf('222222222222')] },
        Action: 'sns:Subscribe',
        Resource: { Ref: topic },
        Condition: { StringEquals: { 'sns:Protocol': ['sqs', 'lambda'] } },
      },
    ]);
  });

  test('lets the accounts of an organization subscribe', () => {
    const { template } = synthesize({ organizationId: 'o-a1b2c3d4e5' });

    expect(allowing(template)).toEqual([
      {
        Sid: 'SubscribeInOrganization',
        Effect: 'Allow',
        Principal: { AWS: '*' },
        Action: 'sns:Subscribe',
        Resource: { Ref: only(template, 'AWS::SNS::Topic').id },
        Condition: {
          StringEquals: { 'sns:Protocol': ['sqs', 'lambda'], 'aws:PrincipalOrgID': 'o-a1b2c3d4e5' },
        },
      },
    ]);
  });

  test('lets more be subscribed than queues and functions on demand', () => {
    const { template } = synthesize({
      subscriptionAccounts: ['111111111111'],
      subscriptionProtocols: ['sqs', 'https'],
    });

    expect(allowing(template)[0]?.Condition).toEqual({
      StringEquals: { 'sns:Protocol': ['sqs', 'https'] },
    });
  });

  test.each<[Partial<EventDBProps>, string]>([
    [{ organizationId: 'example' }, "organizationId is 'example'; give 'o-' followed by"],
    [{ organizationId: '' }, "organizationId is ''"],
    [
      { subscriptionProtocols: [] },
      'subscriptionProtocols is empty, so nothing could be subscribed',
    ],
    [
      { subscriptionProtocols: ['smtp' as never] },
      "subscriptionProtocols has 'smtp', which doesn't exist; give a list of 'sqs', 'lambda', 'firehose'",
    ],
  ])('fails if %j is given', (own, message) => {
    expect(() => synthesize(own)).toThrow(message);
  });

  test.each([false, true])('has a name where another account needs it (fifo: %s)', (fifo) => {
    // GIVEN
    const app = testApp();
    const env = (account: string) => ({ env: { account, region: 'eu-west-1' } });
    const { topic } = new EventDB(
      new Stack(app, 'Store', env('111111111111')),
      'Events',
      props({ fifo }),
    );
    const subscriber = new Stack(app, 'Subscriber', env('222222222222'));

    // WHEN
    new EventSubscription(subscriber, 'Loans', { topic });

    // THEN
    app.synth();
    const name = only(Template.fromStack(Stack.of(topic)), 'AWS::SNS::Topic').Properties.TopicName;
    expect(name).toMatch(fifo ? /^[\w-]+\.fifo$/ : /^[\w-]+$/);
    Template.fromStack(subscriber).hasResourceProperties('AWS::SNS::Subscription', {
      TopicArn: `arn:aws:sns:eu-west-1:111111111111:${name}`,
    });
  });

  test('has no name where nobody else needs it, so that it can be made anew', () => {
    synthesize().template.hasResourceProperties('AWS::SNS::Topic', { TopicName: Match.absent() });
  });

  test.each([
    ['none given', undefined],
    ['an empty list', []],
  ])('with %s it lets no account subscribe', (_, subscriptionAccounts) => {
    const { template } = synthesize(
      subscriptionAccounts === undefined ? {} : { subscriptionAccounts },
    );

    expect(allowing(template)).toEqual([]);
  });

  test('takes account ids that are known at deployment only', () => {
    // GIVEN
    const account = Token.asString(Fn.importValue('SubscriberAccount'));

    // WHEN
    const { template } = synthesize({ subscriptionAccounts: [account] });

    // THEN
    expect(allowing(template)[0]?.Principal).toEqual({
      AWS: {
        'Fn::Join': [
          '',
          [
            'arn:',
            { Ref: 'AWS::Partition' },
            ':iam::',
            { 'Fn::ImportValue': 'SubscriberAccount' },
            ':root',
          ],
        ],
      },
    });
  });

  test.each(['12345678901', '1234567890123', '12345678901a', '', ' 123456789012', '*'])(
    "fails if '%s' is given as an account id",
    (account) => {
      expect(() => synthesize({ subscriptionAccounts: ['123456789012', account] })).toThrow(
        `subscriptionAccounts: '${account}' is not an AWS account id, which is a text of exactly 12 digits`,
      );
    },
  );

  test('fails if an account is given twice', () => {
    expect(() =>
      synthesize({ subscriptionAccounts: ['111111111111', '222222222222', '111111111111'] }),
    ).toThrow("subscriptionAccounts: '111111111111' is there more than once");
  });

  test('fails if the list itself is known at deployment only', () => {
    const stack = testStack();
    const accounts = Token.asList(Fn.importValue('SubscriberAccounts'));

    expect(() => new EventDB(stack, 'Events', props({ subscriptionAccounts: accounts }))).toThrow(
      'subscriptionAccounts must be a list whose length is known at synthesis',
    );
  });
});
