import { Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Table } from 'aws-cdk-lib/aws-dynamodb';
import {
  AccountPrincipal,
  ArnPrincipal,
  type IGrantable,
  Role,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB, EventDBAlarm, type EventDBProps } from '../lib';
import { only, props, statementsOfRole, synthesize, testApp, testStack } from './support';

const feedOf = (template: Template) => only(template, 'AWS::DynamoDB::Table', 'Feed$');

describe('the feed', () => {
  test('is a table with the keys of the schema, and without a stream or indexes', () => {
    const { template, eventDB, stack } = synthesize();

    const feed = feedOf(template);
    expect(stack.resolve(eventDB.feed?.tableName)).toEqual({ Ref: feed.id });
    expect(feed.Properties).toMatchObject({
      KeySchema: [
        { AttributeName: schema.feed.partitionKey.name, KeyType: 'HASH' },
        { AttributeName: schema.feed.sortKey.name, KeyType: 'RANGE' },
      ],
      AttributeDefinitions: [
        { AttributeName: schema.feed.partitionKey.name, AttributeType: 'S' },
        { AttributeName: schema.feed.sortKey.name, AttributeType: 'N' },
      ],
      BillingMode: 'PAY_PER_REQUEST',
    });
    for (const property of [
      'StreamSpecification',
      'GlobalSecondaryIndexes',
      'LocalSecondaryIndexes',
      'SSESpecification',
    ]) {
      expect(feed.Properties).not.toHaveProperty(property);
    }
  });

  test('is protected like the table of events', () => {
    for (const isProdEnv of [true, false]) {
      const { template } = synthesize({ isProdEnv });
      const events = only(template, 'AWS::DynamoDB::Table', 'Table$');
      const feed = feedOf(template);
      for (const property of [
        'DeletionProtectionEnabled',
        'PointInTimeRecoverySpecification',
      ] as const) {
        expect(feed.Properties[property]).toEqual(events.Properties[property]);
      }
      expect(feed.DeletionPolicy).toBe(events.DeletionPolicy);
      expect(feed.UpdateReplacePolicy).toBe(events.UpdateReplacePolicy);
      expect(feed.DeletionPolicy).toBe(isProdEnv ? 'Retain' : 'Delete');
    }
  });

  test('is encrypted with the key, which the publisher may use through DynamoDB', () => {
    const stack = testStack();
    const encryptionKey = new Key(stack, 'Key');
    new EventDB(stack, 'Events', props({ encryptionKey }));
    const template = Template.fromStack(stack);

    expect(feedOf(template).Properties.SSESpecification).toEqual({
      KMSMasterKeyId: stack.resolve(encryptionKey.keyArn),
      SSEEnabled: true,
      SSEType: 'KMS',
    });
    const statement = statementsOfRole(template, 'PublisherRole').find(
      ({ Sid: sid }) => sid === 'UseFeedKey',
    );
    expect(statement).toMatchObject({
      Action: expect.arrayContaining(['kms:Decrypt', 'kms:Encrypt', 'kms:GenerateDataKey']),
      Condition: { StringEquals: { 'kms:ViaService': expect.anything() } },
    });
  });

  test('has the number of partitions that is given', () => {
    const variables = (own: Partial<EventDBProps>) =>
      only(synthesize(own).template, 'AWS::Lambda::Function', 'Publisher').Properties.Environment
        .Variables;

    expect(variables({ feedPartitions: 256 })).toMatchObject({
      [schema.environment.feedPartitions]: '256',
    });
    expect(variables({})).not.toHaveProperty(schema.environment.feedPartitions);
  });

  test('is left out with feed: false, and everything else stays as it is', () => {
    const on = synthesize({ isProdEnv: true });
    const off = synthesize({ isProdEnv: true, feed: false });

    expect(off.eventDB.feed).toBeUndefined();
    const [present, left] = [on, off].map(({ template }) =>
      Object.keys(template.toJSON()['Resources']),
    );
    expect(present?.filter((id) => !left?.includes(id)).sort()).toEqual(
      [
        feedOf(on.template).id,
        only(on.template, 'AWS::CloudWatch::Alarm', 'UnlistedEvents').id,
      ].sort(),
    );
    expect(left?.filter((id) => !present?.includes(id))).toEqual([]);
    const publisher = only(off.template, 'AWS::Lambda::Function', 'Publisher');
    expect(publisher.Properties.Environment.Variables).not.toHaveProperty(
      schema.environment.feedTable,
    );
    expect(
      statementsOfRole(off.template, 'PublisherRole').flatMap(({ Action: action }) => action),
    ).not.toContain('dynamodb:PutItem');
  });

  test.each<[Partial<EventDBProps>, string]>([
    [{ feedPartitions: 0 }, 'feedPartitions'],
    [{ feedPartitions: 257 }, 'feedPartitions'],
    [{ feedPartitions: 1.5 }, 'feedPartitions'],
    [{ feed: 'no' as unknown as boolean }, 'feed must be'],
    [{ feed: false, feedPartitions: 4 }, 'feedPartitions is given together with feed: false'],
  ])('fails if %j is given', (own, message) => {
    expect(() => synthesize(own)).toThrow(message);
  });

  test('has an alarm in production that says what to do', () => {
    const { template } = synthesize({ isProdEnv: true });

    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: schema.metrics.unlistedEvents,
      Namespace: schema.metrics.namespace,
      AlarmDescription: Match.stringLikeRegexp('its logs name the cause'),
      TreatMissingData: 'notBreaching',
    });
    const alarms = [EventDBAlarm.UNLISTED_EVENTS];
    expect(synthesize({ alarms, feed: false }).eventDB.alarms.size).toBe(0);
    expect(synthesize({ alarms, publish: false }).eventDB.alarms.size).toBe(0);
  });
});

