import { Duration } from 'aws-cdk-lib';
import type { Alarm } from 'aws-cdk-lib/aws-cloudwatch';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { EventDB } from '../store/event-db';
import { OptionalIndex, TableLayout } from '../store/table-layout';
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
   * Nothing reads the table's stream, so appended events aren't published: the event source mapping
   * is disabled, deleted or failing, or has no permission to read the stream or use the table's key.
   * The stream drops events after 24 hours. No other alarm detects this.
   */
  NOTHING_PUBLISHED = 'NothingPublished',

  /** Events wait in the stream for more than five minutes. */
  ITERATOR_AGE = 'IteratorAge',

  /** The publisher keeps failing as a whole: it crashes, times out or is misconfigured. */
  FUNCTION_ERRORS = 'FunctionErrors',

  /** The publisher keeps being throttled: the account's concurrency is used up. */
  FUNCTION_THROTTLES = 'FunctionThrottles',

  /**
   * The publisher keeps reporting records as failed. They don't count as function errors, because
   * the publisher returns a valid answer that lists them.
   */
  FAILED_RECORDS = 'FailedRecords',

  /** Lambda gave up on records after the last retry or because of their age. */
  DROPPED_RECORDS = 'DroppedRecords',

  /** Records have arrived in the failure bucket and must be redriven. */
  FAILURE_DESTINATION = 'FailureDestination',

  /** Lambda couldn't write a record to the failure bucket, so its event will never be published. */
  FAILURE_DESTINATION_UNREACHABLE = 'FailureDestinationUnreachable',

  /**
   * The failure bucket isn't empty: a reminder of records that nobody has redriven. S3 counts objects
   * once a day, so it goes off a day or two after `FAILURE_DESTINATION`, and stays on until the
   * bucket is empty.
   */
  FAILURE_BUCKET_NOT_EMPTY = 'FailureBucketNotEmpty',

  /**
   * SNS gave up on delivering a message to a subscriber, whose queue was deleted or refuses
   * messages. That subscriber misses events.
   */
  FAILED_NOTIFICATIONS = 'FailedNotifications',

  /**
   * The publisher keeps failing to list published events in the feed. Their records are delivered
   * again, so the shard waits, and finally go to the failure bucket. There is none without a feed.
   */
  UNLISTED_EVENTS = 'UnlistedEvents',

  /**
   * A verification has found stored events that were not published, or rows that never can be. It
   * exists only with `verification`.
   */
  UNPUBLISHED_EVENTS = 'UnpublishedEvents',

  /**
   * The verification keeps failing, so a lost event would stay unnoticed. It exists only with
   * `verification`.
   */
  VERIFICATION_ERRORS = 'VerificationErrors',

  /** DynamoDB keeps returning internal errors. */
  SYSTEM_ERRORS = 'SystemErrors',

  /** Writes to the table or to one of its indexes keep being throttled. */
  THROTTLED_WRITES = 'ThrottledWrites',
}

/**
 * The alarms that make sense only for a store that publishes. With `publish: false` they don't
 * exist, because nothing reads the table's changes.
 */
export const ALARMS_OF_PUBLISHING: readonly EventDBAlarm[] = [
  EventDBAlarm.NOTHING_PUBLISHED,
  EventDBAlarm.ITERATOR_AGE,
  EventDBAlarm.FAILED_RECORDS,
  EventDBAlarm.UNLISTED_EVENTS,
  EventDBAlarm.DROPPED_RECORDS,
  EventDBAlarm.FAILURE_DESTINATION,
  EventDBAlarm.FAILURE_DESTINATION_UNREACHABLE,
];

/** The alarms that make sense only for a store that is verified regularly. */
export const ALARMS_OF_VERIFICATION: readonly EventDBAlarm[] = [
  EventDBAlarm.UNPUBLISHED_EVENTS,
  EventDBAlarm.VERIFICATION_ERRORS,
];

/** A run is a day apart at most. */
const VERIFICATION_PERIOD = Duration.days(1);

/** Lambda measures the age in milliseconds. */
const ITERATOR_AGE_THRESHOLD = Duration.minutes(5);

/** Which writes share a partition, so that they are throttled together. */
function sharedPartitions({ tableLayout, globalIndexNames }: EventDB): string {
  if (tableLayout === TableLayout.BY_TIME) {
    return 'all events share one in AllEventsByTime';
  }
  const inIndex = globalIndexNames.includes(OptionalIndex.ALL_EVENTS_BY_TIME)
    ? ', and all events share 16 in AllEventsByTime'
    : '';
  return `the events of a subject share one in the table${inIndex}`;
}

