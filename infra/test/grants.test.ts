import { Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { AttributeType, Table, TableEncryption } from 'aws-cdk-lib/aws-dynamodb';
import {
  AccountPrincipal,
  AnyPrincipal,
  ArnPrincipal,
  type IGrantable,
  ManagedPolicy,
  Role,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import { EventDB, type EventDBProps, OptionalIndex, TableLayout } from '../lib';
import { grantByTablePolicy } from '../lib/store/grants';
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
  { hasKey, ...own }: Partial<EventDBProps> & { readonly hasKey?: boolean } = {},
): { statements: Statement[]; table: string; template: Template; stack: Stack } {
  const stack = testStack();
  const encryptionKey = hasKey === true ? new Key(stack, 'Key') : undefined;
  const eventDB = new EventDB(stack, 'Events', props({ ...own, encryptionKey }));
  const role = new Role(stack, 'Service', { assumedBy: new ServicePrincipal('ecs.amazonaws.com') });
  grant(eventDB, role);
  const template = Template.fromStack(stack);
  return {
    statements: statementsOfRole(template, 'Service'),
    table: only(template, 'AWS::DynamoDB::Table', 'Table$').id,
    template,
    stack,
  };
}

/** An event store in a known account, with a key. */
function inAccount(own: Partial<EventDBProps> = {}): {
  stack: Stack;
  eventDB: EventDB;
  template: () => Template;
} {
  const stack = new Stack(testApp(), 'Stack', {
    env: { account: '111111111111', region: 'eu-west-1' },
  });
  const encryptionKey = new Key(stack, 'Key');
  const eventDB = new EventDB(stack, 'Events', props({ ...own, encryptionKey }));
  return { stack, eventDB, template: () => Template.fromStack(stack) };
}

const arnOf = (id: string) => ({ 'Fn::GetAtt': [id, 'Arn'] });

describe('grantAppend', () => {
  test('gives what an append needs, on the table and not on its indexes', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role));

    expect(statements).toContainEqual({
      Effect: 'Allow',
      Action: ['dynamodb:ConditionCheckItem', 'dynamodb:GetItem', 'dynamodb:Query'],
      Resource: arnOf(table),
    });
  });

  test('lets items be put as part of a transaction only', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role));

    expect(statements).toContainEqual({
      Effect: 'Allow',
      Action: 'dynamodb:PutItem',
      Resource: arnOf(table),
      Condition: {
        'ForAnyValue:StringEquals': { 'dynamodb:EnclosingOperation': ['TransactWriteItems'] },
      },
    });
  });

  test('lets heads be put and updated, and no event', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role));

    const updating = statements.filter((s) => actionsOf([s]).includes('dynamodb:UpdateItem'));
    expect(updating).toEqual([
      {
        Effect: 'Allow',
        Action: ['dynamodb:PutItem', 'dynamodb:UpdateItem'],
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

  test.each<[string, (stack: Stack) => IGrantable, string]>([
    [
      'an account',
      () => new AccountPrincipal('111111111111'),
      'grantAppend: no policy can be attached to AccountPrincipal(111111111111). Give a role, a user, a group or a managed policy of this account.',
    ],
    [
      'a service',
      () => new ServicePrincipal('ecs.amazonaws.com'),
      'grantAppend: no policy can be attached to ServicePrincipal(ecs.amazonaws.com)',
    ],
    ['everybody', () => new AnyPrincipal(), 'grantAppend: no policy can be attached to '],
    [
      'a role of another account',
      (stack) => Role.fromRoleArn(stack, 'Foreign', 'arn:aws:iam::222222222222:role/Service'),
      'grantAppend: Stack/Foreign is of the account 222222222222, and Stack/Events of 111111111111',
    ],
  ])('fails with a sentence for %s, which would get nothing', (_, granteeIn, message) => {
    const { stack, eventDB } = inAccount();

    expect(() => eventDB.grantAppend(granteeIn(stack))).toThrow(message);
  });

  test('works for a role of this account that is imported by its ARN', () => {
    const { stack, eventDB } = inAccount();
    eventDB.grantAppend(Role.fromRoleArn(stack, 'Own', 'arn:aws:iam::111111111111:role/Service'));

    Template.fromStack(stack).hasResourceProperties('AWS::IAM::Policy', { Roles: ['Service'] });
  });
});

describe('grantAppend on a table by revision', () => {
  const tableLayout = TableLayout.BY_REVISION;

  test('gives reading, checking and putting items, and no update or deletion of any', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantAppend(role), {
      tableLayout,
    });

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: [
          'dynamodb:ConditionCheckItem',
          'dynamodb:GetItem',
          'dynamodb:PutItem',
          'dynamodb:Query',
        ],
        Resource: arnOf(table),
      },
    ]);
  });

  test('includes the key, as by time', () => {
    const onKey = (own: Partial<EventDBProps>) =>
      granted((eventDB, role) => eventDB.grantAppend(role), { ...own, hasKey: true })
        .statements.filter((s) => actionsOf([s]).some((action) => action.startsWith('kms:')))
        .map(({ Action, Condition }) => ({ Action, Condition }));

    expect(onKey({ tableLayout })).toEqual(onKey({}));
  });
});

