import { Duration, Stack, Stage } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { TableClass } from 'aws-cdk-lib/aws-dynamodb';
import { SecurityGroup, SubnetType, Vpc } from 'aws-cdk-lib/aws-ec2';
import { LoggingFormat } from 'aws-cdk-lib/aws-lambda';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB, EventDBAlarm, type EventDBProps } from '../lib';
import {
  actionsOf,
  only,
  props,
  statementsOfRole,
  synthesize,
  testApp,
  testStack,
} from './support';

function publisherOf(own: Partial<EventDBProps>) {
  return only(synthesize(own).template, 'AWS::Lambda::Function', 'Publisher').Properties;
}

describe('the publisher', () => {
  test('has memory, time and concurrency as given, and defaults otherwise', () => {
    expect(publisherOf({})).toMatchObject({ MemorySize: 256, Timeout: 60 });
    expect(publisherOf({}).ReservedConcurrentExecutions).toBeUndefined();
    expect(
      publisherOf({
        memorySize: 1024,
        timeout: Duration.minutes(5),
        reservedConcurrentExecutions: 4,
      }),
    ).toMatchObject({ MemorySize: 1024, Timeout: 300, ReservedConcurrentExecutions: 4 });
  });

  test('gets batches as given, and defaults otherwise', () => {
    synthesize().template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      BatchSize: 100,
      MaximumBatchingWindowInSeconds: Match.absent(),
    });
    synthesize({
      batchSize: 1000,
      maxBatchingWindow: Duration.seconds(5),
    }).template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      BatchSize: 1000,
      MaximumBatchingWindowInSeconds: 5,
    });
  });

  test.each<[Partial<EventDBProps>, string]>([
    [{ memorySize: 127 }, 'memorySize must be an integer from 128 to 10240, and is 127'],
    [{ memorySize: 10_241 }, 'memorySize must be an integer from 128 to 10240, and is 10241'],
    [
      { timeout: Duration.seconds(9) },
      'timeout must be from 10 seconds to 15 minutes, and is 9 seconds',
    ],
    [
      { timeout: Duration.seconds(901) },
      'timeout must be from 10 seconds to 15 minutes, and is 15 minutes 1 second',
    ],
    [{ reservedConcurrentExecutions: 0 }, 'reservedConcurrentExecutions is 0'],
    [{ reservedConcurrentExecutions: -1 }, 'reservedConcurrentExecutions must be an integer'],
    [{ batchSize: 0 }, 'batchSize must be an integer from 1 to 10000, and is 0'],
    [{ batchSize: 10_001 }, 'batchSize must be an integer from 1 to 10000, and is 10001'],
    [{ maxBatchingWindow: Duration.minutes(6) }, 'maxBatchingWindow must be from 0 seconds to 5'],
    [{ vpcSubnets: { subnetType: SubnetType.PUBLIC } }, 'vpcSubnets needs vpc'],
    [{ securityGroups: [] }, 'securityGroups needs vpc'],
  ])('fails with %o', (own, message) => {
    expect(() => synthesize(own)).toThrow(message);
  });

  test('runs in a VPC, and may do there what Lambda needs', () => {
    // GIVEN
    const stack = testStack();
    const vpc = new Vpc(stack, 'Vpc', { restrictDefaultSecurityGroup: false });
    const group = new SecurityGroup(stack, 'Group', { vpc });

    // WHEN
    new EventDB(
      stack,
      'Events',
      props({
        vpc,
        securityGroups: [group],
        vpcSubnets: { subnetType: SubnetType.PRIVATE_WITH_EGRESS },
      }),
    );

    // THEN
    const template = Template.fromStack(stack);
    const { VpcConfig: config } = only(template, 'AWS::Lambda::Function', 'Publisher').Properties;
    expect(config.SecurityGroupIds).toEqual([stack.resolve(group.securityGroupId)]);
    expect(config.SubnetIds).toEqual(
      vpc.privateSubnets.map(({ subnetId }) => stack.resolve(subnetId)),
    );
    expect(actionsOf(statementsOfRole(template, 'PublisherRole'))).toEqual(
      expect.arrayContaining([
        'ec2:CreateNetworkInterface',
        'ec2:DeleteNetworkInterface',
        'ec2:DescribeNetworkInterfaces',
      ]),
    );
  });

  test('outside a VPC may do nothing with network interfaces', () => {
    const actions = actionsOf(statementsOfRole(synthesize().template, 'PublisherRole'));

    expect(actions.filter((action) => action.startsWith('ec2:'))).toEqual([]);
  });

  test.each([
    [undefined, 'INFO'],
    // Less than INFO would drop the lines with the metrics, which have no level.
    ['ERROR', 'INFO'],
    ['DEBUG', 'DEBUG'],
    ['TRACE', 'TRACE'],
  ] as const)(
    'has its JSON logs from Lambda without START and END; logLevel %s lets %s through',
    (logLevel, level) => {
      const publisher = publisherOf({ logLevel, logFormat: LoggingFormat.JSON });

      expect(publisher.LoggingConfig).toMatchObject({
        LogFormat: 'JSON',
        SystemLogLevel: 'WARN',
        ApplicationLogLevel: level,
      });
      expect(publisher.Environment.Variables.LOG_LEVEL).toBe(logLevel);
    },
  );

  test('leaves the format of Lambda alone otherwise', () => {
    expect(Object.keys(publisherOf({ logLevel: 'DEBUG' }).LoggingConfig)).toEqual(['LogGroup']);
  });
});

