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

/** A table of events, and the key that encrypts it. */
export interface GrantedTable {
  /** The table. */
  readonly table: ITable;

  /** The customer managed key that encrypts it, if there is one. */
  readonly key: IKey | undefined;
}

/** `EventDB.grantAppend`, for a store of this stack or another one. */
export function grantAppendTo(
  scope: Construct,
  { table, key }: GrantedTable,
  grantee: IGrantable,
): Grant {
  return grantToIdentity('grantAppend', scope, grantee, [
    {
      actions: ['dynamodb:ConditionCheckItem', 'dynamodb:GetItem', 'dynamodb:Query'],
      resources: [table.tableArn],
    },
    {
      actions: ['dynamodb:PutItem'],
      resources: [table.tableArn],
      conditions: {
        'ForAnyValue:StringEquals': { 'dynamodb:EnclosingOperation': ['TransactWriteItems'] },
      },
    },
    {
      actions: ['dynamodb:PutItem', 'dynamodb:UpdateItem'],
      resources: [table.tableArn],
      conditions: {
        'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': [`${schema.itemPrefixes.head}*`] },
        // ForAllValues is also true if there are no values, so require some.
        Null: { 'dynamodb:LeadingKeys': 'false' },
      },
    },
    ...keyPermissions(scope, key, KEY_ACTIONS_FOR_WRITING),
  ]);
}

/** `EventDB.grantRead`, for a store of this stack or another one. */
export function grantReadOf(
  scope: Construct,
  { table, key }: GrantedTable,
  grantee: IGrantable,
): Grant {
  const actions = ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'];
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
    { actions: ['dynamodb:Query'], resources: indexArnsOf(table) },
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
