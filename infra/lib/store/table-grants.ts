import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { Grant, IGrantable } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { KEY_ACTIONS_FOR_READING, KEY_ACTIONS_FOR_WRITING } from './encryption-key';
import { indexArnsOf } from './existing-table';
import {
  grantByKeyPolicy,
  grantByTablePolicy,
  grantToIdentity,
  keyPermission,
  needsResourcePolicy,
  type Permission,
} from './grants';
import { schema } from './schema';
import { TableLayout, type TableSchema } from './table-layout';

/** A table of events, and the key that encrypts it. */
export interface GrantedTable {
  /** The table. */
  readonly table: ITable;

  /** What it is like. */
  readonly schema: TableSchema;

  /** The customer managed key that encrypts it, if there is one. */
  readonly key: IKey | undefined;
}

/** `EventDB.grantAppend`, for a store of this stack or another one. */
export function grantAppendTo(
  scope: Construct,
  { table, schema: { layout }, key }: GrantedTable,
  grantee: IGrantable,
): Grant {
  return grantToIdentity('grantAppend', scope, grantee, [
    {
      // GetItem is also what TransactGetItems needs, by which commands are looked up.
      actions: ['dynamodb:ConditionCheckItem', 'dynamodb:GetItem', 'dynamodb:Query'],
      resources: [table.tableArn],
    },
    ...PUT_PERMISSIONS[layout].map((permission) => ({
      ...permission,
      resources: [table.tableArn],
    })),
    ...keyPermissions(scope, key, KEY_ACTIONS_FOR_WRITING),
  ]);
}

/** How appending writes: docs/decisions/0014 and 0053. */
const PUT_PERMISSIONS: Readonly<Record<TableLayout, readonly Omit<Permission, 'resources'>[]>> = {
  [TableLayout.BY_TIME]: [
    {
      actions: ['dynamodb:PutItem'],
      conditions: {
        'ForAnyValue:StringEquals': { 'dynamodb:EnclosingOperation': ['TransactWriteItems'] },
      },
    },
    {
      actions: ['dynamodb:PutItem', 'dynamodb:UpdateItem'],
      conditions: {
        'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': [`${schema.itemPrefixes.head}*`] },
        // ForAllValues is also true if there are no values, so require some.
        Null: { 'dynamodb:LeadingKeys': 'false' },
      },
    },
  ],
  // Nothing in this table is ever updated. Most appends are a single PutItem, outside a transaction.
  [TableLayout.BY_REVISION]: [{ actions: ['dynamodb:PutItem'] }],
};

/**
 * How reading reads. By revision, the index of all events has no data, so the events are then
 * fetched in batches.
 */
const READ_ACTIONS: Readonly<Record<TableLayout, readonly string[]>> = {
  [TableLayout.BY_TIME]: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
  [TableLayout.BY_REVISION]: [
    'dynamodb:BatchGetItem',
    'dynamodb:DescribeTable',
    'dynamodb:GetItem',
    'dynamodb:Query',
  ],
};

/** `EventDB.grantRead`, for a store of this stack or another one. */
export function grantReadOf(
  scope: Construct,
  { table, schema, key }: GrantedTable,
  grantee: IGrantable,
): Grant {
  const actions = READ_ACTIONS[schema.layout];
  const permissions = keyPermissions(scope, key, KEY_ACTIONS_FOR_READING);
  if (needsResourcePolicy(scope, grantee)) {
    const grant = grantByTablePolicy('grantRead', table, grantee, actions);
    for (const permission of permissions) {
      if (key !== undefined) {
        grantByKeyPolicy('grantRead', scope, key, grantee, permission);
      }
    }
    return grant;
  }
  return grantToIdentity('grantRead', scope, grantee, [
    { actions, resources: [table.tableArn] },
    { actions: ['dynamodb:Query'], resources: indexArnsOf(table, schema) },
    ...permissions,
  ]);
}

function keyPermissions(
  scope: Construct,
  key: IKey | undefined,
  actions: readonly string[],
): Permission[] {
  return key === undefined ? [] : [keyPermission(scope, key, actions, ['dynamodb'])];
}