describe('grantRead on a table by revision', () => {
  const tableLayout = TableLayout.BY_REVISION;

  test('also gives getting items in batches, and querying each index that there is', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantRead(role), {
      tableLayout,
      omitIndexes: [OptionalIndex.ALL_EVENTS_BY_ID],
    });

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: [
          'dynamodb:BatchGetItem',
          'dynamodb:DescribeTable',
          'dynamodb:GetItem',
          'dynamodb:Query',
        ],
        Resource: arnOf(table),
      },
      {
        Effect: 'Allow',
        Action: 'dynamodb:Query',
        Resource: ['AllEventsByTime', 'AllSubjects'].map((index) => ({
          'Fn::Join': ['', [arnOf(table), `/index/${index}`]],
        })),
      },
    ]);
  });

  test('gives the same to another account, by the policy of the table', () => {
    const { eventDB, template } = inAccount({ tableLayout });
    eventDB.grantRead(new AccountPrincipal('222222222222'));

    expect(
      only(template(), 'AWS::DynamoDB::Table', 'Table$').Properties.ResourcePolicy.PolicyDocument
        .Statement,
    ).toEqual([
      {
        Effect: 'Allow',
        Principal: { AWS: 'arn:aws:iam::222222222222:root' },
        Action: [
          'dynamodb:BatchGetItem',
          'dynamodb:DescribeTable',
          'dynamodb:GetItem',
          'dynamodb:Query',
        ],
        Resource: '*',
      },
    ]);
  });
});

