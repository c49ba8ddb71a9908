import { Token } from 'aws-cdk-lib';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { RegionInfo } from 'aws-cdk-lib/region-info';

/** Everywhere but across the border of a region that has to be opted into. */
const GLOBAL = 'sns.amazonaws.com';

/**
 * As whom SNS delivers a topic's messages to a queue.
 *
 * From one region to another, of which one has to be opted into, SNS delivers as its principal of
 * that region. With a policy for any other principal, messages are dropped without an error.
 *
 * Where a region isn't known, both principals that may be meant are returned; the policies name the
 * topic, too, so none of them lets in more.
 *
 * @see https://docs.aws.amazon.com/sns/latest/dg/sns-cross-region-delivery.html
 * @throws if SNS doesn't deliver from the one region to the other
 */
export function snsPrincipals(topicRegion: string, queueRegion: string): ServicePrincipal[] {
  const isKnown = !Token.isUnresolved(topicRegion) && !Token.isUnresolved(queueRegion);
  const special = [topicRegion, queueRegion].filter(isOptIn);
  if (isKnown && topicRegion === queueRegion) {
    return principals(GLOBAL);
  }
  if (special.length === 2) {
    throw new Error(
      `The topic is in ${topicRegion} and the queue in ${queueRegion}: between two regions that ` +
        'have to be opted into, SNS does not deliver. Put the queue into the region of the topic, ' +
        'or into one that is enabled by default.',
    );
  }
  const regional = special.map((region) => `sns.${region}.amazonaws.com`);
  return isKnown && regional.length > 0 ? principals(...regional) : principals(GLOBAL, ...regional);
}

function principals(...names: string[]): ServicePrincipal[] {
  return names.map((name) => new ServicePrincipal(name));
}

function isOptIn(region: string): boolean {
  // Osaka is enabled by default, but SNS lists it with those that aren't.
  return (
    !Token.isUnresolved(region) &&
    (RegionInfo.get(region).isOptInRegion || region === 'ap-northeast-3')
  );
}