describe('the table', () => {
  test('has the class and the most units that are given, its global indexes too', () => {
    const { template } = synthesize({
      tableClass: TableClass.STANDARD_INFREQUENT_ACCESS,
      maxReadRequestUnits: 100,
      maxWriteRequestUnits: 200,
    });

    const most = { MaxReadRequestUnits: 100, MaxWriteRequestUnits: 200 };
    const table = only(template, 'AWS::DynamoDB::Table', 'Table$').Properties;
    expect(table).toMatchObject({
      TableClass: 'STANDARD_INFREQUENT_ACCESS',
      OnDemandThroughput: most,
    });
    expect(
      table.GlobalSecondaryIndexes.map(
        ({ OnDemandThroughput }: { OnDemandThroughput: unknown }) => OnDemandThroughput,
      ),
    ).toEqual(schema.tables.byTime.globalSecondaryIndexes.map(() => most));
  });

  test.each<[Partial<EventDBProps>, string]>([
    [{ maxReadRequestUnits: 0 }, 'maxReadRequestUnits must be an integer from 1'],
    [{ maxWriteRequestUnits: 1.5 }, 'maxWriteRequestUnits must be an integer from 1'],
  ])('fails with %o', (own, message) => {
    expect(() => synthesize(own)).toThrow(message);
  });
});

