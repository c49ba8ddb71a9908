import { Annotations } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

/** Whether events are published. */
export interface PublishingOptions {
  /**
   * `false` deploys a store whose events go nowhere, so that history can be imported without
   * flooding subscribers. The table then has no stream, so that what is appended leaves no records
   * behind: nothing of it is published later, either.
   *
   * Deployed again with `true`, the table gets a stream and the publisher reads it from its
   * beginning: exactly the events are published that are appended after that moment. The alarms
   * that watch publishing exist from then on, too.
   *
   * Don't use `false` to pause a live store: records that wait in the stream are lost to the topic,
   * and so are all events until it is `true` again. To pause, disable the event source mapping
   * (`aws lambda update-event-source-mapping --uuid ... --no-enabled`): records wait up to 24
   * hours.
   *
   * @default true
   */
  readonly publish?: boolean;
}

/** Whether the store publishes. */
export function isPublishing(options: PublishingOptions): boolean {
  return options.publish ?? true;
}

/** Says so at each synthesis, so that nobody forgets to switch it on. */
export function warnThatNothingIsPublished(scope: Construct): void {
  Annotations.of(scope).addWarningV2(
    'eventdb:nothingIsPublished',
    'publish is false: events are stored and not published, not even later. Once the history is ' +
      'imported, deploy with publish: true before services append.',
  );
}
