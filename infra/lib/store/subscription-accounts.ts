import { Token } from 'aws-cdk-lib';
import { AccountPrincipal, Effect, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import { shown } from '../properties';

/**
 * Lets each of the accounts subscribe to the topic, and do nothing else with it.
 *
 * @param topic the topic that events are published to
 * @param accounts AWS account ids
 * @throws if an id is no account id or is there twice
 */
export function allowSubscriptions(topic: ITopic, accounts: readonly string[]): void {
  validateAccounts(accounts);
  if (accounts.length === 0) {
    return;
  }
  topic.addToResourcePolicy(
    new PolicyStatement({
      sid: 'Subscribe',
      effect: Effect.ALLOW,
      principals: accounts.map((account) => new AccountPrincipal(account)),
      actions: ['sns:Subscribe'],
      resources: [topic.topicArn],
    }),
  );
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
