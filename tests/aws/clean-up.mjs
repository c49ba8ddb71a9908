// @ts-check
/** Finds and removes all that a run has made, by the beginning of its name. */
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CloudFormationClient,
  DeleteStackCommand,
  paginateDescribeStacks,
  paginateListStackResources,
} from '@aws-sdk/client-cloudformation';
import {
  CloudWatchLogsClient,
  DeleteLogGroupCommand,
  paginateDescribeLogGroups,
} from '@aws-sdk/client-cloudwatch-logs';
import { DeleteTableCommand, DynamoDBClient, paginateListTables } from '@aws-sdk/client-dynamodb';
import {
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DetachRolePolicyCommand,
  IAMClient,
  ListAttachedRolePoliciesCommand,
  ListRolePoliciesCommand,
  paginateListPolicies,
  paginateListRoles,
} from '@aws-sdk/client-iam';
import { LambdaClient, paginateListFunctions } from '@aws-sdk/client-lambda';
import {
  DeleteObjectCommand,
  ListBucketsCommand,
  paginateListObjectsV2,
  S3Client,
} from '@aws-sdk/client-s3';
import { paginateListTopics, SNSClient } from '@aws-sdk/client-sns';
import { DeleteQueueCommand, paginateListQueues, SQSClient } from '@aws-sdk/client-sqs';
import { INLINE_POLICY } from './account.mjs';

const STACKS_SECONDS = 1_200;
const LISTING_SECONDS = 120;

/** @typedef {import('./account.mjs').Account} Account */

/**
 * The run's stacks that there are.
 *
 * @param {Account} account
 * @param {string} prefix
 */
export async function stacksOf({ client }, prefix) {
  const found = [];
  const pages = paginateDescribeStacks({ client: client(CloudFormationClient) }, {});
  for await (const { Stacks: stacks = [] } of pages) {
    for (const { StackName: name = '', StackStatus: status = '' } of stacks) {
      if (name.startsWith(`${prefix}-`) && status !== 'DELETE_COMPLETE') {
        found.push({ name, status });
      }
    }
  }
  return found;
}

/**
 * Removes everything. It may be called again, and goes on then with what is left.
 *
 * @param {Account} account
 * @param {string} prefix
 * @param {(line: string) => void} say
 * @returns {Promise<string[]>} what is left nevertheless
 */
export async function removeEverything(account, prefix, say) {
  // First the roles: a policy that is attached to one can't be deleted with its stack.
  await removeRoles(account, prefix);
  await emptyBuckets(account, prefix);
  await removeStacks(account, prefix, say);
  await removeTables(account, prefix);
  await removeQueues(account, prefix);
  await removeLogGroups(account, prefix);
  return await lastingLeftovers(account, prefix);
}

/**
 * Removes the roles that the run has made itself, with what is attached to them.
 *
 * @param {Account} account
 * @param {string} prefix
 */
export async function removeRoles(account, prefix) {
  const iam = account.client(IAMClient);
  for (const RoleName of await rolesOf(account, prefix)) {
    if (!RoleName.startsWith(`${prefix}-role-`)) {
      // That of a stack goes with it, unless there is more inside than the stack knows of.
      await removeInlinePolicy(iam, RoleName);
      continue;
    }
    const attached = await iam.send(new ListAttachedRolePoliciesCommand({ RoleName }));
    for (const { PolicyArn } of attached.AttachedPolicies ?? []) {
      await iam.send(new DetachRolePolicyCommand({ RoleName, PolicyArn }));
    }
    const inside = await iam.send(new ListRolePoliciesCommand({ RoleName }));
    for (const PolicyName of inside.PolicyNames ?? []) {
      await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName }));
    }
    await iam.send(new DeleteRoleCommand({ RoleName }));
  }
}

/** @param {IAMClient} iam @param {string} RoleName */
async function removeInlinePolicy(iam, RoleName) {
  try {
    await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName: INLINE_POLICY }));
  } catch (error) {
    if (!(error instanceof Error && /^NoSuchEntity/.test(error.name))) {
      throw error;
    }
  }
}

