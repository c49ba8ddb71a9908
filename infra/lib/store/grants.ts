import { Annotations, Stack, Token } from 'aws-cdk-lib';
import { CfnTable, type ITable, Table } from 'aws-cdk-lib/aws-dynamodb';
import { Grant, type IGrantable, PolicyStatement, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Construct } from 'constructs';

/** Statements that one grant gives: actions on resources, under conditions. */
export interface Permission {
  /** The IAM actions. */
  readonly actions: readonly string[];

  /** The resources, as ARNs. */
  readonly resources: readonly string[];

  /** The conditions, if there are any. */
  readonly conditions?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
}

/**
 * Attaches the permissions to the grantee.
 *
 * @param grant the name of the grant, for messages
 * @param scope the construct whose resources they are about
 * @param grantee an identity of the scope's account that policies can be attached to
 * @param permissions what it may do
 * @throws if the grantee is of another account, or no policy can be attached to it: the library
 *   would report success, or say nothing, and the grantee would have no permission
 */
export function grantToIdentity(
  grant: string,
  scope: Construct,
  grantee: IGrantable,
  permissions: readonly Permission[],
): Grant {
  const foreign = foreignAccount(scope, grantee);
  if (foreign !== undefined) {
    throw new Error(
      `${grant}: ${nameOf(grantee)} is of the account ${foreign}, and ${scope.node.path} of ` +
        `${Stack.of(scope).account}, where a policy can't be attached to it. Give this to a role of ` +
        'this account that the other account may assume.',
    );
  }
  const grants = permissions.map(({ actions, resources, conditions }) =>
    Grant.addToPrincipal({
      grantee,
      actions: [...actions],
      resourceArns: [...resources],
      conditions: conditions && { ...conditions },
    }),
  );
  if (grants.some(({ success }) => !success)) {
    throw new Error(
      `${grant}: no policy can be attached to ${nameOf(grantee)}. Give a role, a user, a group or a ` +
        'managed policy of this account.',
    );
  }
  return grants.reduce((all, one) => all.combine(one));
}

/**
 * Whether the grantee needs a resource policy: it belongs to another account, or no policy can be
 * attached to it, as with an account or an ARN.
 */
export function needsResourcePolicy(scope: Construct, grantee: IGrantable): boolean {
  const { grantPrincipal } = grantee;
  // Roles, users, groups and managed policies are constructs; principals by name are not.
  return (
    foreignAccount(scope, grantee) !== undefined || !('node' in grantee || 'node' in grantPrincipal)
  );
}

/**
 * Lets a grantee of another account read the table and its indexes, with the table's policy.
 *
 * @param grant the name of the grant, for messages
 * @param table the table
 * @param grantee the identity that may read
 * @param actions the IAM actions
 * @throws if the table can't have such a policy, or can't be read with it
 */
export function grantByTablePolicy(
  grant: string,
  table: ITable,
  grantee: IGrantable,
  actions: readonly string[],
): Grant {
  if (grantee.grantPrincipal instanceof ServicePrincipal) {
    throw new Error(
      `${grant}: ${nameOf(grantee)} is a service of AWS; DynamoDB takes none in the policy of a ` +
        'table. Give this to the role that the service assumes.',
    );
  }
  if (isEncryptedByAwsManagedKey(table)) {
    throw new Error(
      `${grant}: the table is encrypted with the AWS managed key alias/aws/dynamodb, which no other ` +
        'account can use, so a policy would be of no use. Encrypt it with a customer managed key ' +
        "(encryptionKey), or with DynamoDB's own key (the default).",
    );
  }
  if (!(table instanceof Table)) {
    throw new Error(
      `${grant}: the table is imported, so its policy stays as it is, and ${nameOf(grantee)} can't get ` +
        'a permission otherwise. Grant it in the app that the table is made in.',
    );
  }
  return Grant.addToPrincipalOrResource({
    grantee,
    actions: [...actions],
    // For a role of the same app, which also gets its part of the permission.
    resourceArns: [table.tableArn, `${table.tableArn}/index/*`],
    resource: table,
    // A table's policy applies only to the table and its indexes, and can't contain the table's ARN.
    resourceSelfArns: ['*'],
  });
}

/**
 * Lets a grantee of another account use the customer managed key, with the key's policy.
 *
 * The policy of an imported key can't be changed. Then a warning says what it must contain.
 */
export function grantByKeyPolicy(
  grant: string,
  scope: Construct,
  key: IKey,
  grantee: IGrantable,
  { actions, conditions }: Permission,
): void {
  const { statementAdded } = key.addToResourcePolicy(
    new PolicyStatement({
      actions: [...actions],
      principals: [grantee.grantPrincipal],
      resources: ['*'],
      conditions: conditions && { ...conditions },
    }),
    true,
  );
  if (!statementAdded) {
    Annotations.of(scope).addWarningV2(
      `eventdb:${grant}OfImportedKey`,
      `${grant}: encryptionKey is imported, so its policy stays as it is. It must let ` +
        `${nameOf(grantee)} use ${actions.join(' and ')}, else the permission on the table is of no use.`,
    );
  }
}

/**
 * The permissions on the customer managed key that services need when the grantee uses them.
 *
 * @param scope the construct that has the key
 * @param key the key
 * @param actions the actions of KMS
 * @param services the services that may use the key, for example `dynamodb`
 */
export function keyPermission(
  scope: Construct,
  key: IKey,
  actions: readonly string[],
  services: readonly string[],
): Permission {
  return { actions, resources: [key.keyArn], conditions: viaServices(scope, services) };
}

/** The condition that a key is used only through these services of the scope's region. */
export function viaServices(scope: Construct, services: readonly string[]) {
  const names = services.map((service) => `${service}.${Stack.of(scope).region}.amazonaws.com`);
  return { StringEquals: { 'kms:ViaService': names.length === 1 ? names[0] : names } };
}

/** The grantee's account, if it is known to be another one. */
function foreignAccount(scope: Construct, { grantPrincipal }: IGrantable): string | undefined {
  const { principalAccount } = grantPrincipal;
  const { account } = Stack.of(scope);
  return principalAccount === undefined ||
    Token.isUnresolved(principalAccount) ||
    Token.isUnresolved(account) ||
    principalAccount === account
    ? undefined
    : principalAccount;
}

/** The name of the grantee for messages. */
function nameOf(grantee: IGrantable): string {
  return 'node' in grantee && 'path' in Object(grantee.node)
    ? Object(grantee.node).path
    : String(grantee.grantPrincipal);
}

/** Whether the table is encrypted with the AWS managed key. */
function isEncryptedByAwsManagedKey(table: ITable): boolean {
  const resource = table.node.defaultChild;
  if (!(resource instanceof CfnTable)) {
    return false;
  }
  const encryption = Object(resource.sseSpecification);
  return encryption.sseEnabled === true && encryption.kmsMasterKeyId === undefined;
}
