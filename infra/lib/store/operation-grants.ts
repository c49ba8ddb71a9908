import type { Grant, IGrantable } from 'aws-cdk-lib/aws-iam';
import type { Construct } from 'constructs';
import { KEY_ACTIONS_FOR_READING, KEY_ACTIONS_FOR_WRITING } from './encryption-key';
import { indexArnsOf } from './existing-table';
import { grantToIdentity, keyPermission, type Permission } from './grants';
import { schema } from './schema';
import { TableLayout } from './table-layout';
import type { VerifiedTables } from './verification-grants';

/** What operators do with the operators' tool, and that services don't. */
export type Operation = 'Export' | 'Import' | 'Examine' | 'Repair' | 'Erase' | 'Explore';

/** What an operation needs. */
interface Needs {
  /** On the table of events. */
  readonly events: readonly string[];

  /** On the table of events, only in a table by time. */
  readonly eventsByTime?: readonly string[];

  /** On the table of events, only in a table by revision. */
  readonly eventsByRevision?: readonly string[];

  /** On the feed. */
  readonly feed?: readonly string[];

  /** Whether it reads the indexes. */
  readonly readsIndexes?: boolean;

  /** Deletes items, but none of an event. */
  readonly deletesSnapshots?: boolean;

  /** Whether it only reads. */
  readonly onlyReads?: boolean;
}

const EXAMINING = [
  'dynamodb:BatchGetItem',
  'dynamodb:DescribeContinuousBackups',
  'dynamodb:DescribeTable',
  'dynamodb:GetItem',
  'dynamodb:Query',
  'dynamodb:Scan',
] as const;

const NEEDS: Readonly<Record<Operation, Needs>> = {
  Export: {
    events: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Scan'],
    // The subjects that the original library has begun.
    eventsByTime: ['dynamodb:Query'],
    onlyReads: true,
  },
  Import: {
    events: [
      'dynamodb:BatchGetItem',
      'dynamodb:DescribeTable',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
    ],
    // The heads of subjects.
    eventsByTime: ['dynamodb:Query', 'dynamodb:UpdateItem'],
    // Where publication is off, what is imported is listed as adopted.
    feed: ['dynamodb:GetItem', 'dynamodb:PutItem', 'dynamodb:Query'],
  },
  Examine: {
    events: EXAMINING,
    feed: ['dynamodb:GetItem', 'dynamodb:Query'],
    onlyReads: true,
  },
  Repair: {
    events: EXAMINING,
    // The heads of subjects.
    eventsByTime: ['dynamodb:PutItem', 'dynamodb:UpdateItem'],
    feed: ['dynamodb:GetItem', 'dynamodb:Query'],
    deletesSnapshots: true,
  },
  Erase: {
    events: ['dynamodb:DescribeTable', 'dynamodb:Query', 'dynamodb:UpdateItem'],
    eventsByRevision: ['dynamodb:GetItem'],
    deletesSnapshots: true,
  },
  Explore: {
    events: ['dynamodb:DescribeTable', 'dynamodb:GetItem', 'dynamodb:Query'],
    // The index of all events has no data.
    eventsByRevision: ['dynamodb:BatchGetItem'],
    readsIndexes: true,
    feed: ['dynamodb:GetItem', 'dynamodb:Query'],
    onlyReads: true,
  },
};

/**
 * `EventDB.grantExport`, `grantImport`, `grantExamine`, `grantRepair` and `grantErase`, and what
 * `grantExplore` gives on the tables.
 */
export function grantOperationOf(
  operation: Operation,
  scope: Construct,
  { events, feed, feedKey }: VerifiedTables,
  grantee: IGrantable,
): Grant {
  const needs = NEEDS[operation];
  const { layout } = events.schema;
  const isByTime = layout === TableLayout.BY_TIME;
  const usesFeed = needs.feed !== undefined && feed !== undefined;
  const keys = new Set([events.key, usesFeed ? feedKey : undefined]);
  const keyActions = needs.onlyReads === true ? KEY_ACTIONS_FOR_READING : KEY_ACTIONS_FOR_WRITING;
  const snapshots = isByTime ? schema.itemPrefixes.head : schema.itemPrefixes.snapshot;
  const permissions: Permission[] = [
    {
      actions: [
        ...needs.events,
        ...((isByTime ? needs.eventsByTime : needs.eventsByRevision) ?? []),
      ],
      resources: [events.table.tableArn],
    },
  ];
  if (needs.readsIndexes === true) {
    const resources = indexArnsOf(events.table, events.schema);
    permissions.push({ actions: ['dynamodb:Query'], resources });
  }
  if (needs.deletesSnapshots === true) {
    permissions.push({
      actions: ['dynamodb:DeleteItem'],
      resources: [events.table.tableArn],
      conditions: {
        'ForAllValues:StringLike': { 'dynamodb:LeadingKeys': [`${snapshots}*`] },
        // ForAllValues is also true if there are no values, so require some.
        Null: { 'dynamodb:LeadingKeys': 'false' },
      },
    });
  }
  if (usesFeed) {
    permissions.push({ actions: needs.feed ?? [], resources: [feed.tableArn] });
  }
  for (const key of keys) {
    if (key !== undefined) {
      permissions.push(keyPermission(scope, key, keyActions, ['dynamodb']));
    }
  }
  return grantToIdentity(`grant${operation}`, scope, grantee, permissions);
}
