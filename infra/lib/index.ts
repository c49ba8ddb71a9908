/**
 * AWS CDK constructs for eventdb: an event store on DynamoDB that publishes every event to an SNS
 * topic, and the subscriber's side.
 *
 * @packageDocumentation
 */
export { EventDB, type EventDBProps, type LogLevel } from './store/event-db';

export type { FailureBucket } from './store/failure-bucket';
export type { FeedTable } from './store/feed-table';
export type { EventDBAttributes, IEventDB } from './store/imported-event-db';
export { OptionalIndex, TableLayout } from './store/table-layout';
export type { EventFilterProps } from './subscription/event-filter';
export {
  EventSubscription,
  EventSubscriptionAlarm,
  type EventSubscriptionProps,
} from './subscription/event-subscription';
export { EventDBAlarm } from './watching/event-db-alarms';
export { EventDBDashboard } from './watching/event-db-dashboard';
