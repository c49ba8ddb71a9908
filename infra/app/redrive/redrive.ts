import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  NoSuchKey,
  paginateListObjectsV2,
  type S3Client,
} from '@aws-sdk/client-s3';
import { type FailureRecord, isObject, readFailureRecord } from './failure-record';
import type { RedriveOptions } from './options';

/** The services that the program uses. */
export interface RedriveClients {
  /** For the failure bucket. */
  readonly s3: S3Client;

  /** For the publisher. */
  readonly lambda: LambdaClient;

  /** Prints a line of the report. */
  readonly report: (line: string) => void;
}

/** The number of objects and their records, by result. */
export interface RedriveResult {
  /** Objects that were published or, in a dry run, would be. */
  readonly redriven: number;

  /** Records in them. */
  readonly records: number;

  /** Objects that stay in the bucket. */
  readonly failed: number;
}

/**
 * Publishes the records in the failure bucket again.
 *
 * It processes the objects one after the other in the order of their keys, which is the order of time
 * within a shard. An object is deleted only after the publisher has confirmed that all its records
 * are published. So an interrupted run, or a second run at the same time, never loses an event. It
 * can publish an event twice, which subscribers must handle anyway. An object that fails stays in
 * the bucket, and the run continues with the others.
 */
export async function redrive(
  options: RedriveOptions,
  clients: RedriveClients,
): Promise<RedriveResult> {
  let redriven = 0;
  let records = 0;
  let failed = 0;

  for await (const key of keys(options, clients.s3)) {
    try {
      const record = await fetchRecord(options.bucket, key, clients.s3);
      if (record === 'gone') {
        clients.report(`${key}: deleted in the meantime, because another run has redriven it`);
        continue;
      }
      const count = record.event.Records.length;
      if (!options.isDryRun) {
        await publish(options.functionName, record, clients.lambda);
        await clients.s3.send(new DeleteObjectCommand({ Bucket: options.bucket, Key: key }));
      }
      clients.report(
        `${key}: ${count} records ${options.isDryRun ? 'would be published' : 'published'} (${record.condition})`,
      );
      redriven += 1;
      records += count;
    } catch (error) {
      clients.report(`${key}: STAYS, ${error instanceof Error ? error.message : error}`);
      failed += 1;
    }
  }
  return { redriven, records, failed };
}

async function* keys(options: RedriveOptions, s3: S3Client): AsyncGenerator<string> {
  const pages = paginateListObjectsV2(
    { client: s3 },
    { Bucket: options.bucket, Prefix: options.prefix },
  );
  for await (const page of pages) {
    for (const { Key: key } of page.Contents ?? []) {
      if (key !== undefined) {
        yield key;
      }
    }
  }
}

async function fetchRecord(
  bucket: string,
  key: string,
  s3: S3Client,
): Promise<FailureRecord | 'gone'> {
  try {
    const { Body: body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return readFailureRecord((await body?.transformToString()) ?? '');
  } catch (error) {
    if (error instanceof NoSuchKey) {
      return 'gone';
    }
    throw error;
  }
}

/** Invokes the publisher like the stream mapping, and fails unless all records are published. */
async function publish(
  functionName: string,
  record: FailureRecord,
  lambda: LambdaClient,
): Promise<void> {
  const answer = await lambda.send(
    new InvokeCommand({
      FunctionName: functionName,
      InvocationType: 'RequestResponse',
      Payload: JSON.stringify(record.event),
    }),
  );
  const payload = answer.Payload?.transformToString() ?? '';
  if (answer.FunctionError !== undefined) {
    throw new Error(`the publisher failed (${answer.FunctionError}): ${payload}`);
  }
  const failures = batchItemFailures(payload);
  if (failures === undefined) {
    // A wrong function would also answer without an error, and the events would be lost.
    throw new Error(
      `${functionName} doesn't answer like the publisher, with batchItemFailures, but with: ${payload}`,
    );
  }
  if (failures.length > 0) {
    throw new Error(
      `the publisher reports failures from ${JSON.stringify(failures[0])} on: see its logs`,
    );
  }
}

function batchItemFailures(payload: string): readonly unknown[] | undefined {
  try {
    const answer: unknown = JSON.parse(payload);
    const failures = isObject(answer) ? answer['batchItemFailures'] : undefined;
    return Array.isArray(failures) ? failures : undefined;
  } catch {
    return undefined;
  }
}
