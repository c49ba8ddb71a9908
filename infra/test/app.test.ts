import type { Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { describe, expect, test } from 'vitest';
import type { EventDBStack } from '../app/event-db-stack';
import type { SubscriberStack } from '../app/subscriber-stack';
import { actionsOf, only, testApp } from './support';
import { VARIANTS } from './variants';

function variant(name: string): { stack: Stack; template: Template } {
  const make = VARIANTS[name];
  if (make === undefined) {
    throw new Error(`no variant ${name}`);
  }
  const stack = make(testApp(), name);
  return { stack, template: Template.fromStack(stack) };
}

describe("the event store's stack", () => {
  test('hands out what services need', () => {
    const { template } = variant('ProductionEncrypted');

    for (const [output, type, idPart] of [
      ['TableName', 'AWS::DynamoDB::Table', 'Table$'],
      ['FeedTableName', 'AWS::DynamoDB::Table', 'Feed$'],
      ['TopicArn', 'AWS::SNS::Topic', ''],
      ['PublisherName', 'AWS::Lambda::Function', ''],
      ['FailureBucketName', 'AWS::S3::Bucket', ''],
      ['AppendPolicyArn', 'AWS::IAM::ManagedPolicy', 'Append'],
      ['ReadPolicyArn', 'AWS::IAM::ManagedPolicy', 'Read'],
      ['FollowPolicyArn', 'AWS::IAM::ManagedPolicy', 'Follow'],
      ['RedrivePolicyArn', 'AWS::IAM::ManagedPolicy', 'Redrive'],
      ['ExportPolicyArn', 'AWS::IAM::ManagedPolicy', 'Export'],
      ['ImportPolicyArn', 'AWS::IAM::ManagedPolicy', 'Import'],
      ['DoctorPolicyArn', 'AWS::IAM::ManagedPolicy', 'Doctor'],
      ['RepairPolicyArn', 'AWS::IAM::ManagedPolicy', 'Repair'],
      ['ErasePolicyArn', 'AWS::IAM::ManagedPolicy', 'Erase'],
      ['ExplorePolicyArn', 'AWS::IAM::ManagedPolicy', 'Explore'],
      ['TailPolicyArn', 'AWS::IAM::ManagedPolicy', 'Tail'],
      ['ReplayPolicyArn', 'AWS::IAM::ManagedPolicy', 'Replay'],
    ] as const) {
      template.hasOutput(output, { Value: { Ref: only(template, type, idPart).id } });
    }
    template.hasOutput('EncryptionKeyArn', {
      Value: { 'Fn::GetAtt': [only(template, 'AWS::KMS::Key').id, 'Arn'] },
    });
  });

  test.each([
    ['Append', ['dynamodb:PutItem', 'kms:Decrypt']],
    ['Read', ['dynamodb:Query', 'kms:Decrypt']],
    ['Follow', ['dynamodb:Query', 'dynamodb:BatchGetItem', 'kms:Decrypt']],
    ['Redrive', ['s3:GetObject', 'lambda:InvokeFunction']],
    ['Export', ['dynamodb:Scan', 'kms:Decrypt']],
    ['Import', ['dynamodb:PutItem', 'kms:Decrypt']],
    ['Doctor', ['dynamodb:DescribeContinuousBackups', 'kms:Decrypt']],
    ['Repair', ['dynamodb:UpdateItem', 'dynamodb:DeleteItem', 'kms:Decrypt']],
    ['Erase', ['dynamodb:UpdateItem', 'dynamodb:DeleteItem', 'kms:Decrypt']],
    ['Explore', ['dynamodb:Query', 's3:GetObject', 'kms:Decrypt']],
    ['Tail', ['sns:Subscribe', 'sqs:CreateQueue', 'kms:Decrypt']],
    ['Replay', ['dynamodb:BatchGetItem', 'sns:GetSubscriptionAttributes', 'kms:Decrypt']],
  ])('has a managed policy %s', (name, needed) => {
    const { template } = variant('ProductionEncrypted');

    const policy = only(template, 'AWS::IAM::ManagedPolicy', name).Properties.PolicyDocument;
    const actions = actionsOf(policy.Statement);
    expect(actions).toEqual(expect.arrayContaining(needed));
  });

  test('says how services must open the table', () => {
    variant('Production').template.hasOutput('TableLayout', { Value: 'byTime' });
    variant('ProductionByRevision').template.hasOutput('TableLayout', { Value: 'byRevision' });
  });

  test('is production in the environment prod only', () => {
    const production = variant('Production');
    expect(production.stack.terminationProtection).toBe(true);
    production.template.hasResourceProperties('AWS::DynamoDB::Table', {
      DeletionProtectionEnabled: true,
    });

    const development = variant('Development');
    expect(development.stack.terminationProtection).toBe(false);
    development.template.hasResourceProperties('AWS::DynamoDB::Table', {
      DeletionProtectionEnabled: false,
    });
  });

  test('keeps a new key in production, and drops it elsewhere', () => {
    variant('ProductionEncrypted').template.hasResource('AWS::KMS::Key', {
      DeletionPolicy: 'Retain',
      Properties: Match.objectLike({ EnableKeyRotation: true }),
    });
    variant('DevelopmentEncrypted').template.hasResource('AWS::KMS::Key', {
      DeletionPolicy: 'Delete',
    });
  });

  test('takes accounts, alarm topic, architecture and FIFO from the settings', () => {
    const { template } = variant('Production');
    template.hasResourceProperties('AWS::SNS::TopicPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([Match.objectLike({ Action: 'sns:Subscribe' })]),
      },
    });
    template.allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: ['arn:aws:sns:eu-west-1:111111111111:Operators'],
    });
    variant('ProductionEncrypted').template.hasResourceProperties('AWS::Lambda::Function', {
      Architectures: ['x86_64'],
    });
    variant('ProductionFifo').template.hasResourceProperties('AWS::SNS::Topic', {
      FifoTopic: true,
    });
  });

  test('takes organization, protocols and the key of the failure bucket from the settings', () => {
    const { template } = variant('ProductionOrganization');
    template.hasResourceProperties('AWS::SNS::TopicPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Action: 'sns:Subscribe',
            Condition: {
              StringEquals: {
                'aws:PrincipalOrgID': 'o-1234567890',
                'sns:Protocol': ['sqs', 'lambda', 'firehose'],
              },
            },
          }),
        ]),
      },
    });
    const key = only(template, 'AWS::KMS::Key', 'FailureKey');
    expect(key.DeletionPolicy).toBe('Retain');
    const [rule] = only(template, 'AWS::S3::Bucket').Properties.BucketEncryption
      .ServerSideEncryptionConfiguration;
    expect(rule.ServerSideEncryptionByDefault.KMSMasterKeyID).toEqual({
      'Fn::GetAtt': [key.id, 'Arn'],
    });
  });

  test('takes an existing table, and its key, from the settings', () => {
    const { template } = variant('ProductionExistingTable');

    const tableArn = 'arn:aws:dynamodb:eu-west-1:111111111111:table/LibraryEvents';
    // Only the feed.
    only(template, 'AWS::DynamoDB::Table', 'Feed$');
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: `${tableArn}/stream/2026-01-01T00:00:00.000`,
    });
    template.hasOutput('TableName', { Value: 'LibraryEvents' });
    const policy = only(template, 'AWS::IAM::ManagedPolicy', 'Append').Properties.PolicyDocument;
    expect(policy.Statement).toContainEqual(
      expect.objectContaining({
        Resource: 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
      }),
    );
  });

  test('gives access to the construct', () => {
    const { stack } = variant('Development');
    expect((stack as EventDBStack).eventDB.table).toBeDefined();
  });
});

describe("the subscriber's stack", () => {
  test('hands out what a consumer needs', () => {
    const { template } = variant('Subscriber');

    template.hasOutput('QueueUrl', {
      Value: { Ref: only(template, 'AWS::SQS::Queue', 'EventsQueue').id },
    });
    template.hasOutput('DeadLetterQueueUrl', {
      Value: { Ref: only(template, 'AWS::SQS::Queue', 'EventsDeadLetters').id },
    });
    template.hasOutput('ConsumePolicyArn', {
      Value: { Ref: only(template, 'AWS::IAM::ManagedPolicy').id },
    });
  });

  test('filters by what the settings say, and by nothing they leave out', () => {
    variant('Subscriber').template.hasResourceProperties('AWS::SNS::Subscription', {
      FilterPolicy: { type: ['book.borrowed', 'book.returned'], subject: [{ prefix: 'book:' }] },
    });
    variant('SubscriberEncrypted').template.hasResourceProperties('AWS::SNS::Subscription', {
      FilterPolicy: Match.absent(),
    });
  });

  test('gives access to the construct', () => {
    const { stack } = variant('SubscriberFifo');
    expect((stack as SubscriberStack).events.queue.fifo).toBe(true);
  });
});
