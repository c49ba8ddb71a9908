import { Token } from 'aws-cdk-lib';
import { SubscriptionFilter } from 'aws-cdk-lib/aws-sns';
import { shown } from '../properties';
import { schema } from '../store/schema';

/** Which events a subscriber wants: those that meet every condition that is there. */
export interface EventFilterProps {
  /**
   * Only events of these types.
   *
   * @default - events of all types
   */
  readonly eventTypes?: readonly string[];

  /**
   * Only events from these sources.
   *
   * @default - events from all sources
   */
  readonly eventSources?: readonly string[];

  /**
   * Only events whose subject begins like this, `book:` for example.
   *
   * @default - events of all subjects
   */
  readonly subjectPrefix?: string;
}

/** https://docs.aws.amazon.com/sns/latest/dg/subscription-filter-policy-constraints.html */
const COMBINATIONS_LIMIT = 150;

/**
 * The filter policy on the message attributes which the publisher sets, or nothing if all events
 * are wanted.
 *
 * @throws if a condition can't be met by any event, or SNS would refuse the policy
 */
export function eventFilterPolicy(
  props: EventFilterProps,
): Record<string, SubscriptionFilter> | undefined {
  const { eventTypes, eventSources, subjectPrefix } = props;
  const policy: Record<string, SubscriptionFilter> = {};
  if (eventTypes !== undefined) {
    policy[schema.messageAttributes.type] = oneOf('eventTypes', eventTypes);
  }
  if (eventSources !== undefined) {
    policy[schema.messageAttributes.source] = oneOf('eventSources', eventSources);
  }
  if (subjectPrefix !== undefined) {
    if (typeof subjectPrefix !== 'string') {
      throw new Error(`subjectPrefix must be a text, and is ${shown(subjectPrefix)}`);
    }
    if (subjectPrefix === '') {
      throw new Error('subjectPrefix is empty; leave it out to get the events of all subjects');
    }
    policy[schema.messageAttributes.subject] = SubscriptionFilter.stringFilter({
      matchPrefixes: [subjectPrefix],
    });
  }

  const combinations = (eventTypes?.length ?? 1) * (eventSources?.length ?? 1);
  if (combinations > COMBINATIONS_LIMIT) {
    throw new Error(
      `${eventTypes?.length ?? 1} eventTypes and ${eventSources?.length ?? 1} eventSources make ` +
        `${combinations} combinations; SNS allows ${COMBINATIONS_LIMIT}`,
    );
  }
  return Object.keys(policy).length === 0 ? undefined : policy;
}

function oneOf(property: string, values: readonly string[]): SubscriptionFilter {
  if (!Array.isArray(values) || values.some((value) => typeof value !== 'string')) {
    throw new Error(`${property} must be a list of texts, and is ${shown(values)}`);
  }
  if (values.length === 0) {
    throw new Error(`${property} is empty, so no event would ever match; leave it out to get all`);
  }
  const repeated = values.find((value, position) => values.indexOf(value) !== position);
  if (repeated !== undefined && !Token.isUnresolved(repeated)) {
    throw new Error(`${property}: '${repeated}' is there more than once`);
  }
  return SubscriptionFilter.stringFilter({ allowlist: [...values] });
}
