/**
 * AWS CDK constructs for eventdb: an event store on DynamoDB that publishes every event to an SNS
 * topic, and the subscriber's side.
 *
 * @packageDocumentation
 */
export { EventDB, type EventDBProps, type LogLevel } from './event-db';
export { EventDBAlarm } from './event-db-alarms';
export { EventDBDashboard } from './event-db-dashboard';
export type { EventFilterProps } from './event-filter';
export {
  EventSubscription,
  EventSubscriptionAlarm,
  type EventSubscriptionProps,
} from './event-subscription';
export type { EventTable } from './event-table';
export type { FailureBucket } from './failure-bucket';
