import { Duration, type Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import { EventDB, EventDBAlarm, OptionalIndex, TableLayout } from '../lib';
import { only, props, statementsOfRole, synthesize, testStack } from './support';

const service = (stack: Stack, id = 'Service') =>
  new Role(stack, id, { assumedBy: new ServicePrincipal('ecs.amazonaws.com') });

const hourly = { verification: Duration.hours(1) };

describe('verification', () => {
  test('is off unless it is asked for', () => {
    const { template, eventDB } = synthesize({ isProdEnv: true });

    template.resourceCountIs('AWS::Events::Rule', 0);
    expect(eventDB.verifier).toBeUndefined();
    expect(eventDB.alarms.has(EventDBAlarm.UNPUBLISHED_EVENTS)).toBe(false);
    expect(() => eventDB.metricUnpublishedEvents()).toThrow('without verification');
  });

  test('runs the program of the publisher with the names of both tables', () => {
    const { template } = synthesize(hourly);

    const { Properties: function_ } = only(template, 'AWS::Lambda::Function', 'VerifierFunction');
    expect(function_).toMatchObject({ Timeout: 900, MemorySize: 512, Handler: 'bootstrap' });
    expect(function_.Environment.Variables).toEqual({
      EVENT_TABLE: { Ref: only(template, 'AWS::DynamoDB::Table', 'Table$').id },
      TABLE_LAYOUT: 'byTime',
      FEED_TABLE: { Ref: only(template, 'AWS::DynamoDB::Table', 'Feed$').id },
      VERIFICATION_WINDOW: '7200',
    });
    template.hasResourceProperties('AWS::Events::Rule', {
      ScheduleExpression: 'rate(1 hour)',
      Targets: [Match.objectLike({ RetryPolicy: { MaximumRetryAttempts: 0 } })],
    });
  });

  test('compares no window where the table has no index for it', () => {
    const { template } = synthesize({
      ...hourly,
      tableLayout: TableLayout.BY_REVISION,
      omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME],
    });

    const { Properties: function_ } = only(template, 'AWS::Lambda::Function', 'VerifierFunction');
    expect(function_.Environment.Variables).toMatchObject({ TABLE_LAYOUT: 'byRevision' });
    expect(function_.Environment.Variables).not.toHaveProperty('VERIFICATION_WINDOW');
  });

  test('reads both tables, and writes only what it remembers', () => {
    const stack = testStack();
    new EventDB(stack, 'Events', props({ ...hourly, encryptionKey: new Key(stack, 'Key') }));
    const statements = statementsOfRole(Template.fromStack(stack), 'VerifierRole');

    expect(statements.map(({ Action: action }) => action)).toEqual([
      [
        'dynamodb:BatchGetItem',
        'dynamodb:DescribeTable',
        'dynamodb:GetItem',
        'dynamodb:Query',
        'dynamodb:Scan',
      ],
      'dynamodb:Query',
      ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
      ['kms:Decrypt', 'kms:DescribeKey'],
      'dynamodb:PutItem',
      ['logs:CreateLogStream', 'logs:PutLogEvents'],
    ]);
    expect(statements[4]?.Condition).toEqual({
      'ForAllValues:StringEquals': { 'dynamodb:LeadingKeys': ['$verification'] },
      Null: { 'dynamodb:LeadingKeys': 'false' },
    });
  });

  test('has alarms in production', () => {
    const { template, eventDB } = synthesize({ ...hourly, isProdEnv: true });

    expect(eventDB.alarms.has(EventDBAlarm.VERIFICATION_ERRORS)).toBe(true);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'UnpublishedEvents',
      Namespace: 'EventDB',
      Statistic: 'Maximum',
      Threshold: 1,
    });
  });

  test.each([
    [{ verification: Duration.minutes(10) }, 'from 15 minutes to one day'],
    [{ verification: Duration.days(2) }, 'from 15 minutes to one day'],
    [{ verification: Duration.seconds(1_000) }, 'in whole minutes'],
    [{ verification: 60 as unknown as Duration }, 'must be a Duration'],
    [{ verification: null as unknown as Duration }, 'must be a Duration'],
    [{ ...hourly, feed: false }, 'but feed is false'],
  ])('refuses %j', (wrong, message) => {
    expect(() => synthesize(wrong)).toThrow(message);
  });
});

describe('grantVerify and grantRepublish', () => {
  test('let an operator read, and write only into the feed', () => {
    const stack = testStack();
    const eventDB = new EventDB(stack, 'Events', props());
    eventDB.grantVerify(service(stack, 'Verifying'));
    eventDB.grantRepublish(service(stack, 'Republishing'));
    const template = Template.fromStack(stack);
    const actions = (role: string) =>
      statementsOfRole(template, role).flatMap(({ Action: action }) => action);

    expect(actions('Verifying')).toEqual([
      'dynamodb:BatchGetItem',
      'dynamodb:DescribeTable',
      'dynamodb:GetItem',
      'dynamodb:Query',
      'dynamodb:Scan',
      'dynamodb:Query',
      'dynamodb:DescribeTable',
      'dynamodb:GetItem',
      'dynamodb:Query',
    ]);
    // The library puts the actions on one resource together.
    expect(new Set(actions('Republishing'))).toEqual(
      new Set([...actions('Verifying'), 'dynamodb:PutItem', 'lambda:InvokeFunction']),
    );
  });

  test('fail without a feed', () => {
    const { eventDB, stack } = synthesize({ feed: false });

    expect(() => eventDB.grantVerify(service(stack))).toThrow(
      'grantVerify: TestStack/Events has no feed',
    );
    expect(() => eventDB.grantRepublish(service(stack, 'Other'))).toThrow(
      'has no feed to compare with',
    );
  });
});
