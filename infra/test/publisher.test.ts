import { Duration } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB } from '../lib';
import { passes } from './stream-filter';
import { only, props, type Statement, statementsOfRole, synthesize, testStack } from './support';

describe("the publisher's function", () => {
  test('gets exactly the environment variables that the handler reads', () => {
    const { template } = synthesize({ logLevel: 'DEBUG' });

    const publisher = only(template, 'AWS::Lambda::Function', 'Publisher');
    expect(publisher.Properties.Environment.Variables).toEqual({
      [schema.environment.eventTopicArn]: { Ref: only(template, 'AWS::SNS::Topic').id },
      [schema.environment.feedTable]: { Ref: only(template, 'AWS::DynamoDB::Table', 'Feed$').id },
      [schema.environment.logLevel]: 'DEBUG',
    });
  });

  test('leaves the log level to the handler where none is given', () => {
    const { template } = synthesize();

    const publisher = only(template, 'AWS::Lambda::Function', 'Publisher');
    expect(Object.keys(publisher.Properties.Environment.Variables)).toEqual([
      schema.environment.eventTopicArn,
      schema.environment.feedTable,
    ]);
  });

  test('runs a native binary, on arm64 by default', () => {
    const { template } = synthesize();

    const publisher = only(template, 'AWS::Lambda::Function', 'Publisher');
    expect(publisher.Properties).toMatchObject({
      Runtime: 'provided.al2023',
      Handler: 'bootstrap',
      Architectures: ['arm64'],
    });
  });

  test('runs on x86_64 on demand', () => {
    const { template } = synthesize({ architecture: Architecture.X86_64 });

    const publisher = only(template, 'AWS::Lambda::Function', 'Publisher');
    expect(publisher.Properties.Architectures).toEqual(['x86_64']);
  });

  test('writes to the log group with the retention', () => {
    const { template } = synthesize();

    const publisher = only(template, 'AWS::Lambda::Function', 'Publisher');
    expect(publisher.Properties.LoggingConfig.LogGroup).toEqual({
      Ref: only(template, 'AWS::Logs::LogGroup').id,
    });
  });
});

describe('the event source mapping', () => {
  test('reads the stream from its beginning, with all that keeps an event from being lost', () => {
    const { template } = synthesize();

    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: {
        'Fn::GetAtt': [only(template, 'AWS::DynamoDB::Table', 'Table$').id, 'StreamArn'],
      },
      FunctionName: { Ref: only(template, 'AWS::Lambda::Function', 'Publisher').id },
      StartingPosition: 'TRIM_HORIZON',
      // Without this the handler's answer is ignored, and what failed counts as published.
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      BisectBatchOnFunctionError: true,
      ParallelizationFactor: 1,
      MetricsConfig: { Metrics: ['EventCount'] },
      DestinationConfig: {
        OnFailure: {
          Destination: { 'Fn::GetAtt': [only(template, 'AWS::S3::Bucket').id, 'Arn'] },
        },
      },
    });
  });

  test('passes on what the schema file calls a new event, and nothing else', () => {
    const { template } = synthesize();

    const mapping = only(template, 'AWS::Lambda::EventSourceMapping').Properties;
    expect(
      mapping.FilterCriteria.Filters.map((filter: { Pattern: string }) =>
        JSON.parse(filter.Pattern),
      ),
    ).toEqual([schema.eventSourceFilter]);
  });

  test.each<[string, boolean, string, Record<string, unknown>]>([
    [
      'an event of a table by time',
      true,
      'INSERT',
      {
        subject: { S: 'book:1' },
        time_type: { S: '1760000000000_book.borrowed' },
        pk_all: { S: 'all' },
      },
    ],
    [
      'an event of a table by revision',
      true,
      'INSERT',
      { subject: { S: 'book:1' }, revision: { N: '1' }, pk_all: { S: 'all-07' } },
    ],
    [
      'an event that somebody has changed',
      false,
      'MODIFY',
      { subject: { S: 'book:1' }, revision: { N: '1' }, pk_all: { S: 'all-07' } },
    ],
    [
      'a head',
      false,
      'INSERT',
      { subject: { S: '$head/book:1' }, time_type: { S: '$head' }, revision: { N: '1' } },
    ],
    [
      'a guard of a table by time',
      false,
      'INSERT',
      { subject: { S: '$id/https://library.example.com#1' }, time_type: { S: '$id' } },
    ],
    [
      'a guard of a table by revision',
      false,
      'INSERT',
      { subject: { S: '$id/https://library.example.com#1' }, revision: { N: '0' } },
    ],
    [
      'a snapshot of a table by revision',
      false,
      'INSERT',
      { subject: { S: '$snapshot/book:1' }, revision: { N: '7' }, state: { S: '{}' } },
    ],
    [
      'a row of another kind',
      false,
      'INSERT',
      { subject: { S: 'book:1' }, revision: { N: '1' }, pk_all: { S: 'none' } },
    ],
    ['an item with a number there', false, 'INSERT', { pk_all: { N: '1' } }],
    ['an event that has expired or was deleted', false, 'REMOVE', {}],
  ])('%s passes its filter: %s', (_, isPassed, eventName, NewImage) => {
    const record = {
      eventName,
      dynamodb: eventName === 'REMOVE' ? { Keys: {} } : { NewImage },
    };

    expect(passes(record, schema.eventSourceFilter)).toBe(isPassed);
  });

  test('tries again with a bound, well before the stream forgets', () => {
    synthesize().template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      MaximumRetryAttempts: 20,
      MaximumRecordAgeInSeconds: 12 * 60 * 60,
    });
    synthesize({
      retryAttempts: 0,
      maxRecordAge: Duration.hours(1),
    }).template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      MaximumRetryAttempts: 0,
      MaximumRecordAgeInSeconds: 60 * 60,
    });
  });

  test.each([-1, 1.5, 10_001])('fails if retryAttempts is %d', (retryAttempts) => {
    expect(() => synthesize({ retryAttempts })).toThrow(
      `retryAttempts must be an integer from 0 to 10000, and is ${retryAttempts}`,
    );
  });

  test.each([
    [Duration.seconds(59), '59 seconds'],
    [Duration.hours(25), '1 day 1 hour'],
  ])('fails if maxRecordAge is %s', (maxRecordAge, text) => {
    expect(() => synthesize({ maxRecordAge })).toThrow(
      `maxRecordAge must be from 1 minute to 1 day, and is ${text}`,
    );
  });
});

