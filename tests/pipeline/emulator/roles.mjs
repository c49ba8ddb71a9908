// @ts-check
/** Roles of an emulated AWS that have exactly the given permissions. */
import {
  AttachRolePolicyCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand } from '@aws-sdk/client-sts';

/** @typedef {{ accessKeyId: string, secretAccessKey: string, sessionToken?: string }} Credentials */
/** @typedef {{ Action: string | string[], [name: string]: unknown }} Statement */

/**
 * The statements of a managed policy.
 *
 * @param {import('@aws-sdk/client-iam').IAMClient} iam
 * @param {string} PolicyArn
 * @returns {Promise<Statement[]>}
 */
export async function statementsOf(iam, PolicyArn) {
  const { Policy: policy } = await iam.send(new GetPolicyCommand({ PolicyArn }));
  const { PolicyVersion: version } = await iam.send(
    new GetPolicyVersionCommand({ PolicyArn, VersionId: policy?.DefaultVersionId }),
  );
  return JSON.parse(decodeURIComponent(version?.Document ?? '')).Statement;
}

/**
 * Each action of the statements, and the statements without it.
 *
 * @param {Statement[]} statements
 */
export function withoutEachAction(statements) {
  return statements.flatMap(({ Action: actions }, index) =>
    [actions].flat().map((action) => ({
      action,
      resource: statements[index]?.['Resource'],
      rest: statements
        .map((statement, at) => ({
          ...statement,
          Action: [statement.Action].flat().filter((one) => at !== index || one !== action),
        }))
        .filter(({ Action: left }) => left.length > 0),
    })),
  );
}

/**
 * Makes a role with these permissions, and takes it on.
 *
 * @param {import('@aws-sdk/client-iam').IAMClient} iam
 * @param {import('@aws-sdk/client-sts').STSClient} sts
 * @param {string} name
 * @param {Statement[]} statements
 * @returns {Promise<Credentials>}
 */
export async function assumeRoleWith(iam, sts, name, statements) {
  const trust = {
    Effect: 'Allow',
    Principal: { AWS: 'arn:aws:iam::000000000000:root' },
    Action: 'sts:AssumeRole',
  };
  const document = (/** @type {object[]} */ Statement) =>
    JSON.stringify({ Version: '2012-10-17', Statement });
  const { Role: role } = await iam.send(
    new CreateRoleCommand({ RoleName: name, AssumeRolePolicyDocument: document([trust]) }),
  );
  const { Policy: policy } = await iam.send(
    new CreatePolicyCommand({ PolicyName: name, PolicyDocument: document(statements) }),
  );
  await iam.send(new AttachRolePolicyCommand({ RoleName: role?.RoleName, PolicyArn: policy?.Arn }));
  const { Credentials: given } = await sts.send(
    new AssumeRoleCommand({ RoleArn: role?.Arn, RoleSessionName: 'test' }),
  );
  if (given?.AccessKeyId === undefined || given.SecretAccessKey === undefined) {
    throw new Error(`the role ${name} can't be assumed`);
  }
  return {
    accessKeyId: given.AccessKeyId,
    secretAccessKey: given.SecretAccessKey,
    ...(given.SessionToken === undefined ? {} : { sessionToken: given.SessionToken }),
  };
}
