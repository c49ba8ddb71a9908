import { Stack } from 'aws-cdk-lib';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { Grant, IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { KEY_ACTIONS_FOR_READING } from './encryption-key';
import { grantToIdentity, keyPermission, type Permission } from './grants';
import type { GrantedTable } from './table-grants';
import { OptionalIndex, TableLayout } from './table-layout';

/** The names of the queues that `eventdb tail --queue` makes for itself. */
const TEMPORARY_QUEUES = 'eventdb-tail-*';

/** What `eventdb replay` reads. */
export interface ReplayedTables {
  /** The table of events. */
  readonly events: GrantedTable;

  /** The feed, if there is one. */
  readonly feed: ITable | undefined;

  /** The key that encrypts the feed, if there is a customer managed one. */
  readonly feedKey: IKey | undefined;
}

/** `EventDB.grantTail`. */
export function grantTailOf(
  scope: Construct,
  { table, schema, key }: GrantedTable,
  topic: ITopic,
  grantee: IGrantable,
): Grant {
  const byTime = schema.globalSecondaryIndexes.find(
    ({ name }) => name === OptionalIndex.ALL_EVENTS_BY_TIME,
  );
  const queues = Stack.of(scope).formatArn({ service: 'sqs', resource: TEMPORARY_QUEUES });
  // By revision, the index has no data, so the events are then fetched in batches.
  const fetches = byTime !== undefined && schema.layout === TableLayout.BY_REVISION;
  return grantToIdentity('grantTail', scope, grantee, [
    {
      actions: [...(fetches ? ['dynamodb:BatchGetItem'] : []), 'dynamodb:DescribeTable'],
      resources: [table.tableArn],
    },
    ...(byTime === undefined
      ? []
      : [
          { actions: ['dynamodb:Query'], resources: [`${table.tableArn}/index/${byTime.name}`] },
          ...keyPermissions(scope, [key]),
        ]),
    {
      actions: [
        'sqs:CreateQueue',
        'sqs:DeleteMessage',
        'sqs:DeleteQueue',
        'sqs:GetQueueAttributes',
        'sqs:ReceiveMessage',
        'sqs:SetQueueAttributes',
      ],
      resources: [queues],
    },
    {
      actions: ['sns:Subscribe'],
      resources: [topic.topicArn],
      // Otherwise the events could be sent anywhere.
      conditions: {
        StringEquals: { 'sns:Protocol': 'sqs' },
        StringLike: { 'sns:Endpoint': queues },
      },
    },
    // It can't be limited to a topic:
    // https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsns.html
    { actions: ['sns:Unsubscribe'], resources: ['*'] },
  ]);
}

/** `EventDB.grantReplay`. */
export function grantReplayOf(
  scope: Construct,
  { events, feed, feedKey }: ReplayedTables,
  topic: ITopic,
  grantee: IGrantable,
  queues: readonly IQueue[],
): Grant {
  if (feed === undefined) {
    throw new Error(
      `grantReplay: ${scope.node.path} has no feed to replay from; deploy it with feed: true`,
    );
  }
  const keys = new Set(queues.map(({ encryptionMasterKey: key }) => key));
  const queueKeys = [...keys].filter((key) => key !== undefined);
  return grantToIdentity('grantReplay', scope, grantee, [
    { actions: ['dynamodb:GetItem', 'dynamodb:Query'], resources: [feed.tableArn] },
    {
      // Subjects that the feed doesn't list in their order are queried.
      actions: ['dynamodb:BatchGetItem', 'dynamodb:DescribeTable', 'dynamodb:Query'],
      resources: [events.table.tableArn],
    },
    ...keyPermissions(scope, [feedKey, events.key]),
    { actions: ['sns:ListSubscriptionsByTopic'], resources: [topic.topicArn] },
    // It can't be limited to a topic, either.
    { actions: ['sns:GetSubscriptionAttributes'], resources: ['*'] },
    ...(queues.length === 0
      ? []
      : [
          {
            actions: ['sqs:GetQueueAttributes', 'sqs:GetQueueUrl', 'sqs:SendMessage'],
            resources: queues.map(({ queueArn }) => queueArn),
          },
        ]),
    ...queueKeys.map((key) => ({
      actions: ['kms:Decrypt', 'kms:GenerateDataKey'],
      resources: [key.keyArn],
      // The queue may be in another region.
      conditions: { StringLike: { 'kms:ViaService': 'sqs.*.amazonaws.com' } },
    })),
  ]);
}

function keyPermissions(scope: Construct, keys: readonly (IKey | undefined)[]): Permission[] {
  return [...new Set(keys)]
    .filter((key) => key !== undefined)
    .map((key) => keyPermission(scope, key, KEY_ACTIONS_FOR_READING, ['dynamodb']));
}
