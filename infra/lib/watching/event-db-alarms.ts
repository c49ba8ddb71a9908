import { Duration } from 'aws-cdk-lib';
import type { Alarm } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { EventDB } from '../store/event-db';
import { allowAlarms } from './alarm-topic';
import {
  type AlarmCondition,
  createAlarm,
  FAULT_PERIOD,
  onAnyFault,
  onLastingFault,
  onSilence,
  sumOf,
} from './alarms';
import { systemErrorMetrics, throttledWriteMetrics } from './event-db-metrics';

/** The alarms of an `EventDB`. */
export enum EventDBAlarm {
  /**
   * Nothing reads the table's stream, so nothing that is appended is published: the event source
   * mapping is disabled, deleted or in trouble, or may not read the stream or use the table's key.
   * After 24 hours events are gone from the stream. All other alarms stay silent then.
   */
  NOTHING_PUBLISHED = 'NothingPublished',

  /** Events wait in the stream for more than five minutes. */
  ITERATOR_AGE = 'IteratorAge',

  /** The publisher keeps failing as a whole: it crashes, times out or is misconfigured. */
  FUNCTION_ERRORS = 'FunctionErrors',

  /** The publisher keeps being throttled: the account's concurrency is used up. */
  FUNCTION_THROTTLES = 'FunctionThrottles',

  /**
   * The publisher keeps reporting records as failed. These count as no function error, for the
   * publisher answers properly, with the failed ones.
   */
  FAILED_RECORDS = 'FailedRecords',

  /** Lambda gave up on records: their retries or their time were used up. */
  DROPPED_RECORDS = 'DroppedRecords',

  /** Records have arrived in the failure bucket and wait there to be redriven. */
  FAILURE_DESTINATION = 'FailureDestination',

  /** Lambda could not write a record to the failure bucket: it is lost to the topic. */
  FAILURE_DESTINATION_UNREACHABLE = 'FailureDestinationUnreachable',

  /**
   * The failure bucket is not empty. S3 counts once a day: a reminder of what nobody has redriven,
   * which goes off a day or two after `FAILURE_DESTINATION` and stays until the bucket is empty.
   */
  FAILURE_BUCKET_NOT_EMPTY = 'FailureBucketNotEmpty',

  /**
   * SNS gave up on delivering a message to a subscriber: its queue is gone, or refuses. That
   * subscriber misses events.
   */
  FAILED_NOTIFICATIONS = 'FailedNotifications',

  /** DynamoDB keeps answering with errors of its own. */
  SYSTEM_ERRORS = 'SystemErrors',

  /** Writes to the table or to one of its indexes keep being throttled. */
  THROTTLED_WRITES = 'ThrottledWrites',
}

/**
 * The alarms that say something only of a store that publishes. With `publish: false` there are
 * none of them: nothing reads the table's changes, so they would be silent or wrong.
 */
export const ALARMS_OF_PUBLISHING: readonly EventDBAlarm[] = [
  EventDBAlarm.NOTHING_PUBLISHED,
  EventDBAlarm.ITERATOR_AGE,
  EventDBAlarm.FAILED_RECORDS,
  EventDBAlarm.DROPPED_RECORDS,
  EventDBAlarm.FAILURE_DESTINATION,
  EventDBAlarm.FAILURE_DESTINATION_UNREACHABLE,
];

/** Five minutes, in the milliseconds that Lambda measures the age in. */
const ITERATOR_AGE_THRESHOLD = Duration.minutes(5);

