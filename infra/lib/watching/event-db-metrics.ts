import type { Duration } from 'aws-cdk-lib';
import { type IMetric, Metric, type MetricOptions, Stats } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { IEventSourceMapping, IFunction } from 'aws-cdk-lib/aws-lambda';
import type { EventDB } from '../store/event-db';
import { schema } from '../store/schema';
import { TableLayout } from '../store/table-layout';
import { sumOf } from './alarms';

/**
 * The DynamoDB operations that the store uses for appends, reads, snapshots and verifications, and for
 * erasing and repairs: `UpdateItem` and `DeleteItem`. By time, the heads of legacy subjects need
 * `UpdateItem` as well.
 */
const OPERATIONS: Readonly<Record<TableLayout, readonly string[]>> = {
  [TableLayout.BY_TIME]: [
    'TransactWriteItems',
    'GetItem',
    'TransactGetItems',
    'Query',
    'BatchGetItem',
    'Scan',
    'PutItem',
    'UpdateItem',
    'DeleteItem',
  ],
  [TableLayout.BY_REVISION]: [
    'PutItem',
    'TransactWriteItems',
    'GetItem',
    'TransactGetItems',
    'Query',
    'BatchGetItem',
    'Scan',
    'UpdateItem',
    'DeleteItem',
  ],
};

/**
 * A metric that the publisher writes.
 *
 * @param publisher the publisher function
 * @param metricName the name, from `eventdb/schema.json`
 * @param options statistic, period and so on
 */
export function publisherMetric(
  publisher: IFunction,
  metricName: string,
  options: MetricOptions,
): Metric {
  return new Metric({
    namespace: schema.metrics.namespace,
    metricName,
    dimensionsMap: { [schema.metrics.functionNameDimension]: publisher.functionName },
    ...options,
  });
}

/**
 * A metric of the event source mapping, counted by Lambda.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/monitoring-metrics-types.html
 */
export function mappingMetric(
  mapping: IEventSourceMapping | undefined,
  metricName: string,
  options: MetricOptions,
): Metric {
  if (mapping === undefined) {
    throw new Error(
      `There is no metric ${metricName}: with publish: false nothing reads the table's stream`,
    );
  }
  return new Metric({
    namespace: 'AWS/Lambda',
    metricName,
    dimensionsMap: { EventSourceMappingUUID: mapping.eventSourceMappingId },
    statistic: Stats.SUM,
    ...options,
  });
}

/**
 * The number of accepted appends. DynamoDB doesn't count them, but reports a latency for each. By
 * revision, the single puts include those of snapshots.
 */
export function appendMetrics(eventDB: EventDB, options: MetricOptions): Metric[] {
  const accepted = (operation: string, label: string) =>
    operationMetric(eventDB, operation, 'SuccessfulRequestLatency', {
      statistic: Stats.SAMPLE_COUNT,
      label,
      ...options,
    });
  return [
    accepted('TransactWriteItems', 'accepted transactions'),
    ...(eventDB.tableLayout === TableLayout.BY_REVISION
      ? [accepted('PutItem', 'accepted single puts')]
      : []),
  ];
}

/** Internal errors of DynamoDB (HTTP 500), for each operation that the store uses. */
export function systemErrorMetrics(eventDB: EventDB, options: MetricOptions): Metric[] {
  return OPERATIONS[eventDB.tableLayout].map((operation) =>
    operationMetric(eventDB, operation, 'SystemErrors', { statistic: Stats.SUM, ...options }),
  );
}

/**
 * Throttled writes of the table and of each global index. A throttled index also throttles the
 * table. A local index shares the throughput of the table.
 */
export function throttledWriteMetrics(eventDB: EventDB, options: MetricOptions): Metric[] {
  return tableAndIndexMetrics(eventDB, 'WriteThrottleEvents', options);
}

/** A metric of the table and of each global index. */
export function tableAndIndexMetrics(
  { table, globalIndexNames }: EventDB,
  metricName: string,
  options: MetricOptions,
): Metric[] {
  const metric = (label: string, dimensions: Record<string, string>) =>
    new Metric({
      namespace: 'AWS/DynamoDB',
      metricName,
      label,
      dimensionsMap: { TableName: table.tableName, ...dimensions },
      statistic: Stats.SUM,
      ...options,
    });
  return [
    metric('table', {}),
    ...globalIndexNames.map((name) => metric(name, { GlobalSecondaryIndexName: name })),
  ];
}

/** The operations on the feed: of the publisher, and of those who follow and verify. */
const FEED_OPERATIONS = ['PutItem', 'Query', 'GetItem'] as const;

/** What the requests to the feed's table consume, in units. */
export function feedCapacityMetrics(feed: ITable, options: MetricOptions): IMetric[] {
  return [
    feed.metricConsumedWriteCapacityUnits({ label: 'write', ...options }),
    feed.metricConsumedReadCapacityUnits({ label: 'read', ...options }),
  ];
}

/** Throttled requests to the feed's table, and internal errors of DynamoDB (HTTP 500). */
export function feedFaultMetrics(feed: ITable, period: Duration): IMetric[] {
  const throttled = (metricName: string, label: string) =>
    feed.metric(metricName, { label, statistic: Stats.SUM, period });
  const errors = FEED_OPERATIONS.map((operation) =>
    operationMetric({ table: feed }, operation, 'SystemErrors', { statistic: Stats.SUM, period }),
  );
  return [
    throttled('WriteThrottleEvents', 'throttled writes'),
    throttled('ReadThrottleEvents', 'throttled reads'),
    sumOf('internal errors', errors, period),
  ];
}

function operationMetric(
  { table }: { readonly table: ITable },
  operation: string,
  metricName: string,
  options: MetricOptions,
): Metric {
  return new Metric({
    namespace: 'AWS/DynamoDB',
    metricName,
    dimensionsMap: { TableName: table.tableName, Operation: operation },
    label: operation,
    ...options,
  });
}
