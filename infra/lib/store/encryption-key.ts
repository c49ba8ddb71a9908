import { Annotations, Stack, Token } from 'aws-cdk-lib';
import type { IAlias, IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';
import { shown } from '../properties';

/**
 * The permissions on the customer managed key that a reader of the table needs, because DynamoDB
 * decrypts the table's key on behalf of the reader.
 */
export const KEY_ACTIONS_FOR_READING = ['kms:Decrypt', 'kms:DescribeKey'] as const;

/**
 * The permissions on the customer managed key that a writer needs. DynamoDB's documentation requires
 * `kms:GenerateDataKey*` and `kms:ReEncrypt*`; these are the operations behind the wildcards,
 * without the asymmetric key pairs, which DynamoDB has no use for.
 */
export const KEY_ACTIONS_FOR_WRITING = [
  ...KEY_ACTIONS_FOR_READING,
  'kms:Encrypt',
  'kms:GenerateDataKey',
  'kms:GenerateDataKeyWithoutPlaintext',
  'kms:ReEncryptFrom',
  'kms:ReEncryptTo',
] as const;

/** The permissions on its key that publishing to an encrypted topic needs. */
export const KEY_ACTIONS_FOR_PUBLISHING = ['kms:Decrypt', 'kms:GenerateDataKey'] as const;

/**
 * The key of an alias, or the given key. Policies must contain keys, not aliases, and SNS and SQS
 * check permissions on the key.
 *
 * @param property the property that the key was given as
 * @param key a key or an alias
 * @param scope the construct that uses it
 * @throws if the key behind the alias isn't known, or is in another region
 */
export function usableKey(property: string, key: IKey, scope: Construct): IKey {
  if (typeof key !== 'object' || key === null || !('keyArn' in key)) {
    throw new Error(
      `${property} must be a KMS key, and is ${shown(key)}; give new Key(...), or ` +
        "Key.fromKeyArn(this, 'Key', '<ARN>') for a key of another app",
    );
  }
  const target = isAlias(key) ? targetOf(property, key) : key;
  const [region, own] = [target.env.region, Stack.of(scope).region];
  if (!Token.isUnresolved(region) && !Token.isUnresolved(own) && region !== own) {
    throw new Error(
      `${property} is a key in ${region}, but what it is to encrypt is in ${own}; a key works in its own region only`,
    );
  }
  return target;
}

function isAlias(key: IKey): key is IAlias {
  return 'aliasName' in key;
}

function targetOf(property: string, alias: IAlias): IKey {
  try {
    return alias.aliasTargetKey;
  } catch {
    throw new Error(
      `${property} is the imported alias '${alias.aliasName}', and a policy can't name an alias; give ` +
        "the key behind it: Key.fromKeyArn(this, 'Key', '<ARN of the key>'), or " +
        `Key.fromLookup(this, 'Key', { aliasName: '${alias.aliasName}' })`,
    );
  }
}

/**
 * Warns what the policy of another account's key must contain, because IAM policies of this account
 * aren't enough for it.
 */
export function warnOfForeignKey(scope: Construct, key: IKey): void {
  const [account, own] = [key.env.account, Stack.of(scope).account];
  if (!Token.isUnresolved(account) && !Token.isUnresolved(own) && account !== own) {
    Annotations.of(scope).addWarningV2(
      'eventdb:foreignEncryptionKey',
      `encryptionKey is a key of the account ${account}, so its policy must name who uses it: the ` +
        `account ${own}, for kms:CreateGrant, kms:DescribeKey and ` +
        `${[...new Set([...KEY_ACTIONS_FOR_WRITING, ...KEY_ACTIONS_FOR_PUBLISHING])].filter((action) => action !== 'kms:DescribeKey').join(', ')}.`,
    );
  }
}