describe("the publisher's role", () => {
  const own = { StringEquals: { 's3:ResourceAccount': { Ref: 'AWS::AccountId' } } };

  /** The role's permissions. */
  function permissions(template: Template): Statement[] {
    return statementsOfRole(template, 'PublisherRole').map(({ Sid: _, ...statement }) => statement);
  }

  test('may do exactly what publishing needs, on exactly its resources', () => {
    const { template } = synthesize();

    const bucket = { 'Fn::GetAtt': [only(template, 'AWS::S3::Bucket').id, 'Arn'] };
    expect(permissions(template)).toEqual([
      {
        Effect: 'Allow',
        Action: [
          'dynamodb:DescribeStream',
          'dynamodb:GetRecords',
          'dynamodb:GetShardIterator',
          'dynamodb:ListStreams',
        ],
        Resource: {
          'Fn::GetAtt': [only(template, 'AWS::DynamoDB::Table', 'Table$').id, 'StreamArn'],
        },
      },
      {
        Effect: 'Allow',
        Action: 'sns:Publish',
        Resource: { Ref: only(template, 'AWS::SNS::Topic').id },
      },
      {
        Effect: 'Allow',
        Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
        Resource: { 'Fn::GetAtt': [only(template, 'AWS::Logs::LogGroup').id, 'Arn'] },
      },
      {
        Effect: 'Allow',
        Action: ['dynamodb:PutItem', 'dynamodb:Query'],
        Resource: {
          'Fn::GetAtt': [only(template, 'AWS::DynamoDB::Table', 'Feed$').id, 'Arn'],
        },
      },
      {
        Effect: 'Allow',
        Action: 's3:PutObject',
        Resource: { 'Fn::Join': ['', [bucket, '/aws/lambda/*']] },
        Condition: own,
      },
      { Effect: 'Allow', Action: 's3:ListBucket', Resource: bucket, Condition: own },
    ]);
  });

  test('may use the key too, where there is one', () => {
    // GIVEN
    const stack = testStack();
    const encryptionKey = new Key(stack, 'Key');

    // WHEN
    new EventDB(stack, 'Events', props({ encryptionKey }));

    // THEN
    expect(permissions(Template.fromStack(stack)).at(-1)).toEqual({
      Effect: 'Allow',
      Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: stack.resolve(encryptionKey.keyArn),
      Condition: {
        StringEquals: {
          'kms:ViaService': ['sns.', 'dynamodb.'].map((service) => ({
            'Fn::Join': ['', [service, { Ref: 'AWS::Region' }, '.amazonaws.com']],
          })),
        },
      },
    });
  });

  test('has no managed policy of AWS', () => {
    const { template } = synthesize();

    template.hasResourceProperties('AWS::IAM::Role', {
      AssumeRolePolicyDocument: {
        Statement: [Match.objectLike({ Principal: { Service: 'lambda.amazonaws.com' } })],
      },
      ManagedPolicyArns: Match.absent(),
    });
  });
});

describe('the failure bucket', () => {
  test('is private, encrypted and reached by TLS only', () => {
    const { template } = synthesize();

    template.hasResourceProperties('AWS::S3::Bucket', {
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: true,
        BlockPublicPolicy: true,
        IgnorePublicAcls: true,
        RestrictPublicBuckets: true,
      },
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          { ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' } },
        ],
      },
    });
    template.hasResourceProperties('AWS::S3::BucketPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Deny',
            Action: 's3:*',
            Principal: { AWS: '*' },
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          }),
        ]),
      },
    });
  });

  test('forgets after a year, or when it is told to', () => {
    const expiresAfter = (days: number) => ({
      LifecycleConfiguration: {
        Rules: [Match.objectLike({ ExpirationInDays: days, Status: 'Enabled' })],
      },
    });
    synthesize().template.hasResourceProperties('AWS::S3::Bucket', expiresAfter(365));
    synthesize({ failureExpiration: Duration.days(30) }).template.hasResourceProperties(
      'AWS::S3::Bucket',
      expiresAfter(30),
    );
  });
});
