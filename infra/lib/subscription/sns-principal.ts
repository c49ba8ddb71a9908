import { Token } from 'aws-cdk-lib';
import { ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { RegionInfo } from 'aws-cdk-lib/region-info';

/** The principal for all deliveries except to or from an opt-in region. */
const GLOBAL = 'sns.amazonaws.com';

/**
 * The service principals with which SNS delivers a topic's messages to a queue.
 *
 * If one of the two regions is an opt-in region, SNS uses its principal of that region. If the policy
 * allows another principal, messages are dropped without an error.
 *
 * If a region isn't known, all possible principals are returned. This allows nothing more, because
 * the policies also contain the topic.
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
  // Osaka is enabled by default, but SNS lists it as an opt-in region.
  return (
    !Token.isUnresolved(region) &&
    (RegionInfo.get(region).isOptInRegion || region === 'ap-northeast-3')
  );
}
