// @ts-check
/** Proves in an AWS account what this project claims: `npm run test:aws`. See options.mjs. */
import { randomBytes } from 'node:crypto';
import { constants } from 'node:os';
import { createInterface } from 'node:readline/promises';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { SQSClient } from '@aws-sdk/client-sqs';
import { findAccount, isEmulated, roleWith } from './account.mjs';
import { announcementOf } from './announcement.mjs';
import { CHECKS } from './checks/index.mjs';
import { removeEverything, stacksOf } from './clean-up.mjs';
import { deploymentIn, value } from './deployment.mjs';
import { append, Inbox } from './events.mjs';
import { readOptions, USAGE, UsageError } from './options.mjs';
import { isSuccess, reportOf } from './report.mjs';
import { runChecks } from './run-checks.mjs';

/** @typedef {import('./account.mjs').Account} Account */

/** Progress goes to standard error, so that standard output is the report. @param {string} line */
const say = (line) => console.error(line);

/** @param {string} suffix */
const prefixOf = (suffix) => `EventDBProof-${suffix}`;

/** @type {NodeJS.Signals | undefined} */
let interrupted;

/** @returns {AbortSignal} aborted when this process is told to end */
function interruption() {
  const controller = new AbortController();
  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    process.on(signal, () => {
      say(
        interrupted === undefined
          ? `\n${signal}: everything is removed now`
          : `\n${signal}: still removing; if you must kill this, --clean-up finishes it later`,
      );
      interrupted ??= signal;
      controller.abort(new Error(`interrupted by ${signal}`));
    });
  }
  return controller.signal;
}

/**
 * @param {import('./options.mjs').Options} options
 * @param {AbortSignal} signal
 * @returns {Promise<number>} the exit status
 */
async function prove(options, signal) {
  const account = await findAccount();
  const prefix = prefixOf(options.suffix);
  await refuseUnlessPossible(account, prefix);
  say(announcementOf(account, prefix, options.tableLayout, CHECKS));
  if (!(await isConfirmed(options, 'Begin?', signal))) {
    return 2;
  }

  /** @type {import('./report.mjs').Run} */
  const run = {
    began: new Date(),
    place: account.isEmulated
      ? 'An emulator of AWS'
      : `AWS account ${account.id}, region ${account.region}`,
    isEmulated: account.isEmulated,
    suffix: options.suffix,
    tableLayout: options.tableLayout,
    results: [],
    checks: CHECKS,
    left: [],
  };
  const deployment = deploymentIn(account, prefix, options.tableLayout, signal);
  try {
    say('\nDeploying');
    const stacks = await deployment.deploy();
    const appender = await roleWith(
      account,
      `${prefix}-role-appender`,
      [value(stacks.store, 'AppendPolicyArn')],
      signal,
    );
    const LIBRARY_TABLE = value(stacks.store, 'TableName');
    await runChecks(
      CHECKS,
      {
        account,
        prefix,
        signal,
        tableLayout: options.tableLayout,
        deployment,
        stacks,
        appender,
        inbox: new Inbox(account.client(SQSClient), value(stacks.all, 'QueueUrl'), signal),
        append: async (appends) =>
          await append(
            appends,
            options.tableLayout,
            { ...account.environmentOf(await appender()), LIBRARY_TABLE },
            signal,
          ),
      },
      { only: options.only, defects: options.defects, say, results: run.results },
    );
  } catch (error) {
    run.broken = error instanceof Error ? error.message : String(error);
  } finally {
    deployment.discard();
    run.left = await removed(account, prefix);
  }
  console.log(reportOf(run));
  if (interrupted !== undefined) {
    return 128 + constants.signals[interrupted];
  }
  return isSuccess(run) ? 0 : 1;
}

/**
 * @param {import('./options.mjs').Options} options
 * @param {AbortSignal} signal
 * @returns {Promise<number>} the exit status
 */
async function cleanUp(options, signal) {
  const account = await findAccount();
  const prefix = prefixOf(options.suffix);
  say(
    `Everything whose name begins with ${prefix}- is deleted in the account ${account.id}, region ${account.region}.`,
  );
  if (!(await isConfirmed(options, 'Delete?', signal))) {
    return 2;
  }
  const left = await removed(account, prefix);
  say(left.length === 0 ? 'Nothing is left.' : `Left: ${left.join(', ')}`);
  return left.length === 0 ? 0 : 1;
}

/**
 * @param {Account} account
 * @param {string} prefix
 * @returns {Promise<string[]>} what is left, or why that isn't known
 */
async function removed(account, prefix) {
  say('\nRemoving everything');
  try {
    return await removeEverything(account, prefix, say);
  } catch (error) {
    return [
      `unknown, for removing has failed: ${error instanceof Error ? `${error.name}: ${error.message}` : error}`,
    ];
  }
}

/**
 * @param {Account} account
 * @param {string} prefix
 */
async function refuseUnlessPossible(account, prefix) {
  const stacks = await stacksOf(account, prefix);
  if (stacks.length > 0) {
    throw new UsageError(
      `There are stacks of these names already: ${stacks.map(({ name }) => name).join(', ')}. ` +
        'Give another --suffix, or remove them with --clean-up.',
    );
  }
  try {
    await account
      .client(CloudFormationClient)
      .send(new DescribeStacksCommand({ StackName: 'CDKToolkit' }));
  } catch (error) {
    throw new UsageError(
      `The CDK can't deploy to ${account.id} in ${account.region} yet (${error instanceof Error ? error.message : error}): ` +
        `npx cdk bootstrap aws://${account.id}/${account.region}`,
    );
  }
}

/**
 * @param {import('./options.mjs').Options} options
 * @param {string} question
 * @param {AbortSignal} signal
 */
async function isConfirmed(options, question, signal) {
  if (options.isConfirmed) {
    return true;
  }
  if (!process.stdin.isTTY) {
    throw new UsageError('There is nobody to ask whether to begin: give --yes');
  }
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return /^y(es)?$/i.test(
      (await terminal.question(`\n${question} (yes/no) `, { signal })).trim(),
    );
  } finally {
    terminal.close();
  }
}

try {
  const options = readOptions(process.argv.slice(2), {
    checks: CHECKS.map(({ name }) => name),
    isEmulated: isEmulated(),
    randomSuffix: randomBytes(4).toString('hex'),
  });
  if (options === 'help') {
    console.log(USAGE);
  } else {
    const signal = interruption();
    process.exitCode = await (options.isCleanUp
      ? cleanUp(options, signal)
      : prove(options, signal));
  }
} catch (error) {
  if (error instanceof UsageError) {
    say(error.message);
    process.exitCode = 2;
  } else {
    say(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
    process.exitCode = 1;
  }
}