describe('the topic', () => {
  test.each([
    ['Library-Events_1', false, 'Library-Events_1'],
    ['LibraryEvents', true, 'LibraryEvents.fifo'],
    ['LibraryEvents.fifo', true, 'LibraryEvents.fifo'],
  ])('called %s with fifo: %s has the name %s', (topicName, fifo, name) => {
    synthesize({ topicName, fifo }).template.hasResourceProperties('AWS::SNS::Topic', {
      TopicName: name,
    });
  });

  test.each([
    ['', false],
    ['Library Events', false],
    ['LibraryEvents.fifo', false],
    ['.fifo', true],
    ['é'.repeat(3), false],
    ['x'.repeat(257), false],
    ['x'.repeat(252), true],
  ])("can't be called '%s' with fifo: %s", (topicName, fifo) => {
    expect(() => synthesize({ topicName, fifo })).toThrow(`topicName is '${topicName}'`);
  });

  test('keeps messages for as long as it is told, if it is a FIFO topic', () => {
    synthesize({ fifo: true, archive: Duration.days(30) }).template.hasResourceProperties(
      'AWS::SNS::Topic',
      { ArchivePolicy: { MessageRetentionPeriod: 30 } },
    );
    expect(() => synthesize({ archive: Duration.days(30) })).toThrow('archive needs fifo: true');
  });

  test.each([Duration.hours(36), Duration.days(366), Duration.days(0)])(
    "can't keep messages for %s",
    (archive) => {
      expect(() => synthesize({ fifo: true, archive })).toThrow(
        'archive must be a whole number of days from 1 to 365',
      );
    },
  );

  test('takes messages of the default size, unless topic and publisher are told otherwise', () => {
    const usual = synthesize({ maxMessageBytes: schema.limits.messageBytes }).template;
    usual.hasResourceProperties('AWS::SNS::Topic', { MaximumMessageSize: Match.absent() });
    expect(
      only(usual, 'AWS::Lambda::Function', 'Publisher').Properties.Environment.Variables,
    ).not.toHaveProperty(schema.environment.messageBytes);

    const large = synthesize({ maxMessageBytes: 1_048_576 }).template;
    large.hasResourceProperties('AWS::SNS::Topic', { MaximumMessageSize: 1_048_576 });
    expect(
      only(large, 'AWS::Lambda::Function', 'Publisher').Properties.Environment.Variables,
    ).toMatchObject({ [schema.environment.messageBytes]: '1048576' });
  });

  test.each([262_143, 1_048_577, 300_000.5])('takes no limit of %d bytes', (maxMessageBytes) => {
    expect(() => synthesize({ maxMessageBytes })).toThrow(
      'maxMessageBytes must be an integer from 262144 to 1048576',
    );
  });
});

describe('publish: false', () => {
  const all = Object.values(EventDBAlarm);

  test('makes a table without a stream, which nothing reads', () => {
    const { template, eventDB } = synthesize({ publish: false });

    for (const { Properties: properties } of Object.values(
      template.findResources('AWS::DynamoDB::Table'),
    )) {
      expect(properties).not.toHaveProperty('StreamSpecification');
    }
    template.resourceCountIs('AWS::Lambda::EventSourceMapping', 0);
    expect(eventDB.eventSourceMapping).toBeUndefined();
    expect(
      actionsOf(statementsOfRole(template, 'PublisherRole')).filter((action) =>
        action.startsWith('dynamodb:'),
      ),
    ).toEqual(['dynamodb:PutItem', 'dynamodb:Query']);
    expect(
      actionsOf(
        statementsOfRole(synthesize({ publish: false, feed: false }).template, 'PublisherRole'),
      ).filter((action) => action.startsWith('dynamodb:')),
    ).toEqual([]);
  });

  test('leaves out the alarms that would be silent or wrong, and no other', () => {
    const { eventDB } = synthesize({ publish: false, alarms: all });

    expect([...eventDB.alarms.keys()].sort()).toEqual(
      [
        EventDBAlarm.FUNCTION_ERRORS,
        EventDBAlarm.FUNCTION_THROTTLES,
        EventDBAlarm.FAILURE_BUCKET_NOT_EMPTY,
        EventDBAlarm.FAILED_NOTIFICATIONS,
        EventDBAlarm.SYSTEM_ERRORS,
        EventDBAlarm.THROTTLED_WRITES,
      ].sort(),
    );
    const verified = { publish: true, alarms: all, verification: Duration.hours(1) };
    expect([...synthesize(verified).eventDB.alarms.keys()]).toEqual(all);
  });

  test('is said at each synthesis, and works with a dashboard and in production', () => {
    const { stack } = synthesize({ publish: false, isProdEnv: true });

    expect(
      stack.node
        .findAll()
        .flatMap(({ node }) => node.metadata)
        .filter(({ type }) => type === 'aws:cdk:warning')
        .map(({ data }) => data),
    ).toEqual([expect.stringContaining('publish is false: events are stored and not published')]);
  });

  test('switched on, changes nothing but the stream and what reads it', () => {
    const off = synthesize({ publish: false, isProdEnv: true }).template.toJSON()['Resources'];
    const on = synthesize({ publish: true, isProdEnv: true }).template.toJSON()['Resources'];

    expect(Object.keys(off).filter((id) => !(id in on))).toEqual([]);
    const { StreamSpecification: stream, ...table } = only(
      synthesize({ isProdEnv: true }).template,
      'AWS::DynamoDB::Table',
      'Table$',
    ).Properties;
    expect(stream).toEqual({ StreamViewType: 'NEW_IMAGE' });
    expect(
      only(
        synthesize({ publish: false, isProdEnv: true }).template,
        'AWS::DynamoDB::Table',
        'Table$',
      ).Properties,
    ).toEqual(table);
  });

  test('has no metric of the mapping', () => {
    const { eventDB } = synthesize({ publish: false });

    expect(() => eventDB.metricDroppedRecords()).toThrow(
      'There is no metric DroppedEventCount: with publish: false nothing reads the',
    );
  });
});

