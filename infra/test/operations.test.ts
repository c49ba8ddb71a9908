import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duration } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';
import schema from '../../eventdb/schema.json';
import {
  EventDB,
  EventDBAlarm,
  type EventDBProps,
  EventSubscription,
  OptionalIndex,
  TableLayout,
} from '../lib';
import { only, props, synthesize, testStack } from './support';

/** The operations that the store uses, by the layout of its table. */
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

/** An alarm of the template with all alarms. */
function alarm(name: EventDBAlarm, own: Partial<EventDBProps> = {}) {
  const { template } = synthesize({ alarms: Object.values(EventDBAlarm), ...own });
  return {
    template,
    properties: only(template, 'AWS::CloudWatch::Alarm', `Alarms${name}$`).Properties,
    publisher: only(template, 'AWS::Lambda::Function', 'PublisherFunction').id,
    mapping: only(template, 'AWS::Lambda::EventSourceMapping').id,
    table: only(template, 'AWS::DynamoDB::Table', 'Table$').id,
  };
}

describe('the alarms', () => {
  test.each([
    [EventDBAlarm.FUNCTION_ERRORS, 'Errors'],
    [EventDBAlarm.FUNCTION_THROTTLES, 'Throttles'],
    [EventDBAlarm.FAILURE_DESTINATION_UNREACHABLE, 'DestinationDeliveryFailures'],
  ])('%s watches %s of the publisher', (name, metric) => {
    const { properties, publisher } = alarm(name);

    expect(properties).toMatchObject({
      Namespace: 'AWS/Lambda',
      MetricName: metric,
      Dimensions: [{ Name: 'FunctionName', Value: { Ref: publisher } }],
      Statistic: 'Sum',
      Threshold: 1,
    });
  });

  test.each([
    [EventDBAlarm.DROPPED_RECORDS, 'DroppedEventCount'],
    [EventDBAlarm.FAILURE_DESTINATION, 'OnFailureDestinationDeliveredEventCount'],
  ])('%s watches %s of the mapping, and goes off at the first', (name, metric) => {
    const { properties, mapping } = alarm(name);

    expect(properties).toMatchObject({
      Namespace: 'AWS/Lambda',
      MetricName: metric,
      Dimensions: [{ Name: 'EventSourceMappingUUID', Value: { Ref: mapping } }],
      Statistic: 'Sum',
      Threshold: 1,
      EvaluationPeriods: 1,
      DatapointsToAlarm: 1,
    });
  });

  test('IteratorAge goes off when events wait for five minutes', () => {
    const { properties } = alarm(EventDBAlarm.ITERATOR_AGE);

    expect(properties).toMatchObject({
      Namespace: 'AWS/Lambda',
      MetricName: 'IteratorAge',
      Statistic: 'Maximum',
      Threshold: 5 * 60 * 1000,
    });
  });

  test('FailedRecords watches the metric of the publisher, not the errors of the function', () => {
    const { properties, publisher } = alarm(EventDBAlarm.FAILED_RECORDS);

    expect(properties).toMatchObject({
      Namespace: schema.metrics.namespace,
      MetricName: schema.metrics.failedRecords,
      Dimensions: [{ Name: schema.metrics.functionNameDimension, Value: { Ref: publisher } }],
      Statistic: 'Sum',
    });
  });

  test('every operation that the crate sends is watched', () => {
    const source = ['table.rs', 'table/scan.rs']
      .map((file) => readFileSync(join(__dirname, '../../eventdb/src/store', file), 'utf8'))
      .join('\n');
    const used = [...source.matchAll(/send!\(\$?\w+, "(\w+)"/g)].map(([, operation]) => operation);
    expect(used.length).toBeGreaterThan(4);
    expect(Object.values(OPERATIONS).flat()).toEqual(expect.arrayContaining(used));
  });

  test.each(Object.values(TableLayout))('SystemErrors watches all operations %s', (tableLayout) => {
    const { properties, table } = alarm(EventDBAlarm.SYSTEM_ERRORS, { tableLayout });

    const watched = properties.Metrics.filter(
      (metric: { MetricStat?: unknown }) => metric.MetricStat,
    );
    expect(watched.map((metric: { MetricStat: unknown }) => metric.MetricStat)).toEqual(
      OPERATIONS[tableLayout].map((operation) =>
        expect.objectContaining({
          Metric: {
            Namespace: 'AWS/DynamoDB',
            MetricName: 'SystemErrors',
            Dimensions: [
              { Name: 'Operation', Value: operation },
              { Name: 'TableName', Value: { Ref: table } },
            ],
          },
          Stat: 'Sum',
        }),
      ),
    );
    const terms = OPERATIONS[tableLayout].map((_, position) => `m${position}`);
    expect(properties.Metrics[0].Expression).toBe(`SUM([${terms.join(', ')}])`);
  });

  test.each<[Partial<EventDBProps>, string[], string]>([
    [
      {},
      ['AllEventsByTime', 'AllEventsById', 'AllSubjects'],
      'all events share one in AllEventsByTime.',
    ],
    [
      { tableLayout: TableLayout.BY_REVISION },
      ['AllEventsByTime', 'AllEventsById', 'AllSubjects'],
      'the events of a subject share one in the table, and all events share 16 in AllEventsByTime.',
    ],
    [
      {
        tableLayout: TableLayout.BY_REVISION,
        omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME],
      },
      ['AllEventsById', 'AllSubjects'],
      'the events of a subject share one in the table.',
    ],
  ])('ThrottledWrites watches the table and its global indexes with %o', (own, names, cause) => {
    const { properties } = alarm(EventDBAlarm.THROTTLED_WRITES, own);

    const indexes = properties.Metrics.flatMap(
      (metric: { MetricStat?: { Metric: { Dimensions: { Name: string; Value: unknown }[] } } }) =>
        metric.MetricStat === undefined
          ? []
          : [
              metric.MetricStat.Metric.Dimensions.find(
                ({ Name: name }) => name === 'GlobalSecondaryIndexName',
              )?.Value ?? 'the table',
            ],
    );
    expect(indexes).toEqual(['the table', ...names]);
    expect(properties.AlarmDescription).toContain(cause);
  });

  test('only the sign of life takes missing data for a fault; elsewhere it is no traffic', () => {
    const { template } = alarm(EventDBAlarm.ITERATOR_AGE);

    for (const [id, { Properties: properties }] of Object.entries(
      template.findResources('AWS::CloudWatch::Alarm'),
    )) {
      expect(properties.TreatMissingData, id).toBe(
        id.includes('NothingPublished') ? 'breaching' : 'notBreaching',
      );
    }
  });

  test('each says to whom it may concern what to do', () => {
    const { template } = alarm(EventDBAlarm.ITERATOR_AGE, { verification: Duration.hours(1) });

    const descriptions = Object.values(template.findResources('AWS::CloudWatch::Alarm')).map(
      (resource) => resource['Properties'].AlarmDescription,
    );
    expect(descriptions.every((text) => typeof text === 'string' && text.length > 40)).toBe(true);
    expect(new Set(descriptions).size).toBe(Object.values(EventDBAlarm).length);
  });

  test('each can be had alone, and all can be off in production', () => {
    const one = synthesize({ alarms: [EventDBAlarm.DROPPED_RECORDS] });
    one.template.resourceCountIs('AWS::CloudWatch::Alarm', 1);
    expect([...one.eventDB.alarms.keys()]).toEqual([EventDBAlarm.DROPPED_RECORDS]);

    const none = synthesize({ isProdEnv: true, alarms: [] });
    none.template.resourceCountIs('AWS::CloudWatch::Alarm', 0);
  });

  test('fails if an alarm is wanted twice', () => {
    expect(() =>
      synthesize({ alarms: [EventDBAlarm.ITERATOR_AGE, EventDBAlarm.ITERATOR_AGE] }),
    ).toThrow("alarms: 'IteratorAge' is there more than once");
  });

  test('all tell the topic that is given when they come and go, and nobody without one', () => {
    // GIVEN
    const stack = testStack();
    const alarmTopic = new Topic(stack, 'Operators');

    // WHEN
    new EventDB(stack, 'Events', props({ isProdEnv: true, alarmTopic }));

    // THEN
    const action = [stack.resolve(alarmTopic.topicArn)];
    Template.fromStack(stack).allResourcesProperties('AWS::CloudWatch::Alarm', {
      AlarmActions: action,
      OKActions: action,
    });
    const silent = synthesize({ isProdEnv: true }).template;
    for (const resource of Object.values(silent.findResources('AWS::CloudWatch::Alarm'))) {
      expect(resource['Properties'].AlarmActions).toBeUndefined();
    }
  });
});

