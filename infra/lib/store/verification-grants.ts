import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { Grant, IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { KEY_ACTIONS_FOR_READING, KEY_ACTIONS_FOR_WRITING } from './encryption-key';
import { indexArnsOf } from './existing-table';
import { grantToIdentity, keyPermission, type Permission } from './grants';
import type { GrantedTable } from './table-grants';
import { TableLayout } from './table-layout';

/** What verifying compares. */
export interface VerifiedTables {
  /** The table of events. */
  readonly events: GrantedTable;

  /** The feed, if there is one. */
  readonly feed: ITable | undefined;

  /** The key that encrypts the feed, if there is a customer managed one. */
  readonly feedKey: IKey | undefined;
}

/** What reading both tables needs, in every way in which they are compared. */
export function verifyPermissions(
  scope: Construct,
  { events, feed, feedKey }: VerifiedTables,
  keyActions: readonly string[] = KEY_ACTIONS_FOR_READING,
): Permission[] {
  const keys = [...new Set([feedKey, events.key])].filter((key) => key !== undefined);
  return [
    {
      actions: [
        // The heads of subjects.
        ...(events.schema.layout === TableLayout.BY_TIME
          ? ['dynamodb:BatchGetItem', 'dynamodb:GetItem']
          : []),
        'dynamodb:DescribeTable',
        'dynamodb:Query',
        'dynamodb:Scan',
      ],
      resources: [events.table.tableArn],
    },
    { actions: ['dynamodb:Query'], resources: indexArnsOf(events.table, events.schema) },
    {
      actions: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
      resources: feed === undefined ? [] : [feed.tableArn],
    },
    ...keys.map((key) => keyPermission(scope, key, keyActions, ['dynamodb'])),
  ];
}

/** `EventDB.grantVerify`. */
export function grantVerifyOf(
  scope: Construct,
  tables: VerifiedTables,
  grantee: IGrantable,
): Grant {
  assertFeed('grantVerify', scope, tables);
  return grantToIdentity('grantVerify', scope, grantee, verifyPermissions(scope, tables));
}

/** `EventDB.grantRepublish`. */
export function grantRepublishOf(
  scope: Construct,
  tables: VerifiedTables,
  grantee: IGrantable,
): Grant {
  const feed = assertFeed('grantRepublish', scope, tables);
  return grantToIdentity('grantRepublish', scope, grantee, [
    ...verifyPermissions(scope, tables, KEY_ACTIONS_FOR_WRITING),
    { actions: ['dynamodb:PutItem'], resources: [feed.tableArn] },
    // The rows that are passed to the publisher.
    { actions: ['dynamodb:GetItem'], resources: [tables.events.table.tableArn] },
  ]);
}

function assertFeed(grant: string, scope: Construct, { feed }: VerifiedTables): ITable {
  if (feed === undefined) {
    throw new Error(
      `${grant}: ${scope.node.path} has no feed to compare with; deploy it with feed: true`,
    );
  }
  return feed;
}
