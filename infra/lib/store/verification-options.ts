import type { Duration } from 'aws-cdk-lib';
import { type FeedOptions, hasFeed } from './feed-options';

/** Whether the store is verified regularly. */
export interface VerificationOptions {
  /**
   * How often a function verifies that stored events were published: from every 15 minutes to once a
   * day. It compares the latest events with the feed and, in turn, one part of the whole table
   * (docs/feed.md). It writes the metric `UnpublishedEvents`, of which an alarm tells.
   *
   * Each run reads the feed once, and up to a million rows of the table: with a million events of
   * 0.5 KB, by calculation, some 90,000 read units, or 27 cents a day if it runs every hour.
   * `eventdb verify` does the same when it is called.
   *
   * @default - never
   */
  readonly verification?: Duration;
}

/** Refuses what couldn't work. */
export function validateVerificationOptions(options: VerificationOptions & FeedOptions): void {
  const { verification } = options;
  if (verification === undefined) {
    return;
  }
  const minutes =
    typeof verification?.toMinutes === 'function'
      ? verification.toMinutes({ integral: false })
      : Number.NaN;
  if (!Number.isInteger(minutes) || minutes < 15 || minutes > 1_440) {
    throw new Error(
      'verification must be a Duration from 15 minutes to one day, in whole minutes, such as ' +
        'Duration.hours(1)',
    );
  }
  if (!hasFeed(options)) {
    throw new Error(
      'verification compares with the feed, but feed is false; leave one of them out',
    );
  }
}
