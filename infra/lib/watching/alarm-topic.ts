import { Annotations, Stack } from 'aws-cdk-lib';
import {
  type AddToResourcePolicyResult,
  Effect,
  PolicyStatement,
  ServicePrincipal,
} from 'aws-cdk-lib/aws-iam';
import type { ITopic } from 'aws-cdk-lib/aws-sns';
import type { Construct, IConstruct } from 'constructs';

/** Marks topics and keys that have the statement already. */
const DONE = Symbol.for('eventdb-cdk.alarmTopic');

/**
 * Lets the alarms of this account publish to the topic.
 *
 * A topic without a policy accepts them anyway. A topic with a policy, as with `enforceSSL`, accepts
 * only what the policy allows; otherwise alarms would go off without a notification.
 *
 * @param scope the construct that has the alarms
 * @param topic the topic that they notify
 */
export function allowAlarms(scope: Construct, topic: ITopic): void {
  const { account } = Stack.of(scope);
  const statement = (actions: string[], resources: string[]) =>
    new PolicyStatement({
      effect: Effect.ALLOW,
      principals: [new ServicePrincipal('cloudwatch.amazonaws.com')],
      actions,
      resources,
      conditions: { StringEquals: { 'aws:SourceAccount': account } },
    });

  const missing: string[] = [];
  const isAllowed = once(topic, account, () =>
    topic.addToResourcePolicy(statement(['sns:Publish'], [topic.topicArn])),
  );
  if (!isAllowed) {
    missing.push('its policy, if it has one, must allow sns:Publish');
  }
  const key = topic.masterKey;
  if (
    key !== undefined &&
    !once(key, account, () =>
      key.addToResourcePolicy(statement(['kms:Decrypt', 'kms:GenerateDataKey'], ['*']), true),
    )
  ) {
    missing.push('the policy of its key must allow kms:Decrypt and kms:GenerateDataKey');
  }
  if (missing.length > 0) {
    Annotations.of(scope).addWarningV2(
      'eventdb:importedAlarmTopic',
      "alarmTopic or its key is imported, so this app can't change its policy. For notifications, " +
        `${missing.join(', and ')} to cloudwatch.amazonaws.com (aws:SourceAccount = the account of ` +
        'this stack). If the topic is encrypted, the policy of its key must also allow kms:Decrypt ' +
        'and kms:GenerateDataKey. Otherwise alarms go off without a notification.',
    );
  }
}

/** Adds something to a resource, unless it was added for this account before. */
function once(
  resource: IConstruct,
  account: string,
  add: () => AddToResourcePolicyResult,
): boolean {
  const done: Set<string> = Reflect.get(resource, DONE) ?? new Set();
  if (done.has(account)) {
    return true;
  }
  if (!add().statementAdded) {
    return false;
  }
  done.add(account);
  Reflect.set(resource, DONE, done);
  return true;
}
