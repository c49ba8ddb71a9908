import { Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { AccountPrincipal, ManagedPolicy, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB } from '../lib';
import {
  actionsOf,
  only,
  props,
  type Statement,
  statementsOfRole,
  testApp,
  testStack,
} from './support';

/** An event store and a service's role, and what the role may do after `grant`. */
function granted(
  grant: (eventDB: EventDB, role: Role) => unknown,
  options: { readonly hasKey?: boolean } = {},
): { statements: Statement[]; table: string; template: Template; stack: Stack } {
  const stack = testStack();
  const encryptionKey = options.hasKey === true ? new Key(stack, 'Key') : undefined;
  const eventDB = new EventDB(stack, 'Events', props({ encryptionKey }));
  const role = new Role(stack, 'Service', { assumedBy: new ServicePrincipal('ecs.amazonaws.com') });
  grant(eventDB, role);
  const template = Template.fromStack(stack);
  return {
    statements: statementsOfRole(template, 'Service'),
    table: only(template, 'AWS::DynamoDB::Table').id,
    template,
    stack,
  };
}

const arnOf = (id: string) => ({ 'Fn::GetAtt': [id, 'Arn'] });

describe('grantAppend', () => {
  test('gives what an append needs, on the table and not on its indexes', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role));

    expect(statements).toContainEqual({
      Effect: 'Allow',
      Action: [
        'dynamodb:ConditionCheckItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:Query',
      ],
      Resource: arnOf(table),
    });
  });

  test('lets heads be updated, and no event', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role));

    const updating = statements.filter((s) => actionsOf([s]).includes('dynamodb:UpdateItem'));
    expect(updating).toEqual([
      {
        Effect: 'Allow',
        Action: 'dynamodb:UpdateItem',
        Resource: arnOf(table),
        Condition: {
          'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': [`${schema.itemPrefixes.head}*`] },
          // Without this, a request without leading keys would meet the condition above.
          Null: { 'dynamodb:LeadingKeys': 'false' },
        },
      },
    ]);
  });

  test('gives nothing else: no delete, no batch write, no scan, no wildcard', () => {
    const { statements } = granted((eventDB, role) => eventDB.grantAppend(role));

    expect(actionsOf(statements)).toEqual([
      'dynamodb:ConditionCheckItem',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:Query',
      'dynamodb:UpdateItem',
    ]);
  });

  test('includes the key', () => {
    const { statements, stack } = granted((eventDB, role) => eventDB.grantAppend(role), {
      hasKey: true,
    });

    const onKey = statements.filter((s) =>
      actionsOf([s]).some((action) => action.startsWith('kms:')),
    );
    expect(actionsOf(onKey)).toEqual([
      'kms:Decrypt',
      'kms:DescribeKey',
      'kms:Encrypt',
      'kms:GenerateDataKey',
      'kms:GenerateDataKeyWithoutPlaintext',
      'kms:ReEncryptFrom',
      'kms:ReEncryptTo',
    ]);
    const key = only(Template.fromStack(stack), 'AWS::KMS::Key').id;
    expect(onKey.map((statement) => statement.Resource)).toEqual([arnOf(key)]);
  });

  test('succeeds for a role of another stack and for a managed policy', () => {
    // GIVEN
    const app = testApp();
    const key = new Key(new Stack(app, 'Keys'), 'Key');
    const eventDB = new EventDB(app, 'Events', props({ encryptionKey: key }));
    const services = new Stack(app, 'Services');
    const role = new Role(services, 'Service', {
      assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    });

    // WHEN
    const toRole = eventDB.grantAppend(role);
    const toPolicy = eventDB.grantAppend(new ManagedPolicy(services, 'Policy'));

    // THEN
    expect(toRole.success).toBe(true);
    expect(toPolicy.success).toBe(true);
    app.synth();
  });

  test('says that it failed for whom no policy can be attached to', () => {
    granted((eventDB) => {
      const grant = eventDB.grantAppend(new AccountPrincipal('111111111111'));

      expect(grant.success).toBe(false);
    });
  });
});

describe('grantRead', () => {
  test('gives reading the table and querying each index, and nothing else', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantRead(role));

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: ['dynamodb:GetItem', 'dynamodb:Query'],
        Resource: arnOf(table),
      },
      {
        Effect: 'Allow',
        Action: 'dynamodb:Query',
        Resource: ['AllEventsById', 'AllEventsByTime', 'SubjectEventsByType'].map((index) => ({
          'Fn::Join': ['', [arnOf(table), `/index/${index}`]],
        })),
      },
    ]);
  });

  test('includes the key, for reading only', () => {
    const { statements } = granted((eventDB, role) => eventDB.grantRead(role), { hasKey: true });

    expect(actionsOf(statements).filter((action) => action.startsWith('kms:'))).toEqual([
      'kms:Decrypt',
      'kms:DescribeKey',
    ]);
  });
});

describe('grantSubscribe', () => {
  test('gives subscribing to the topic, and needs nothing of the key', () => {
    const { statements, template } = granted((eventDB, role) => eventDB.grantSubscribe(role), {
      hasKey: true,
    });

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: 'sns:Subscribe',
        Resource: { Ref: only(template, 'AWS::SNS::Topic').id },
      },
    ]);
  });
});

describe('grantRedrive', () => {
  test('gives taking records out of the failure bucket and invoking the publisher', () => {
    const { statements, template } = granted((eventDB, role) => eventDB.grantRedrive(role), {
      hasKey: true,
    });

    const bucket = arnOf(only(template, 'AWS::S3::Bucket').id);
    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: 's3:ListBucket',
        Resource: bucket,
        Condition: { StringLike: { 's3:prefix': 'aws/lambda/*' } },
      },
      {
        Effect: 'Allow',
        Action: ['s3:DeleteObject', 's3:GetObject'],
        Resource: { 'Fn::Join': ['', [bucket, '/aws/lambda/*']] },
      },
      {
        Effect: 'Allow',
        Action: 'kms:Decrypt',
        Resource: arnOf(only(template, 'AWS::KMS::Key').id),
      },
      {
        Effect: 'Allow',
        Action: 'lambda:InvokeFunction',
        Resource: arnOf(only(template, 'AWS::Lambda::Function', 'Publisher').id),
      },
    ]);
  });
});
