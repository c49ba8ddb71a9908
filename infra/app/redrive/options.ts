import { parseArgs } from 'node:util';

/** What the command line asks for. */
export interface RedriveOptions {
  /** The failure bucket. */
  readonly bucket: string;

  /** Name or ARN of the publisher. */
  readonly functionName: string;

  /** Only objects whose keys begin with this. */
  readonly prefix: string;

  /** Whether only to print what would be done. */
  readonly isDryRun: boolean;
}

/** The prefix of all failure records that Lambda writes. */
const DEFAULT_PREFIX = 'aws/lambda/';

/** How to call the program. */
export const USAGE = `Publishes the records in the failure bucket again, and deletes each object whose records are published.

npm run redrive -- --bucket <name> --function <name> [--prefix <prefix>] [--dry-run]

  --bucket    the failure bucket: output FailureBucketName of the stack
  --function  the publisher: output PublisherName of the stack
  --prefix    only objects whose keys begin with this (default ${DEFAULT_PREFIX})
  --dry-run   only print what would be published; nothing is invoked or deleted

Region and credentials come from the usual AWS settings (AWS_REGION, AWS_PROFILE, ...).
Exit status: 0 all published (or nothing to do), 1 something is left in the bucket, 2 invalid arguments.`;

/** The command line is wrong. */
export class UsageError extends Error {}

/**
 * Reads the command line.
 *
 * @param commandArguments the arguments after the program's name
 * @returns the options, or `help` if that was asked for
 * @throws {UsageError} if an option is missing, unknown or empty
 */
export function readOptions(commandArguments: readonly string[]): RedriveOptions | 'help' {
  const values = parse(commandArguments);
  if (values.help === true) {
    return 'help';
  }
  return {
    bucket: required('bucket', values.bucket),
    functionName: required('function', values.function),
    prefix: values.prefix ?? DEFAULT_PREFIX,
    isDryRun: values['dry-run'] ?? false,
  };
}

function parse(commandArguments: readonly string[]) {
  try {
    return parseArgs({
      args: [...commandArguments],
      options: {
        bucket: { type: 'string' },
        function: { type: 'string' },
        prefix: { type: 'string' },
        'dry-run': { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}

function required(name: string, value: string | undefined): string {
  if (value === undefined || value === '') {
    throw new UsageError(`--${name} is missing`);
  }
  return value;
}
