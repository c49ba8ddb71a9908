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
import { appendMetrics, tableAndIndexMetrics, throttledWriteMetrics } from './event-db-metrics';

const PERIOD = Duration.minutes(1);
const FULL_WIDTH = 24;
const WIDGETS_PER_ROW = 2;

/** A dashboard of a store's events: appended, waiting, published, failed and delivered. */
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
