import { Metric, type MetricOptions, Stats } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { IEventSourceMapping, IFunction } from 'aws-cdk-lib/aws-lambda';
import { schema } from '../store/schema';

/**
 * The DynamoDB operations that the store uses: appends, reads, the heads of legacy subjects and
 * snapshots.
 */
const OPERATIONS = ['TransactWriteItems', 'GetItem', 'Query', 'PutItem', 'UpdateItem'] as const;

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
 * The number of accepted transactions. DynamoDB doesn't count them, but reports a latency for each.
 */
export function appendsMetric(table: ITable, options: MetricOptions): Metric {
  return operationMetric(table, 'TransactWriteItems', 'SuccessfulRequestLatency', {
    statistic: Stats.SAMPLE_COUNT,
    ...options,
  });
}

/** Internal errors of DynamoDB (HTTP 500), for each operation that the store uses. */
export function systemErrorMetrics(table: ITable, options: MetricOptions): Metric[] {
  return OPERATIONS.map((operation) =>
    operationMetric(table, operation, 'SystemErrors', { statistic: Stats.SUM, ...options }),
  );
}

/**
 * Throttled writes of the table and of each global index. A throttled index also throttles the
 * table. A local index shares the throughput of the table.
 */
export function throttledWriteMetrics(table: ITable, options: MetricOptions): Metric[] {
  return tableAndIndexMetrics(table, 'WriteThrottleEvents', options);
}

/** A metric of the table and of each global index. */
export function tableAndIndexMetrics(
  table: ITable,
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
    ...schema.tables.byTime.globalSecondaryIndexes.map((index) =>
      metric(index.name, { GlobalSecondaryIndexName: index.name }),
    ),
  ];
}

function operationMetric(
  table: ITable,
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