/**
 * What there is still once AWS has had the time to list no more what was deleted, which takes a
 * minute for queues.
 *
 * @param {Account} account
 * @param {string} prefix
 * @param {(name: string) => boolean} [isExpected] what needn't be waited for
 */
export async function lastingLeftovers(account, prefix, isExpected = () => false) {
  const deadline = Date.now() + (account.isEmulated ? 0 : LISTING_SECONDS * 1_000);
  for (;;) {
    const left = await leftovers(account, prefix);
    if (left.every(isExpected) || Date.now() > deadline) {
      return left;
    }
    await sleep(10_000);
  }
}

/**
 * What there is still, by what it is and its name.
 *
 * @param {Account} account
 * @param {string} prefix
 * @returns {Promise<string[]>}
 */
export async function leftovers(account, prefix) {
  const functions = [];
  const pages = paginateListFunctions({ client: account.client(LambdaClient) }, {});
  for await (const { Functions: found = [] } of pages) {
    functions.push(...found.map(({ FunctionName: name = '' }) => name));
  }
  const topics = [];
  for await (const page of paginateListTopics({ client: account.client(SNSClient) }, {})) {
    topics.push(
      ...(page.Topics ?? []).map(({ TopicArn: arn = '' }) => arn.split(':').at(-1) ?? ''),
    );
  }
  const policies = [];
  const scope = { Scope: /** @type {'Local'} */ ('Local') };
  for await (const page of paginateListPolicies({ client: account.client(IAMClient) }, scope)) {
    policies.push(...(page.Policies ?? []).map(({ PolicyName: name = '' }) => name));
  }
  const buckets = await account.client(S3Client).send(new ListBucketsCommand({}));
  const ours = (/** @type {string[]} */ names) =>
    names.filter((name) => name.toLowerCase().startsWith(`${prefix}-`.toLowerCase()));
  return [
    ...(await stacksOf(account, prefix)).map(({ name, status }) => `stack ${name} (${status})`),
    ...(await tablesOf(account, prefix)).map((name) => `table ${name}`),
    ...ours(functions).map((name) => `function ${name}`),
    ...ours(topics).map((name) => `topic ${name}`),
    ...ours((buckets.Buckets ?? []).map(({ Name: name = '' }) => name)).map(
      (name) => `bucket ${name}`,
    ),
    ...(await queuesOf(account, prefix)).map((url) => `queue ${url}`),
    ...(await rolesOf(account, prefix)).map((name) => `role ${name}`),
    ...ours(policies).map((name) => `policy ${name}`),
    ...(await logGroupsOf(account, prefix)).map((name) => `log group ${name}`),
  ];
}

/**
 * @param {Account} account
 * @param {string} prefix
 * @param {(line: string) => void} say
 */
async function removeStacks(account, prefix, say) {
  const cloudFormation = account.client(CloudFormationClient);
  const deadline = Date.now() + STACKS_SECONDS * 1_000;
  const asked = new Set();
  for (;;) {
    const stacks = (await stacksOf(account, prefix)).filter(
      // Asked once more, it would fail once more.
      ({ name, status }) => status !== 'DELETE_FAILED' || !asked.has(name),
    );
    if (stacks.length === 0) {
      return;
    }
    if (Date.now() > deadline) {
      say(`These stacks are still there: ${stacks.map(({ name }) => name).join(', ')}`);
      return;
    }
    for (const { name, status } of stacks) {
      // What CloudFormation is about to end can't be deleted before.
      const isBusy = /^(UPDATE|ROLLBACK|DELETE).*_IN_PROGRESS$/.test(status);
      if (!asked.has(name) && !isBusy) {
        say(`Deleting the stack ${name}`);
        await cloudFormation.send(new DeleteStackCommand({ StackName: name }));
        asked.add(name);
      }
    }
    await sleep(account.isEmulated ? 200 : 5_000);
  }
}

