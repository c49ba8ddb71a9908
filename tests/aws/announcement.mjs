// @ts-check
/** What is said before anything is made. No I/O. */
import { notProvenOnEmulator } from './run-checks.mjs';

/** @type {Readonly<Record<import('./options.mjs').TableLayout, string>>} */
export const IN_WORDS = { byTime: 'by time', byRevision: 'by revision' };

/**
 * @param {import('./account.mjs').Account} account
 * @param {string} prefix
 * @param {import('./options.mjs').TableLayout} tableLayout
 * @param {readonly import('./run-checks.mjs').Check[]} checks
 * @returns {string}
 */
export function announcementOf(account, prefix, tableLayout, checks) {
  const { id, region, caller, isEmulated } = account;
  return [
    isEmulated
      ? `An emulator (${process.env['AWS_ENDPOINT_URL']}), region ${region}.`
      : `The AWS account ${id}, region ${region}, as ${caller}.`,
    '',
    'This is made there, and removed at the end, after Ctrl-C and after a failure, too:',
    `- stacks ${prefix}-Store and ${prefix}-Encrypted: two event stores (table ${IN_WORDS[tableLayout]}, topic, function, bucket, logs, policies), one with a KMS key`,
    `- stacks ${prefix}-All, ${prefix}-Filtered and ${prefix}-EncryptedAll: three subscribers (queues, one pair with a KMS key)`,
    `- roles ${prefix}-role-appender, -encrypted and -operator, each with one policy of these stacks`,
    ...(isEmulated
      ? [
          '',
          'An emulator does not show:',
          ...notProvenOnEmulator(checks).map((what) => `- ${what}`),
        ]
      : [
          `- the table ${prefix}-Capacity, with some 11,000 events`,
          '',
          'What stays: the two KMS keys wait for their deletion, which costs nothing; and files of some',
          'MB in the bucket of `cdk bootstrap`, which `cdk gc` removes.',
          '',
          'It takes one to two hours, most of it waiting for an alarm. By the list prices of us-east-1 it',
          'costs some $0.20: about 150,000 write units $0.10, two KMS keys for two hours $0.01, and',
          'requests, logs and metrics. Not more than $1 elsewhere.',
        ]),
    '',
    `If this program is killed: npm run test:aws -- --clean-up ${prefix.split('-').at(-1)}`,
  ].join('\n');
}
