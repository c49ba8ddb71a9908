import { Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, test } from 'vitest';
import { EventDB, type EventDBProps, OptionalIndex, TableLayout } from '../lib';
import { actionsOf, only, props, type Statement, statementsOfRole, testStack } from './support';

const QUEUE_ARN = 'arn:aws:sqs:eu-west-1:222222222222:Loans';

/** What a role may do after `grant`. */
function granted(
  grant: (eventDB: EventDB, role: Role) => unknown,
  { hasKey, ...own }: Partial<EventDBProps> & { readonly hasKey?: boolean } = {},
) {
  const stack = testStack();
  const encryptionKey = hasKey === true ? new Key(stack, 'Key') : undefined;
  const eventDB = new EventDB(stack, 'Events', props({ ...own, encryptionKey }));
  const role = new Role(stack, 'Operator', {
    assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
  });
  grant(eventDB, role);
  const template = Template.fromStack(stack);
  const statements = statementsOfRole(template, 'Operator');
  const about = (service: string) =>
    statements.filter((statement) =>
      actionsOf([statement]).every((action) => action.startsWith(`${service}:`)),
    );
  return {
    stack,
    statements,
    about,
    table: only(template, 'AWS::DynamoDB::Table', 'Table$').id,
    feed: template.findResources('AWS::DynamoDB::Table'),
    topic: only(template, 'AWS::SNS::Topic').id,
  };
}

const text = (value: unknown) => JSON.stringify(value);

describe('grantTail', () => {
  const tail = (own: Parameters<typeof granted>[1] = {}) =>
    granted((eventDB, role) => eventDB.grantTail(role), own);

  test('lets only queues of the tool be made, here, and subscribed to this topic only', () => {
    const { about, topic } = tail();

    const [queues, ...others] = about('sqs');
    expect(others).toEqual([]);
    expect(actionsOf([queues as Statement])).toEqual([
      'sqs:CreateQueue',
      'sqs:DeleteMessage',
      'sqs:DeleteQueue',
      'sqs:GetQueueAttributes',
      'sqs:ReceiveMessage',
      'sqs:SetQueueAttributes',
    ]);
    expect(text(queues?.Resource)).toContain(
      '":sqs:",{"Ref":"AWS::Region"},":",{"Ref":"AWS::AccountId"},":eventdb-tail-*"',
    );
    expect(about('sns')).toEqual([
      {
        Effect: 'Allow',
        Action: 'sns:Subscribe',
        Resource: { Ref: topic },
        Condition: {
          StringEquals: { 'sns:Protocol': 'sqs' },
          StringLike: { 'sns:Endpoint': queues?.Resource },
        },
      },
      { Effect: 'Allow', Action: 'sns:Unsubscribe', Resource: '*' },
    ]);
  });

  test.each<[Partial<EventDBProps>, string[]]>([
    [{}, ['dynamodb:DescribeTable', 'dynamodb:Query']],
    [
      { tableLayout: TableLayout.BY_REVISION },
      ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable', 'dynamodb:Query'],
    ],
    [
      {
        tableLayout: TableLayout.BY_REVISION,
        omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME],
      },
      ['dynamodb:DescribeTable'],
    ],
  ])('reads the last events by their index with %o', (own, actions) => {
    const { about, table } = tail(own);

    expect(actionsOf(about('dynamodb'))).toEqual(actions);
    const query = about('dynamodb').find(({ Action: action }) => action === 'dynamodb:Query');
    expect(query === undefined).toBe(actions.length === 1);
    if (query !== undefined) {
      expect(query.Resource).toEqual({
        'Fn::Join': ['', [{ 'Fn::GetAtt': [table, 'Arn'] }, '/index/AllEventsByTime']],
      });
    }
  });

  test('includes the key, through DynamoDB only', () => {
    const { about } = tail({ hasKey: true });

    expect(actionsOf(about('kms'))).toEqual(['kms:Decrypt', 'kms:DescribeKey']);
    expect(text(about('kms'))).toContain('kms:ViaService');
    expect(about('kms')).toHaveLength(1);
  });
});

describe('grantReplay', () => {
  test('reads feed, table and subscriptions, and sends nowhere', () => {
    const { about, topic, table } = granted((eventDB, role) => eventDB.grantReplay(role));

    expect(about('sns')).toEqual([
      { Effect: 'Allow', Action: 'sns:ListSubscriptionsByTopic', Resource: { Ref: topic } },
      { Effect: 'Allow', Action: 'sns:GetSubscriptionAttributes', Resource: '*' },
    ]);
    expect(about('dynamodb')).toHaveLength(2);
    expect(about('dynamodb')).toContainEqual({
      Effect: 'Allow',
      Action: ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable', 'dynamodb:Query'],
      Resource: { 'Fn::GetAtt': [table, 'Arn'] },
    });
    expect(actionsOf(about('dynamodb'))).not.toContain('dynamodb:Scan');
    expect(about('sqs')).toEqual([]);
  });

  test('sends to the given queues only, with their keys', () => {
    const { about, stack } = granted((eventDB, role) => {
      const encryptionMasterKey = new Key(eventDB, 'QueueKey');
      const own = new Queue(eventDB, 'Own', { encryptionMasterKey });
      eventDB.grantReplay(role, [own, Queue.fromQueueArn(eventDB, 'Other', QUEUE_ARN)]);
    });

    const [send, ...others] = about('sqs');
    expect(others).toEqual([]);
    expect(send?.Action).toEqual(['sqs:GetQueueAttributes', 'sqs:GetQueueUrl', 'sqs:SendMessage']);
    expect(send?.Resource).toHaveLength(2);
    expect(send?.Resource).toContain(QUEUE_ARN);
    const [use] = about('kms');
    expect(use?.Action).toEqual(['kms:Decrypt', 'kms:GenerateDataKey']);
    expect(text(stack.resolve(use?.Resource))).toContain('QueueKey');
    expect(text(use)).toContain('sqs.*.amazonaws.com');
  });

  test('fails without a feed', () => {
    const stack = testStack();
    const eventDB = new EventDB(stack, 'Events', props({ feed: false }));
    const role = new Role(stack, 'Operator', {
      assumedBy: new ServicePrincipal('ec2.amazonaws.com'),
    });

    expect(() => eventDB.grantReplay(role)).toThrow(
      'grantReplay: TestStack/Events has no feed to replay from; deploy it with feed: true',
    );
  });
});