describe('the stack that the construct makes', () => {
  const stackProps = {
    env: { account: '111111111111', region: 'eu-central-1' },
    tags: { team: 'library' },
    stackName: 'library-events',
    description: 'Events of the library',
  };

  test.each([
    ['an app', () => testApp()],
    ['a stage', () => new Stage(testApp(), 'Stage')],
  ])('directly under %s has the properties that are given', (_, scope) => {
    const eventDB = new EventDB(scope(), 'LibraryEvents', props({ isProdEnv: true, stackProps }));

    const stack = Stack.of(eventDB);
    expect(stack).toMatchObject({
      account: '111111111111',
      region: 'eu-central-1',
      terminationProtection: true,
    });
    expect(stack.stackName).toContain('library-events');
    expect(stack.tags.tagValues()).toEqual({ team: 'library' });
    expect(stack.templateOptions.description).toBe('Events of the library');
  });

  test('may do without termination protection', () => {
    const eventDB = new EventDB(
      testApp(),
      'LibraryEvents',
      props({ isProdEnv: true, stackProps: { terminationProtection: false } }),
    );

    expect(Stack.of(eventDB).terminationProtection).toBe(false);
  });

  test('inside a stack is refused', () => {
    expect(() => synthesize({ stackProps })).toThrow(
      "stackProps is given, but 'Events' is inside the stack TestStack",
    );
  });
});

describe('the alarms', () => {
  test('tell of notifications that SNS gave up on', () => {
    const { template } = synthesize({ alarms: [EventDBAlarm.FAILED_NOTIFICATIONS] });

    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      Namespace: 'AWS/SNS',
      MetricName: 'NumberOfNotificationsFailed',
      Dimensions: [
        {
          Name: 'TopicName',
          Value: { 'Fn::GetAtt': [only(template, 'AWS::SNS::Topic').id, 'TopicName'] },
        },
      ],
      Statistic: 'Sum',
      Threshold: 1,
      EvaluationPeriods: 1,
      TreatMissingData: 'notBreaching',
    });
  });

  test('remind of a failure bucket that is not empty', () => {
    const { template } = synthesize({ alarms: [EventDBAlarm.FAILURE_BUCKET_NOT_EMPTY] });

    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      Namespace: 'AWS/S3',
      MetricName: 'NumberOfObjects',
      Dimensions: [
        { Name: 'BucketName', Value: { Ref: only(template, 'AWS::S3::Bucket').id } },
        { Name: 'StorageType', Value: 'AllStorageTypes' },
      ],
      Period: 86_400,
      Threshold: 1,
      EvaluationPeriods: 2,
      DatapointsToAlarm: 1,
      TreatMissingData: 'notBreaching',
    });
  });
});
