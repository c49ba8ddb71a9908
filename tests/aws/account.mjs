// @ts-check
/** The account that the AWS CLI's profile names: its clients, and the roles that are made there. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AttachRolePolicyCommand,
  CreateRoleCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts';

/** Until a new role or policy counts everywhere. */
const IAM_SECONDS = 90;

/** @typedef {{ accessKeyId: string, secretAccessKey: string, sessionToken?: string }} Credentials */

/**
 * @typedef {object} Account
 * @property {string} id 12 digits
 * @property {string} partition such as `aws`
 * @property {string} region
 * @property {string} caller the ARN of who runs this
 * @property {boolean} isEmulated whether it is an emulator's
 * @property {<T>(Client: new (configuration: any) => T, credentials?: Credentials) => T} client
 *   a client for the caller, or for who has the credentials
 * @property {(credentials: Credentials) => NodeJS.ProcessEnv} environmentOf the variables with
 *   which programs act for who has the credentials
 * @property {NodeJS.ProcessEnv} environment the variables with which cdk acts for the caller
 */

/** @returns {Promise<Account>} */
export async function findAccount() {
  const sts = new STSClient({});
  const region = await sts.config.region();
  const { Account: id, Arn: caller } = await sts.send(new GetCallerIdentityCommand({}));
  if (id === undefined || caller === undefined) {
    throw new Error('AWS does not say whose credentials these are (sts:GetCallerIdentity)');
  }
  return {
    id,
    partition: caller.split(':')[1] ?? 'aws',
    region,
    caller,
    isEmulated: isEmulated(),
    client: (Client, credentials) =>
      new Client({ region, ...(credentials === undefined ? {} : { credentials }) }),
    environmentOf: ({ accessKeyId, secretAccessKey, sessionToken }) => {
      const { AWS_PROFILE: _, AWS_DEFAULT_PROFILE: __, ...others } = process.env;
      return {
        ...others,
        AWS_REGION: region,
        AWS_ACCESS_KEY_ID: accessKeyId,
        AWS_SECRET_ACCESS_KEY: secretAccessKey,
        AWS_SESSION_TOKEN: sessionToken,
      };
    },
    environment: { ...process.env, AWS_REGION: region },
  };
}

/** Whether the AWS tools are told of another endpoint than AWS's. */
export function isEmulated() {
  return (process.env['AWS_ENDPOINT_URL'] ?? '') !== '';
}

/**
 * Makes a role that has these policies and nothing else.
 *
 * @param {Account} account
 * @param {string} RoleName
 * @param {string[]} policies their ARNs
 * @param {AbortSignal} signal
 * @returns {Promise<() => Promise<Credentials>>} takes the role on, for an hour
 */
export async function roleWith(account, RoleName, policies, signal) {
  const iam = account.client(IAMClient);
  const { Role: role } = await iam.send(
    new CreateRoleCommand({
      RoleName,
      Description: 'Made by npm run test:aws of eventdb, which removes it',
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: `arn:${account.partition}:iam::${account.id}:root` },
            Action: 'sts:AssumeRole',
          },
        ],
      }),
    }),
    { abortSignal: signal },
  );
  for (const PolicyArn of policies) {
    await iam.send(new AttachRolePolicyCommand({ RoleName, PolicyArn }), { abortSignal: signal });
  }
  const assume = async () => {
    const { Credentials: given } = await account
      .client(STSClient)
      .send(new AssumeRoleCommand({ RoleArn: role?.Arn, RoleSessionName: 'eventdb-proof' }), {
        abortSignal: signal,
      });
    if (given?.AccessKeyId === undefined || given.SecretAccessKey === undefined) {
      throw new Error(`the role ${RoleName} has been taken on without credentials`);
    }
    return {
      accessKeyId: given.AccessKeyId,
      secretAccessKey: given.SecretAccessKey,
      ...(given.SessionToken === undefined ? {} : { sessionToken: given.SessionToken }),
    };
  };
  return () => untilItWorks(account, signal, assume);
}

/** The name of a policy that a check puts inside a role. */
export const INLINE_POLICY = 'Proof';

/**
 * Puts a policy inside a role.
 *
 * @param {Account} account
 * @param {string} RoleName
 * @param {'Allow' | 'Deny'} Effect
 * @param {string} Action
 * @param {string} Resource
 */
export async function putPolicy(account, RoleName, Effect, Action, Resource) {
  await account.client(IAMClient).send(
    new PutRolePolicyCommand({
      RoleName,
      PolicyName: INLINE_POLICY,
      PolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [{ Effect, Action, Resource }],
      }),
    }),
  );
}

/**
 * Repeats what is refused because what was granted a moment ago doesn't count everywhere yet.
 *
 * @param {Account} account
 * @param {AbortSignal} signal
 * @param {() => Promise<T>} action
 * @template T
 * @returns {Promise<T>}
 */
export async function untilItWorks(account, signal, action) {
  const deadline = Date.now() + (account.isEmulated ? 0 : IAM_SECONDS * 1_000);
  for (;;) {
    try {
      return await action();
    } catch (error) {
      if (!/denied|not authorized/i.test(String(error)) || Date.now() > deadline) {
        throw error;
      }
    }
    await sleep(3_000, undefined, { signal });
  }
}
