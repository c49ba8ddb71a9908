import { allowInteger, allowOptionalBoolean } from '../properties';
import { schema } from './schema';

/** Whether and how the store has a feed. */
export interface FeedOptions {
  /**
   * Whether there is a feed: a second table, in which the publisher lists what it has published. It
   * can be followed from any place without missing an event (`Feed` in the crate, docs/feed.md).
   *
   * Its key, protection, retention and point-in-time recovery are those of a new table of events.
   * Without it, publishing costs less: docs/costs-and-limits.md.
   *
   * With `false`, a feed that was deployed before leaves the stack: in production its table is
   * retained, elsewhere it is deleted. A later deployment with `true` makes a new feed, and readers of
   * the old one begin again. Events that are published meanwhile are in neither.
   *
   * @default true
   */
  readonly feed?: boolean;

  /**
   * The number of partitions with which the publisher creates the feed: 1 to 256. A subject is in one
   * of them, so it bounds how many processes can share the feed. A feed that has been created keeps
   * its number, whatever this says later.
   *
   * @default 4
   */
  readonly feedPartitions?: number;
}

/** Whether the store has a feed. */
export function hasFeed(options: FeedOptions): boolean {
  return options.feed ?? true;
}

/** Refuses what the publisher would refuse only when it starts, or what would have no effect. */
export function validateFeedOptions(options: FeedOptions): void {
  allowOptionalBoolean('feed', options.feed);
  allowInteger('feedPartitions', options.feedPartitions, 1, schema.feed.mostPartitions);
  if (!hasFeed(options) && options.feedPartitions !== undefined) {
    throw new Error('feedPartitions is given together with feed: false; leave one of them out');
  }
}
