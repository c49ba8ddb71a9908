import { Token } from 'aws-cdk-lib';
import {
  AccountPrincipal,
  Effect,
  type IPrincipal,
  OrganizationPrincipal,
  PolicyStatement,
} from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { allowOnly, shown } from '../properties';

/** The protocols of subscriptions, as SNS calls them. */
export const SUBSCRIPTION_PROTOCOLS = [
  'sqs',
  'lambda',
  'firehose',
  'https',
  'http',
  'email',
  'email-json',
  'sms',
  'application',
] as const;

/** The protocol of a subscription. */
export type SubscriptionProtocolName = (typeof SUBSCRIPTION_PROTOCOLS)[number];

/** Who may subscribe to the topic, and with which protocols. */
export interface SubscriberOptions {
  /**
   * Ids of the other AWS accounts that may subscribe to the topic: 12 digits each, none twice.
   * A member may be a token.
   *
   * @default - no other account may subscribe, unless `organizationId` lets it
   */
  readonly subscriptionAccounts?: readonly string[];

  /**
   * The id of an organization of AWS Organizations (`o-` and 10 to 32 letters and digits). All its
   * accounts may subscribe. Use it instead of `subscriptionAccounts`, or for more accounts than a
   * policy can contain.
   *
   * @default - no organization
   */
  readonly organizationId?: string;

  /**
   * The protocols with which other accounts may subscribe. With more than queues and functions, these
   * accounts can have events sent to web addresses or by e-mail.
   *
   * @default ['sqs', 'lambda']
   */
  readonly subscriptionProtocols?: readonly SubscriptionProtocolName[];
}

/**
 * The conditions for all subscriptions by other accounts.
 *
 * @throws if there is no protocol, one that SNS doesn't know, or one twice
 */
export function subscriptionConditions(
  options: SubscriberOptions,
): Record<string, Record<string, unknown>> {
  const protocols = options.subscriptionProtocols ?? ['sqs', 'lambda'];
  allowOnly('subscriptionProtocols', protocols, SUBSCRIPTION_PROTOCOLS);
  if (protocols.length === 0) {
    throw new Error(
      'subscriptionProtocols is empty, so nothing could be subscribed; leave it out for sqs and lambda',
    );
  }
  return { StringEquals: { 'sns:Protocol': [...protocols] } };
}

/**
 * Lets the accounts, and those of the organization, subscribe to the topic.
 *
 * @param topic the topic that events are published to
 * @param options the accounts and the organization that may subscribe
 * @param conditions the result of `subscriptionConditions`
 * @throws if an account id or the organization's id is invalid, or an account id is repeated
 */
export function allowSubscriptions(
  topic: ITopic,
  options: SubscriberOptions,
  conditions: Record<string, Record<string, unknown>>,
): void {
  const accounts = options.subscriptionAccounts ?? [];
  validateAccounts(accounts);
  const statement = (sid: string, principals: IPrincipal[]) =>
    new PolicyStatement({
      sid,
      effect: Effect.ALLOW,
      principals,
      actions: ['sns:Subscribe'],
      resources: [topic.topicArn],
      conditions,
    });
  if (accounts.length > 0) {
    topic.addToResourcePolicy(
      statement(
        'Subscribe',
        accounts.map((account) => new AccountPrincipal(account)),
      ),
    );
  }
  const { organizationId } = options;
  if (organizationId !== undefined) {
    if (!Token.isUnresolved(organizationId) && !/^o-[a-z0-9]{10,32}$/.test(organizationId)) {
      throw new Error(
        `organizationId is ${shown(organizationId)}; give 'o-' followed by 10 to 32 small letters and digits`,
      );
    }
    topic.addToResourcePolicy(
      statement('SubscribeInOrganization', [new OrganizationPrincipal(organizationId)]),
    );
  }
}

/** Refuses what would only fail, or let the wrong account in, when it is deployed. */
function validateAccounts(accounts: readonly string[]): void {
  // A list that is known at deployment only has no members yet to make principals of.
  if (Token.isUnresolved(accounts)) {
    throw new Error(
      'subscriptionAccounts must be a list whose length is known at synthesis; ' +
        'its members may be tokens, the list itself may not',
    );
  }
  if (!Array.isArray(accounts)) {
    throw new Error(`subscriptionAccounts must be a list, and is ${shown(accounts)}`);
  }
  const seen = new Set<string>();
  for (const account of accounts) {
    if (
      !Token.isUnresolved(account) &&
      !(typeof account === 'string' && /^\d{12}$/.test(account))
    ) {
      throw new Error(
        `subscriptionAccounts: ${shown(account)} is not an AWS account id, which is a text of exactly 12 digits`,
      );
    }
    if (seen.has(account)) {
      throw new Error(`subscriptionAccounts: '${account}' is there more than once`);
    }
    seen.add(account);
  }
}
