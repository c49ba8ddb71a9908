import { Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import { EventDB } from '../lib';
import { only, props, statementsOfRole, synthesize, testApp, testStack } from './support';

describe('with a customer managed key', () => {
  const stack = testStack();
  const encryptionKey = new Key(stack, 'Key');
  const eventDB = new EventDB(stack, 'Events', props({ encryptionKey }));
  const template = Template.fromStack(stack);
  const keyArn = stack.resolve(encryptionKey.keyArn);

  test('the table and the topic are encrypted with it', () => {
    template.hasResourceProperties('AWS::DynamoDB::Table', {
      SSESpecification: { SSEEnabled: true, SSEType: 'KMS', KMSMasterKeyId: keyArn },
    });
    template.hasResourceProperties('AWS::SNS::Topic', { KmsMasterKeyId: keyArn });
    expect(eventDB.encryptionKey).toBe(encryptionKey);
  });

  test('the failure bucket is not, so that a fault of the key does not reach it', () => {
    template.hasResourceProperties('AWS::S3::Bucket', {
      BucketEncryption: {
        ServerSideEncryptionConfiguration: [
          {
            BucketKeyEnabled: false,
            ServerSideEncryptionByDefault: { SSEAlgorithm: 'AES256' },
          },
        ],
      },
    });
  });

  test("the key's policy has no statement for SNS: only publishers use the key of a topic", () => {
    expect(JSON.stringify(template.findResources('AWS::KMS::Key'))).not.toContain('sns');
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
  });
});

describe('with an imported key', () => {
  const KEY_ARN = 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab';

  function stackIn(account: string | undefined): Stack {
    const env = account === undefined ? {} : { env: { account, region: 'eu-west-1' } };
    const stack = new Stack(testApp(), 'TestStack', env);
    const encryptionKey = Key.fromKeyArn(stack, 'Key', KEY_ARN);
    new EventDB(stack, 'Events', props({ encryptionKey }));
    return stack;
  }

  test.each([undefined, '111111111111'])(
    'of this account (%s) nothing is needed but the default policy, so nothing is said',
    (account) => {
      const stack = stackIn(account);

      Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
      Template.fromStack(stack).hasResourceProperties('AWS::SNS::Topic', {
        KmsMasterKeyId: KEY_ARN,
      });
    },
  );

  test('of another account a warning says what its policy must have', () => {
    Annotations.fromStack(stackIn('222222222222')).hasWarning(
      '/TestStack/Events',
      Match.stringLikeRegexp(
        'key of the account 111111111111.*the account 222222222222, for kms:CreateGrant.*kms:Decrypt',
      ),
    );
  });
});

describe('with a separate key for the failure bucket', () => {
  test('the bucket is encrypted with it, and Lambda may use it through S3 only', () => {
    // GIVEN
    const stack = testStack();
    const failureEncryptionKey = new Key(stack, 'FailureKey');

    // WHEN
    new EventDB(stack, 'Events', props({ failureEncryptionKey }));

    // THEN
    const template = Template.fromStack(stack);
    const keyArn = stack.resolve(failureEncryptionKey.keyArn);
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
    template.hasResourceProperties('AWS::DynamoDB::Table', { SSESpecification: Match.absent() });
    expect(statementsOfRole(template, 'PublisherRole').at(-1)).toMatchObject({
      Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
      Resource: keyArn,
      Condition: {
        StringEquals: {
          'kms:ViaService': { 'Fn::Join': ['', ['s3.', { Ref: 'AWS::Region' }, '.amazonaws.com']] },
        },
      },
    });
  });
});

describe('without a key', () => {
  test('AWS owns the keys of the table and the bucket, and nobody needs permissions on a key', () => {
    const { template } = synthesize({ isProdEnv: true });

    template.hasResourceProperties('AWS::DynamoDB::Table', { SSESpecification: Match.absent() });
    template.hasResourceProperties('AWS::SNS::Topic', { KmsMasterKeyId: Match.absent() });
    expect(JSON.stringify(template.toJSON())).not.toContain('kms:');
    expect(only(template, 'AWS::S3::Bucket').Properties.BucketEncryption).toBeDefined();
  });
});
