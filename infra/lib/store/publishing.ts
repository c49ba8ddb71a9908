import { Annotations } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

/** Whether events are published. */
export interface PublishingOptions {
  /**
   * `false` deploys a store that doesn't publish, so that you can import history without flooding
   * subscribers. The table then has no stream, so the events that are appended meanwhile aren't
   * published later, either.
   *
   * When you deploy again with `true`, the table gets a stream, and the publisher reads it from its
   * beginning: exactly the events that are appended from then on are published. The alarms for
   * publishing are added, too.
   *
   * Don't use `false` to pause a live store: records that wait in the stream, and all events until it
   * is `true` again, would never be published. To pause, disable the event source mapping
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

/** Warns at each synthesis, so that nobody forgets to enable publishing. */
export function warnThatNothingIsPublished(scope: Construct): void {
  Annotations.of(scope).addWarningV2(
    'eventdb:nothingIsPublished',
    'publish is false: events are stored and not published, not even later. Once the history is ' +
      'imported, deploy with publish: true before services append.',
  );
}