describe('grantRead', () => {
  test('gives reading the table and querying each index, and nothing else', () => {
    const { statements, table } = granted((eventDB, role) => eventDB.grantRead(role));

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
        Resource: arnOf(table),
      },
      {
        Effect: 'Allow',
        Action: 'dynamodb:Query',
        Resource: ['AllEventsById', 'AllEventsByTime', 'AllSubjects', 'SubjectEventsByType'].map(
          (index) => ({
            'Fn::Join': ['', [arnOf(table), `/index/${index}`]],
          }),
        ),
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

describe('grantRead for another account', () => {
  const foreignRole = 'arn:aws:iam::222222222222:role/Reader';

  test.each<[string, (stack: Stack) => IGrantable, unknown]>([
    ['a role', (stack) => Role.fromRoleArn(stack, 'Foreign', foreignRole), foreignRole],
    ['an ARN', () => new ArnPrincipal(foreignRole), foreignRole],
    ['an account', () => new AccountPrincipal('222222222222'), 'arn:aws:iam::222222222222:root'],
  ])(
    'lets %s read the table with its indexes and use the key, by their policies',
    (_, granteeIn, principal) => {
      // GIVEN
      const { stack, eventDB, template } = inAccount();

      // WHEN
      const grant = eventDB.grantRead(granteeIn(stack));

      // THEN
      expect(grant.success).toBe(true);
      expect(
        only(template(), 'AWS::DynamoDB::Table', 'Table$').Properties.ResourcePolicy.PolicyDocument
          .Statement,
      ).toEqual([
        {
          Effect: 'Allow',
          Principal: { AWS: principal },
          Action: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
          Resource: '*',
        },
      ]);
      expect(only(template(), 'AWS::KMS::Key').Properties.KeyPolicy.Statement.at(-1)).toEqual({
        Effect: 'Allow',
        Principal: { AWS: principal },
        Action: ['kms:Decrypt', 'kms:DescribeKey'],
        Resource: '*',
        Condition: { StringEquals: { 'kms:ViaService': 'dynamodb.eu-west-1.amazonaws.com' } },
      });
      template().resourceCountIs('AWS::IAM::Policy', 0);
    },
  );

  test('fails for a service', () => {
    const { eventDB } = inAccount();

    expect(() => eventDB.grantRead(new ServicePrincipal('ecs.amazonaws.com'))).toThrow(
      'grantRead: ServicePrincipal(ecs.amazonaws.com) is a service of AWS; DynamoDB takes none',
    );
  });

  test('fails where the table is encrypted with the AWS managed key', () => {
    const { stack } = inAccount();
    const table = new Table(stack, 'Managed', {
      partitionKey: { name: 'id', type: AttributeType.STRING },
      encryption: TableEncryption.AWS_MANAGED,
    });

    expect(() =>
      grantByTablePolicy('grantRead', table, new ArnPrincipal(foreignRole), ['dynamodb:Query']),
    ).toThrow('grantRead: the table is encrypted with the AWS managed key alias/aws/dynamodb');
  });

  test('fails where the table is imported', () => {
    const { stack } = inAccount();
    const table = Table.fromTableName(stack, 'Imported', 'Events');

    expect(() =>
      grantByTablePolicy('grantRead', table, new ArnPrincipal(foreignRole), ['dynamodb:Query']),
    ).toThrow('grantRead: the table is imported, so its policy stays as it is');
  });

  test('warns where the key is imported', () => {
    const stack = new Stack(testApp(), 'Stack', {
      env: { account: '111111111111', region: 'eu-west-1' },
    });
    const encryptionKey = Key.fromKeyArn(
      stack,
      'Key',
      'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab',
    );
    new EventDB(stack, 'Events', props({ encryptionKey })).grantRead(new ArnPrincipal(foreignRole));

    Annotations.fromStack(stack).hasWarning(
      '/Stack/Events',
      Match.stringLikeRegexp('It must let .*role/Reader.* use kms:Decrypt and kms:DescribeKey'),
    );
  });

  test('needs no name of the table in an app with several accounts, which gets one', () => {
    // GIVEN
    const app = testApp();
    const stack = new Stack(app, 'Store', {
      env: { account: '111111111111', region: 'eu-west-1' },
    });
    const { table } = new EventDB(stack, 'Events', props());

    // WHEN
    const other = new Stack(app, 'Other', {
      env: { account: '222222222222', region: 'eu-west-1' },
    });
    // A stack needs a resource to be synthesised.
    new Topic(other, 'Topic');
    const named = other.resolve(table.tableArn);

    // THEN
    app.synth();
    expect(JSON.stringify(named)).toContain(
      only(Template.fromStack(stack), 'AWS::DynamoDB::Table', 'Table$').Properties.TableName,
    );
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
        Condition: { StringEquals: { 'sns:Protocol': ['sqs', 'lambda'] } },
      },
    ]);
  });

  test('lets a role of another account in by the policy of the topic', () => {
    const { stack, eventDB, template } = inAccount();
    eventDB.grantSubscribe(
      Role.fromRoleArn(stack, 'Foreign', 'arn:aws:iam::222222222222:role/Subscriber'),
    );

    template().hasResourceProperties('AWS::SNS::TopicPolicy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Effect: 'Allow',
            Principal: { AWS: 'arn:aws:iam::222222222222:role/Subscriber' },
            Action: 'sns:Subscribe',
            Condition: { StringEquals: { 'sns:Protocol': ['sqs', 'lambda'] } },
          }),
        ]),
      },
    });
  });
});