describe('grantFollow', () => {
  const service = (stack: Stack) =>
    new Role(stack, 'Service', { assumedBy: new ServicePrincipal('ecs.amazonaws.com') });

  test('gives reading the feed, fetching listed events, and the key through DynamoDB', () => {
    const stack = testStack();
    const encryptionKey = new Key(stack, 'Key');
    const eventDB = new EventDB(stack, 'Events', props({ encryptionKey }));
    eventDB.grantFollow(service(stack));
    const template = Template.fromStack(stack);

    expect(statementsOfRole(template, 'Service')).toEqual([
      {
        Effect: 'Allow',
        Action: ['dynamodb:GetItem', 'dynamodb:Query'],
        Resource: { 'Fn::GetAtt': [feedOf(template).id, 'Arn'] },
      },
      {
        Effect: 'Allow',
        Action: ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable'],
        Resource: { 'Fn::GetAtt': [only(template, 'AWS::DynamoDB::Table', 'Table$').id, 'Arn'] },
      },
      {
        Effect: 'Allow',
        Action: ['kms:Decrypt', 'kms:DescribeKey'],
        Resource: stack.resolve(encryptionKey.keyArn),
        Condition: { StringEquals: { 'kms:ViaService': expect.anything() } },
      },
    ]);
  });

  test('gives the keys of both tables where an existing table has another one', () => {
    const stack = testStack();
    const keys = ['Feed', 'Existing'].map((id) => new Key(stack, `${id}Key`));
    const tableArn = 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents';
    const table = Table.fromTableAttributes(stack, 'Imported', {
      tableArn,
      tableStreamArn: `${tableArn}/stream/2026-01-01T00:00:00.000`,
      encryptionKey: keys[1],
    });
    const eventDB = new EventDB(stack, 'Events', props({ encryptionKey: keys[0], table }));
    eventDB.grantFollow(service(stack));

    const [use] = statementsOfRole(Template.fromStack(stack), 'Service').filter(
      ({ Action: action }) => action.includes('kms:Decrypt'),
    );
    expect(use?.Resource).toEqual(
      expect.arrayContaining(keys.map(({ keyArn }) => stack.resolve(keyArn))),
    );
  });

  const foreignRole = 'arn:aws:iam::222222222222:role/Reader';
  const ofOtherAccount: [string, (stack: Stack) => IGrantable, string][] = [
    ['a role', (stack) => Role.fromRoleArn(stack, 'Foreign', foreignRole), foreignRole],
    ['an ARN', () => new ArnPrincipal(foreignRole), foreignRole],
    ['an account', () => new AccountPrincipal('222222222222'), 'arn:aws:iam::222222222222:root'],
  ];
  test.each(ofOtherAccount)(
    'lets %s of another account, by the policies of the tables and of the key',
    (_, granteeIn, principal) => {
      const env = { account: '111111111111', region: 'eu-west-1' };
      const stack = new Stack(testApp(), 'Stack', { env });
      const eventDB = new EventDB(stack, 'Events', props({ encryptionKey: new Key(stack, 'Key') }));

      expect(eventDB.grantFollow(granteeIn(stack)).success).toBe(true);
      const template = Template.fromStack(stack);
      for (const [id, action] of [
        ['Feed$', ['dynamodb:GetItem', 'dynamodb:Query']],
        ['Table$', ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable']],
      ] as const) {
        const { ResourcePolicy: policy } = only(template, 'AWS::DynamoDB::Table', id).Properties;
        expect(policy.PolicyDocument.Statement).toEqual([
          { Effect: 'Allow', Principal: { AWS: principal }, Action: action, Resource: '*' },
        ]);
      }
      expect(only(template, 'AWS::KMS::Key').Properties.KeyPolicy.Statement.at(-1)).toMatchObject({
        Principal: { AWS: principal },
        Action: ['kms:Decrypt', 'kms:DescribeKey'],
      });
    },
  );

  test('fails without a feed, and says how to get one', () => {
    const { eventDB, stack } = synthesize({ feed: false });

    expect(() => eventDB.grantFollow(service(stack))).toThrow(
      'grantFollow: TestStack/Events has no feed; deploy it with feed: true',
    );
  });

  test('works for a store of another stack', () => {
    const stack = testStack();
    const attributes = {
      tableArn: 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents',
      topicArn: 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents',
      encryptionKeyArn: 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd',
    };
    const feedTableArn = 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryFeed';
    const role = service(stack);
    EventDB.fromAttributes(stack, 'Events', { ...attributes, feedTableArn }).grantFollow(role);

    expect(
      statementsOfRole(Template.fromStack(stack), 'Service').map(({ Resource: on }) => on),
    ).toEqual([feedTableArn, attributes.tableArn, attributes.encryptionKeyArn]);
    expect(() =>
      EventDB.fromAttributes(stack, 'WithoutFeed', attributes).grantFollow(role),
    ).toThrow('give feedTableArn to EventDB.fromAttributes');
    expect(() =>
      EventDB.fromAttributes(stack, 'Wrong', { ...attributes, feedTableArn: 'LibraryFeed' }),
    ).toThrow("feedTableArn must be the ARN of a DynamoDB table, and is 'LibraryFeed'");
  });
});