const CONDITIONS: Readonly<Record<EventDBAlarm, (eventDB: EventDB) => AlarmCondition>> = {
  // The sign of life is that Lambda polls the stream, which it does without pause, with or without
  // events, and reports each poll. Counting appends instead would take metrics of AWS/DynamoDB:
  // alarms on them ignore missing data whatever they are told, so they keep their last state; and
  // the writes counted there include heads, guards and snapshots, which are never published.
  // Counting invocations would take a redrive for a working stream. The cases: docs/operating.md.
  [EventDBAlarm.NOTHING_PUBLISHED]: (eventDB) =>
    onSilence(
      "Nothing reads the table's stream, so nothing is published. Look at the event source mapping of the publisher (its state and the result of its last processing): is it enabled, may the publisher's role read the stream and use the table's key? The stream forgets events after 24 hours.",
      eventDB.metricStreamPolls({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.ITERATOR_AGE]: (eventDB) => ({
    description:
      'Events wait in the stream for more than five minutes. A failing batch that is retried holds ' +
      'up its shard: see the logs of the publisher. The stream forgets after 24 hours.',
    metric: eventDB.metricIteratorAge({ period: Duration.minutes(1) }),
    threshold: ITERATOR_AGE_THRESHOLD.toMilliseconds(),
    evaluationPeriods: 5,
    datapointsToAlarm: 3,
  }),
  [EventDBAlarm.FUNCTION_ERRORS]: (eventDB) =>
    onLastingFault(
      'The publisher keeps failing as a whole: see its logs. Records are retried and end in the failure bucket.',
      eventDB.publisher.metricErrors({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FUNCTION_THROTTLES]: (eventDB) =>
    onLastingFault(
      "The publisher keeps being throttled: the account's concurrency is used up by other functions.",
      eventDB.publisher.metricThrottles({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILED_RECORDS]: (eventDB) =>
    onLastingFault(
      'The publisher keeps reporting records as failed: its logs name them and the cause.',
      eventDB.metricFailedRecords({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.DROPPED_RECORDS]: (eventDB) =>
    onAnyFault(
      'Lambda gave up on records, after all retries or for their age. They are in the failure bucket: repair the cause, then redrive them.',
      eventDB.metricDroppedRecords({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_DESTINATION]: (eventDB) =>
    onAnyFault(
      'Records have arrived in the failure bucket. Subscribers miss these events until they are redriven.',
      eventDB.metricFailureDestinationRecords({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_DESTINATION_UNREACHABLE]: (eventDB) =>
    onAnyFault(
      'Lambda could not write to the failure bucket: see its policy, its key and the role of the publisher. The events are in the table, but nothing will publish them.',
      eventDB.metricFailureDestinationErrors({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_BUCKET_NOT_EMPTY]: (eventDB) => ({
    description:
      'The failure bucket is not empty: subscribers miss the events in it. Repair the cause, then redrive them. S3 counts once a day.',
    metric: eventDB.metricFailureBucketObjects(),
    threshold: 1,
    // A day's count may come a day late.
    evaluationPeriods: 2,
    datapointsToAlarm: 1,
  }),
  [EventDBAlarm.FAILED_NOTIFICATIONS]: (eventDB) =>
    onAnyFault(
      "SNS gave up on delivering messages to a subscriber, which misses these events: see that the subscriber's queue exists, that its policy lets the topic send, and that the policy of its key lets SNS use it. What was lost is in the table.",
      eventDB.metricFailedNotifications({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.SYSTEM_ERRORS]: (eventDB) =>
    onLastingFault(
      'DynamoDB keeps answering with errors of its own (HTTP 500): see the AWS Health Dashboard.',
      sumOf(
        'System errors',
        systemErrorMetrics(eventDB.table, { period: FAULT_PERIOD }),
        FAULT_PERIOD,
      ),
    ),
  [EventDBAlarm.THROTTLED_WRITES]: (eventDB) =>
    onLastingFault(
      'Writes to the table or one of its indexes keep being throttled: a partition takes 1,000 write units a second, and all events share one in AllEventsByTime.',
      sumOf(
        'Throttled writes',
        throttledWriteMetrics(eventDB.table, { period: FAULT_PERIOD }),
        FAULT_PERIOD,
      ),
    ),
};

/**
 * Creates the alarms.
 *
 * @param eventDB what is watched; the alarms become children of it, below `Alarms`
 * @param wanted which alarms
 * @param alarmTopic who is told, if anybody
 */
export function createEventDBAlarms(
  eventDB: EventDB,
  wanted: readonly EventDBAlarm[],
  alarmTopic: ITopic | undefined,
): ReadonlyMap<EventDBAlarm, Alarm> {
  if (wanted.length === 0) {
    return new Map();
  }
  if (alarmTopic !== undefined) {
    allowAlarms(eventDB, alarmTopic);
  }
  const scope = new Construct(eventDB, 'Alarms');
  return new Map(
    wanted.map((name) => [name, createAlarm(scope, name, CONDITIONS[name](eventDB), alarmTopic)]),
  );
}