const CONDITIONS: Readonly<Record<EventDBAlarm, (eventDB: EventDB) => AlarmCondition>> = {
  // The heartbeat is Lambda's polling of the stream: it polls continuously, even without events, and
  // reports each poll. Counting appends would need metrics of AWS/DynamoDB. Alarms on these always
  // ignore missing data and keep their last state, and the counts include heads, guards and
  // snapshots, which are never published. Counting invocations would mistake a redrive for a working
  // stream. docs/operating.md lists the cases.
  [EventDBAlarm.NOTHING_PUBLISHED]: (eventDB) =>
    onSilence(
      "Nothing reads the table's stream, so nothing is published. Check the publisher's event source mapping (its state and last processing result): it must be enabled, and the publisher's role must be allowed to read the stream and use the table's key. The stream drops events after 24 hours.",
      eventDB.metricStreamPolls({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.ITERATOR_AGE]: (eventDB) => ({
    description:
      'Events wait in the stream for more than five minutes. A failing batch blocks its shard while ' +
      "it is retried: check the publisher's logs. The stream drops events after 24 hours.",
    metric: eventDB.metricIteratorAge({ period: Duration.minutes(1) }),
    threshold: ITERATOR_AGE_THRESHOLD.toMilliseconds(),
    evaluationPeriods: 5,
    datapointsToAlarm: 3,
  }),
  [EventDBAlarm.FUNCTION_ERRORS]: (eventDB) =>
    onLastingFault(
      'The publisher keeps failing as a whole: check its logs. Records are retried and finally go to the failure bucket.',
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
      'Lambda gave up on records after the last retry or because of their age. They are in the failure bucket: repair the cause, then redrive them.',
      eventDB.metricDroppedRecords({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_DESTINATION]: (eventDB) =>
    onAnyFault(
      'Records have arrived in the failure bucket. Subscribers miss these events until they are redriven.',
      eventDB.metricFailureDestinationRecords({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_DESTINATION_UNREACHABLE]: (eventDB) =>
    onAnyFault(
      "Lambda couldn't write to the failure bucket: check its policy, its key and the publisher's role. The events are in the table, but nothing will publish them.",
      eventDB.metricFailureDestinationErrors({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.FAILURE_BUCKET_NOT_EMPTY]: (eventDB) => ({
    description:
      "The failure bucket isn't empty: subscribers miss the events in it. Repair the cause, then redrive them. S3 counts objects once a day.",
    metric: eventDB.metricFailureBucketObjects(),
    threshold: 1,
    // S3 may report the count of a day one day later.
    evaluationPeriods: 2,
    datapointsToAlarm: 1,
  }),
  [EventDBAlarm.FAILED_NOTIFICATIONS]: (eventDB) =>
    onAnyFault(
      "SNS gave up on delivering messages to a subscriber, which misses these events. Check that the subscriber's queue exists, that its policy lets the topic send, and that the policy of its key lets SNS use it. The events are in the table.",
      eventDB.metricFailedNotifications({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.UNLISTED_EVENTS]: (eventDB) =>
    onLastingFault(
      "The publisher keeps failing to list published events in the feed, and later events wait: its logs name the cause. Check that the feed's table exists, that the publisher's role may use it, and its key. If records have gone to the failure bucket, redrive them afterwards.",
      eventDB.metricUnlistedEvents({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.UNPUBLISHED_EVENTS]: (eventDB) =>
    onAnyFault(
      'Stored events were not published: the log of the verification names them. See what the publisher says, redrive the failure bucket, then republish (eventdb verify, eventdb republish).',
      eventDB.metricUnpublishedEvents({ period: FAULT_PERIOD }),
    ),
  [EventDBAlarm.VERIFICATION_ERRORS]: (eventDB) =>
    onAnyFault(
      'The verification keeps failing, so a lost event would stay unnoticed: its log names the cause.',
      sumOf(
        'Failed verifications',
        eventDB.verifier === undefined
          ? []
          : [eventDB.verifier.metricErrors({ period: VERIFICATION_PERIOD })],
        VERIFICATION_PERIOD,
      ),
    ),
  [EventDBAlarm.SYSTEM_ERRORS]: (eventDB) =>
    onLastingFault(
      'DynamoDB keeps returning internal errors (HTTP 500): check the AWS Health Dashboard.',
      sumOf('System errors', systemErrorMetrics(eventDB, { period: FAULT_PERIOD }), FAULT_PERIOD),
    ),
  [EventDBAlarm.THROTTLED_WRITES]: (eventDB) =>
    onLastingFault(
      `Writes to the table or one of its indexes keep being throttled: a partition takes 1,000 write units a second, and ${sharedPartitions(eventDB)}.`,
      sumOf(
        'Throttled writes',
        throttledWriteMetrics(eventDB, { period: FAULT_PERIOD }),
        FAULT_PERIOD,
      ),
    ),
};

/**
 * Creates the alarms.
 *
 * @param eventDB the store; the alarms become its children, below `Alarms`
 * @param wanted the alarms to create
 * @param alarmTopic the topic to notify, if any
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
