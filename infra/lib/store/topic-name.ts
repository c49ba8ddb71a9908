import { Names, PhysicalName } from 'aws-cdk-lib';
import type { Construct } from 'constructs';

/**
 * The topic's name. It must be known at synthesis where a stack of another account or region names
 * the topic, as in an app with several accounts.
 *
 * A standard topic gets a name then only; a FIFO topic always has one, with its ending.
 *
 * @param scope the construct that the topic is of
 * @param options whether it is FIFO, and the name that was given
 */
export function topicNameFor(
  scope: Construct,
  options: { readonly fifo?: boolean; readonly topicName?: string },
): string {
  if (options.topicName !== undefined) {
    return options.topicName;
  }
  if (options.fifo !== true) {
    return PhysicalName.GENERATE_IF_NEEDED;
  }
  // The placeholder for a generated name would lose the ending in the topic's ARN.
  return `${Names.uniqueResourceName(scope, { maxLength: 245, separator: '-' })}-Topic.fifo`;
}