describe('grantRedrive', () => {
  test('gives taking records out of the failure bucket, and no call of the publisher', () => {
    // GIVEN
    const stack = testStack();
    const failureEncryptionKey = new Key(stack, 'Key');
    const eventDB = new EventDB(stack, 'Events', props({ failureEncryptionKey }));
    const role = new Role(stack, 'Service', {
      assumedBy: new ServicePrincipal('ecs.amazonaws.com'),
    });

    // WHEN
    eventDB.grantRedrive(role);

    // THEN
    const template = Template.fromStack(stack);
    const bucket = arnOf(only(template, 'AWS::S3::Bucket').id);
    expect(statementsOfRole(template, 'Service')).toEqual([
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
        Condition: {
          StringEquals: {
            'kms:ViaService': {
              'Fn::Join': ['', ['s3.', { Ref: 'AWS::Region' }, '.amazonaws.com']],
            },
          },
        },
      },
    ]);
  });
});

describe('grantExplore', () => {
  test('gives reading the table, its indexes, the feed and the failure bucket, and nothing else', () => {
    const { statements } = granted((eventDB, role) => eventDB.grantExplore(role));

    expect(statements.map(({ Action: action }) => action)).toEqual([
      ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
      'dynamodb:Query',
      ['dynamodb:GetItem', 'dynamodb:Query'],
      's3:ListBucket',
      's3:GetObject',
    ]);
  });

  test('gives items in batches in a table by revision, and no feed where there is none', () => {
    const own = { tableLayout: TableLayout.BY_REVISION, feed: false };
    const { statements } = granted((eventDB, role) => eventDB.grantExplore(role), own);

    expect(statements.map(({ Action: action }) => action)).toEqual([
      ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
      'dynamodb:Query',
      's3:ListBucket',
      's3:GetObject',
    ]);
  });
});

describe('grantInvokePublisher', () => {
  test('gives calling the publisher, and nothing else', () => {
    const { statements, template } = granted((eventDB, role) => eventDB.grantInvokePublisher(role));

    expect(statements).toEqual([
      {
        Effect: 'Allow',
        Action: 'lambda:InvokeFunction',
        Resource: arnOf(only(template, 'AWS::Lambda::Function', 'Publisher').id),
      },
    ]);
  });
});

describe('every grant', () => {
  test.each(['grantAppend', 'grantExplore', 'grantRedrive', 'grantInvokePublisher'] as const)(
    '%s fails for whom no policy can be attached to',
    (grant) => {
      const { eventDB } = inAccount();
      expect(() => eventDB[grant](new AccountPrincipal('222222222222'))).toThrow(
        `${grant}: AccountPrincipal(222222222222) is of the account 222222222222`,
      );
    },
  );

  test.each(['grantAppend', 'grantRead'] as const)(
    '%s lets the key be used through DynamoDB only',
    (grant) => {
      const { statements } = granted((eventDB, role) => eventDB[grant](role), { hasKey: true });

      const onKey = statements.filter((s) => actionsOf([s]).some((action) => /^kms:/.test(action)));
      expect(onKey.map(({ Condition: condition }) => condition)).toEqual([
        {
          StringEquals: {
            'kms:ViaService': {
              'Fn::Join': ['', ['dynamodb.', { Ref: 'AWS::Region' }, '.amazonaws.com']],
            },
          },
        },
      ]);
    },
  );
});
