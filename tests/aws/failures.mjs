// @ts-check
/** The failure bucket, and `eventdb redrive` with the redrive policy alone. */
import { GetObjectCommand, paginateListObjectsV2, S3Client } from '@aws-sdk/client-s3';
import { operatorsTool } from '../operators-tool.mjs';
import { roleWith } from './account.mjs';
import { value } from './deployment.mjs';
import { run } from './events.mjs';

/** @typedef {import('./run-checks.mjs').Context} Context */

/** The operator's, once they are made: one role serves all checks. @type {Map<string, () => Promise<import('./account.mjs').Credentials>>} */
const redrivers = new Map();

/**
 * What is in the failure bucket.
 *
 * @param {import('./account.mjs').Account} account
 * @param {string} Bucket
 */
export async function kept(account, Bucket) {
  const s3 = account.client(S3Client);
  const found = [];
  for await (const { Contents: objects = [] } of paginateListObjectsV2(
    { client: s3 },
    { Bucket },
  )) {
    for (const { Key: key = '' } of objects) {
      const { Body: body } = await s3.send(new GetObjectCommand({ Bucket, Key: key }));
      found.push({ key, body: (await body?.transformToString()) ?? '' });
    }
  }
  return found;
}

/** An operator, who has the redrive policy and nothing else. @param {Context} context */
export async function redriver({ account, prefix, stacks, signal }) {
  const made = redrivers.get(prefix);
  if (made !== undefined) {
    return await made();
  }
  const assume = await roleWith(
    account,
    `${prefix}-role-operator`,
    [value(stacks.store, 'RedrivePolicyArn')],
    signal,
  );
  redrivers.set(prefix, assume);
  return await assume();
}

/**
 * @param {Context} context
 * @param {import('./account.mjs').Credentials} credentials
 */
export async function redriveAs({ account, stacks, signal }, credentials) {
  const { status, printed, complaint } = await run(
    operatorsTool(),
    [
      ...['redrive', '--yes'],
      ...['--failure-bucket', value(stacks.store, 'FailureBucketName')],
      ...['--publisher', value(stacks.store, 'PublisherName')],
    ],
    { env: account.environmentOf(credentials), signal },
  );
  return { status, printed: status === 2 ? complaint : printed };
}