describe('the dashboard', () => {
  /** The dashboard's body; references to resources are left out. */
  function body(template: Template): string {
    const parts = only(template, 'AWS::CloudWatch::Dashboard').Properties.DashboardBody[
      'Fn::Join'
    ][1];
    return parts.filter((part: unknown) => typeof part === 'string').join('');
  }

  test('shows appends, capacity, publish lag, and what was published and failed', () => {
    const text = body(synthesize({ dashboard: true }).template);

    for (const metric of [
      'SuccessfulRequestLatency',
      'ConsumedWriteCapacityUnits',
      'ConsumedReadCapacityUnits',
      'WriteThrottleEvents',
      schema.metrics.publishLag,
      'IteratorAge',
      schema.metrics.publishedEvents,
      schema.metrics.skippedRecords,
      schema.metrics.failedRecords,
      'OnFailureDestinationDeliveredEventCount',
      'DestinationDeliveryFailures',
      'NumberOfNotificationsFailed',
    ]) {
      expect(text).toContain(`"${metric}"`);
    }
  });

  test.each<[Partial<EventDBProps>, string[], number]>([
    [{}, ['AllEventsByTime', 'AllEventsById', 'AllSubjects'], 0],
    [
      { tableLayout: TableLayout.BY_REVISION },
      ['AllEventsByTime', 'AllEventsById', 'AllSubjects'],
      1,
    ],
    [
      { tableLayout: TableLayout.BY_REVISION, omitIndexes: Object.values(OptionalIndex) },
      ['AllSubjects'],
      1,
    ],
  ])('follows the layout and the indexes of the table with %o', (own, names, singlePuts) => {
    // The feed's table has such metrics, too.
    const text = body(synthesize({ ...own, feed: false, dashboard: true }).template);

    const shown = text.matchAll(/"GlobalSecondaryIndexName","(\w+)"/g);
    expect([...new Set([...shown].map(([, name]) => name))]).toEqual(names);
    expect(text.match(/"PutItem"/g) ?? []).toHaveLength(singlePuts);
    expect(text).toContain('"TransactWriteItems"');
  });

  test.each<[string, Partial<EventDBProps>, number, number]>([
    ['feed and verification', { verification: Duration.hours(1) }, 1, 1],
    ['the feed alone', {}, 1, 0],
    ['neither without them', { feed: false }, 0, 0],
  ])('shows %s', (_, own, ofFeed, ofVerification) => {
    const { template, stack, eventDB } = synthesize({ ...own, dashboard: true });
    const text = body(template);

    // Each metric is shown as often as this.
    const shown = (metric: string) => text.split(`"${metric}"`).length - 1;
    const { metrics } = schema;
    for (const [metric, count] of [
      [metrics.unlistedEvents, ofFeed],
      ['ReadThrottleEvents', ofFeed],
      ['SystemErrors', 3 * ofFeed],
      [metrics.unpublishedEvents, ofVerification],
      [metrics.oldestVerification, ofVerification],
    ] as const) {
      expect([metric, shown(metric)]).toEqual([metric, count]);
    }
    // Units written and read, throttled requests of both kinds, and errors of three operations.
    const feed = JSON.stringify(stack.resolve(eventDB.feed?.tableName) ?? 'none');
    const dashboard = JSON.stringify(only(template, 'AWS::CloudWatch::Dashboard').Properties);
    expect(dashboard.split(feed).length - 1).toBe((2 + 2 + 3) * ofFeed);
  });

  test("shows the depth of a subscriber's queues when told to", () => {
    // GIVEN
    const stack = testStack();
    const eventDB = new EventDB(stack, 'Events', props({ dashboard: true }));
    const { queue, deadLetterQueue } = new EventSubscription(stack, 'Loans', {
      topic: eventDB.topic,
    });

    // WHEN
    eventDB.addQueueToDashboard('Loans', queue, deadLetterQueue);

    // THEN
    const text = body(Template.fromStack(stack));
    expect(text.match(/"ApproximateNumberOfMessagesVisible"/g)).toHaveLength(2);
    expect(text).toContain('"ApproximateAgeOfOldestMessage"');
    expect(text).toContain('"title":"Loans"');
  });

  test('can be on outside production, and off in production', () => {
    synthesize({ dashboard: true }).template.resourceCountIs('AWS::CloudWatch::Dashboard', 1);
    synthesize({ isProdEnv: true, dashboard: false }).template.resourceCountIs(
      'AWS::CloudWatch::Dashboard',
      0,
    );
  });

  test('takes no queue, and no harm, where there is none', () => {
    const { eventDB } = synthesize({ dashboard: false });
    const { queue } = new EventSubscription(eventDB, 'Loans', { topic: eventDB.topic });

    expect(() => eventDB.addQueueToDashboard('Loans', queue)).not.toThrow();
  });
});

describe('the metrics', () => {
  const { eventDB, stack } = synthesize();

  test.each([
    ['metricPublishedEvents', schema.metrics.publishedEvents, 'Sum'],
    ['metricSkippedRecords', schema.metrics.skippedRecords, 'Sum'],
    ['metricFailedRecords', schema.metrics.failedRecords, 'Sum'],
    ['metricPublishLag', schema.metrics.publishLag, 'p99'],
  ] as const)('%s is what the publisher writes as %s', (method, name, statistic) => {
    const metric = eventDB[method]();

    expect(metric.namespace).toBe(schema.metrics.namespace);
    expect(metric.metricName).toBe(name);
    expect(metric.statistic).toBe(statistic);
    expect(stack.resolve(metric.dimensions)).toEqual({
      [schema.metrics.functionNameDimension]: { Ref: expect.stringContaining('Publisher') },
    });
  });

  test('options are passed on', () => {
    expect(eventDB.metricPublishLag({ statistic: 'p50', label: 'median' })).toMatchObject({
      statistic: 'p50',
      label: 'median',
    });
  });
});
