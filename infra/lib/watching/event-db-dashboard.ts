import { Duration } from 'aws-cdk-lib';
import {
  Color,
  Dashboard,
  GraphWidget,
  type IMetric,
  Stats,
  TextWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { IQueue } from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import type { EventDB } from '../store/event-db';
import {
  appendMetrics,
  feedCapacityMetrics,
  feedFaultMetrics,
  tableAndIndexMetrics,
  throttledWriteMetrics,
} from './event-db-metrics';

const PERIOD = Duration.minutes(1);

/** A verification runs once in 15 minutes at most. */
const VERIFICATION_PERIOD = Duration.minutes(15);

const FULL_WIDTH = 24;
const WIDGETS_PER_ROW = 2;

/** A dashboard of a store's events: appended, waiting, published, failed, listed, verified, delivered. */
export class EventDBDashboard extends Dashboard {
  private hasQueues = false;

  constructor(scope: Construct, id: string, eventDB: EventDB) {
    super(scope, id, { defaultInterval: Duration.hours(12) });

    this.addWidgets(
      graph('Appends', appendMetrics(eventDB, { period: PERIOD })),
      graph(
        'Consumed capacity (units a minute)',
        [
          ...tableAndIndexMetrics(eventDB, 'ConsumedWriteCapacityUnits', { period: PERIOD }),
          eventDB.table.metricConsumedReadCapacityUnits({ label: 'read', period: PERIOD }),
        ],
        throttledWriteMetrics(eventDB, { period: PERIOD, color: Color.RED }),
      ),
    );
    this.addWidgets(
      graph('Publish lag (ms from the stream to the topic)', [
        eventDB.metricPublishLag({ statistic: Stats.p(50), label: 'median', period: PERIOD }),
        eventDB.metricPublishLag({ statistic: Stats.p(99), label: '99 %', period: PERIOD }),
        eventDB.metricIteratorAge({ label: 'age of the oldest record', period: PERIOD }),
      ]),
      graph(
        'Published and failed',
        [
          eventDB.metricPublishedEvents({ label: 'published events', period: PERIOD }),
          eventDB.metricSkippedRecords({ label: 'skipped records', period: PERIOD }),
        ],
        [
          eventDB.metricFailedRecords({ label: 'failed records', period: PERIOD }),
          // With `publish: false`, there is no mapping that counts them.
          ...(eventDB.eventSourceMapping === undefined
            ? []
            : [
                eventDB.metricFailureDestinationRecords({
                  label: 'records in the failure bucket',
                  period: PERIOD,
                }),
              ]),
          eventDB.metricFailureDestinationErrors({ label: 'lost records', period: PERIOD }),
          eventDB.publisher.metricErrors({ label: 'function errors', period: PERIOD }),
        ],
      ),
    );
    this.addWidgets(
      graph('Deliveries', [
        eventDB.topic.metricNumberOfNotificationsDelivered({ label: 'delivered', period: PERIOD }),
        eventDB.topic.metricNumberOfNotificationsFailed({
          label: 'given up',
          color: Color.RED,
          period: PERIOD,
        }),
      ]),
      graph('Publisher', [
        eventDB.publisher.metricDuration({ label: 'duration (ms)', period: PERIOD }),
        eventDB.publisher.metricInvocations({ label: 'invocations', period: PERIOD }),
      ]),
    );
    this.addFeed(eventDB);
    this.addVerification(eventDB);
  }

  private addFeed(eventDB: EventDB): void {
    const { feed } = eventDB;
    if (feed === undefined) {
      return;
    }
    this.addWidgets(
      graph('Feed: published events that could not be listed', [
        eventDB.metricUnlistedEvents({
          label: 'unlisted events',
          color: Color.RED,
          period: PERIOD,
        }),
      ]),
      graph(
        'Feed: consumed capacity (units a minute)',
        feedCapacityMetrics(feed, { period: PERIOD }),
        feedFaultMetrics(feed, PERIOD),
      ),
    );
  }

  private addVerification(eventDB: EventDB): void {
    if (eventDB.verifier === undefined) {
      return;
    }
    const period = VERIFICATION_PERIOD;
    this.addWidgets(
      graph('Verification: stored events that were not published', [
        eventDB.metricUnpublishedEvents({ label: 'unpublished events', color: Color.RED, period }),
      ]),
      graph('Verification: age of the oldest one of a part of the table (s)', [
        eventDB.metricOldestVerification({ label: 'oldest', period }),
      ]),
    );
  }

  /**
   * Adds the depth of a subscriber's queue, and of its dead-letter queue.
   *
   * @param title whose queue it is
   * @param queue the queue from which a consumer receives
   * @param deadLetterQueue the queue's dead-letter queue, if there is one
   */
  addQueue(title: string, queue: IQueue, deadLetterQueue?: IQueue): void {
    if (!this.hasQueues) {
      this.addWidgets(
        new TextWidget({ markdown: '## Queue depths', width: FULL_WIDTH, height: 1 }),
      );
      this.hasQueues = true;
    }
    const dead =
      deadLetterQueue === undefined
        ? []
        : [visible(deadLetterQueue, 'dead letters').with({ color: Color.RED })];
    this.addWidgets(
      graph(title, [visible(queue, 'waiting'), ...dead]),
      graph(`${title}: age of the oldest message (s)`, [
        queue.metricApproximateAgeOfOldestMessage({ label: 'oldest', period: PERIOD }),
      ]),
    );
  }
}

function visible(queue: IQueue, label: string) {
  return queue.metricApproximateNumberOfMessagesVisible({
    label,
    period: PERIOD,
    statistic: Stats.MAXIMUM,
  });
}

function graph(title: string, left: IMetric[], right: IMetric[] = []): GraphWidget {
  return new GraphWidget({ title, left, right, width: FULL_WIDTH / WIDGETS_PER_ROW });
}