/**
 * CloudFormation can't delete a bucket with something in it.
 *
 * @param {Account} account
 * @param {string} prefix
 */
async function emptyBuckets(account, prefix) {
  const s3 = account.client(S3Client);
  for (const { name } of await stacksOf(account, prefix)) {
    const pages = paginateListStackResources(
      { client: account.client(CloudFormationClient) },
      { StackName: name },
    );
    for await (const { StackResourceSummaries: resources = [] } of pages) {
      for (const { ResourceType: type, PhysicalResourceId: Bucket } of resources) {
        if (type === 'AWS::S3::Bucket' && Bucket !== undefined) {
          await emptyBucket(s3, Bucket);
        }
      }
    }
  }
}

/** @param {S3Client} s3 @param {string} Bucket */
async function emptyBucket(s3, Bucket) {
  try {
    for await (const { Contents: objects = [] } of paginateListObjectsV2(
      { client: s3 },
      { Bucket },
    )) {
      for (const { Key } of objects) {
        await s3.send(new DeleteObjectCommand({ Bucket, Key }));
      }
    }
  } catch (error) {
    // Of a stack that is half deleted it is gone already.
    if (!(error instanceof Error && error.name === 'NoSuchBucket')) {
      throw error;
    }
  }
}

/** @param {Account} account @param {string} prefix */
async function removeTables(account, prefix) {
  for (const TableName of await tablesOf(account, prefix)) {
    await account.client(DynamoDBClient).send(new DeleteTableCommand({ TableName }));
  }
  const deadline = Date.now() + 120_000;
  while ((await tablesOf(account, prefix)).length > 0 && Date.now() < deadline) {
    await sleep(1_000);
  }
}

/** @param {Account} account @param {string} prefix */
async function removeQueues(account, prefix) {
  for (const QueueUrl of await queuesOf(account, prefix)) {
    await account.client(SQSClient).send(new DeleteQueueCommand({ QueueUrl }));
  }
}

/** @param {Account} account @param {string} prefix */
async function removeLogGroups(account, prefix) {
  for (const logGroupName of await logGroupsOf(account, prefix)) {
    await account.client(CloudWatchLogsClient).send(new DeleteLogGroupCommand({ logGroupName }));
  }
}

/** @param {Account} account @param {string} prefix */
async function rolesOf(account, prefix) {
  const names = [];
  for await (const page of paginateListRoles({ client: account.client(IAMClient) }, {})) {
    names.push(...(page.Roles ?? []).map(({ RoleName: name = '' }) => name));
  }
  return names.filter((name) => name.startsWith(`${prefix}-`));
}

/** @param {Account} account @param {string} prefix */
async function tablesOf(account, prefix) {
  const names = [];
  for await (const page of paginateListTables({ client: account.client(DynamoDBClient) }, {})) {
    names.push(...(page.TableNames ?? []));
  }
  return names.filter((name) => name.startsWith(`${prefix}-`));
}

/** @param {Account} account @param {string} prefix */
async function queuesOf(account, prefix) {
  const urls = [];
  const pages = paginateListQueues(
    { client: account.client(SQSClient), pageSize: 1_000 },
    { QueueNamePrefix: `${prefix}-` },
  );
  for await (const { QueueUrls: found = [] } of pages) {
    urls.push(...found);
  }
  return urls;
}

/**
 * Those of the stacks, and those that Lambda makes for functions of the CDK.
 *
 * @param {Account} account
 * @param {string} prefix
 */
export async function logGroupsOf(account, prefix) {
  const names = [];
  for (const logGroupNamePrefix of [`${prefix}-`, `/aws/lambda/${prefix}-`]) {
    const pages = paginateDescribeLogGroups(
      { client: account.client(CloudWatchLogsClient) },
      { logGroupNamePrefix },
    );
    for await (const { logGroups = [] } of pages) {
      names.push(...logGroups.map(({ logGroupName: name = '' }) => name));
    }
  }
  return names;
}
