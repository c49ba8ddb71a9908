import { Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import { EventDB } from '../lib';
import { only, props, synthesize, testApp, testStack } from './support';

describe('with a customer managed key', () => {
  const stack = testStack();
  const encryptionKey = new Key(stack, 'Key');
  const eventDB = new EventDB(stack, 'Events', props({ encryptionKey }));
  const template = Template.fromStack(stack);
  const keyArn = stack.resolve(encryptionKey.keyArn);

  test('the table, the topic and the failure bucket are encrypted with it', () => {
    template.hasResourceProperties('AWS::DynamoDB::Table', {
      SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: keyArn },
    });
    template.hasResourceProperties('AWS::SNS::Topic', { KmsMasterKeyId: keyArn });
    template.hasResourceProperties('AWS::S3::Bucket', {
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          {
            BucketKeyEnabled: true,
            ServerSideEncryptionByDefault: { SSEAlgorithm: 'aws:kms', KMSMasterKeyID: keyArn },
          },
        ],
      },
    });
    expect(eventDB.encryptionKey).toBe(encryptionKey);
  });

  test("the key's policy lets SNS use it for topics of this account, and of no other", () => {
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          {
            Sid: 'EventTopicEncryption',
            Effect: 'Allow',
            Principal: { Service: 'sns.amazonaws.com' },
            Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
            Resource: '*',
            Condition: { StringEquals: { 'aws:SourceAccount': { Ref: 'AWS::AccountId' } } },
          },
        ]),
      },
    });
  });

  test("the key's policy leaves the function's right to its role", () => {
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Allow',
            Action: 'kms:*',
            Principal: {
              AWS: {
                'Fn::Join': [
                  '',
                  ['arn:', { Ref: 'AWS::Partition' }, ':iam::', { Ref: 'AWS::AccountId' }, ':root'],
                ],
              },
            },
          }),
        ]),
      },
    });
  });

  test('there is no warning, for everything is set up', () => {
    Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
  });
});

describe('with the key of another stack', () => {
  test('the stacks depend on each other in one direction only', () => {
    // GIVEN
    const app = testApp();
    const keys = new Stack(app, 'Keys');
    const encryptionKey = new Key(keys, 'Key');

    // WHEN
    const eventDB = new EventDB(app, 'LibraryEvents', props({ encryptionKey }));

    // THEN (a cycle would throw here)
    app.synth();
    expect(keys.dependencies).not.toContain(Stack.of(eventDB));
    Template.fromStack(keys).hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([Match.objectLike({ Sid: 'EventTopicEncryption' })]),
      },
    });
  });
});

describe('with an imported key', () => {
  test('a warning says what its policy must have', () => {
    // GIVEN
    const stack = testStack();
    const encryptionKey = Key.fromKeyArn(
      stack,
      'Key',
      'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    );

    // WHEN
    new EventDB(stack, 'Events', props({ encryptionKey }));

    // THEN
    Annotations.fromStack(stack).hasWarning(
      '/TestStack/Events',
      Match.stringLikeRegexp(
        'must let sns.amazonaws.com use kms:Decrypt and kms:GenerateDataKey .*kms:\\* for the account root.*eventdb:importedEncryptionKey',
      ),
    );
    Template.fromStack(stack).hasResourceProperties('AWS::SNS::Topic', {
      KmsMasterKeyId: encryptionKey.keyArn,
    });
  });
});

describe('without a key', () => {
  test('AWS owns the keys of the table and the bucket, and nobody needs rights on a key', () => {
    const { template } = synthesize({ isProdEnv: true });

    template.hasResourceProperties('AWS::DynamoDB::Table', { SSESpecification: Match.absent() });
    template.hasResourceProperties('AWS::SNS::Topic', { KmsMasterKeyId: Match.absent() });
    expect(JSON.stringify(template.toJSON())).not.toContain('kms:');
    expect(only(template, 'AWS::S3::Bucket').Properties.BucketEncryption).toBeDefined();
  });
});
