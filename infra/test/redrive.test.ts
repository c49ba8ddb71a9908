import { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  NoSuchKey,
  S3Client,
} from '@aws-sdk/client-s3';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { readFailureRecord } from '../app/redrive/failure-record';
import { readOptions } from '../app/redrive/options';
import { run } from '../app/redrive/run';

const clients = {
  s3: new S3Client({ region: 'eu-west-1' }),
  lambda: new LambdaClient({ region: 'eu-west-1' }),
};
const s3 = mockClient(clients.s3);
const lambda = mockClient(clients.lambda);
let reported: string[];

const CALL = ['--bucket', 'failures', '--function', 'publisher'];

/** Runs the command; what it prints is in `reported`. */
function redrive(...more: string[]): Promise<number> {
  return run([...CALL, ...more], {
    ...clients,
    report: (line) => reported.push(line),
  });
}

/** A record of the stream. */
const record = (sequence: string) => ({
  eventName: 'INSERT',
  eventSource: 'aws:dynamodb',
  dynamodb: { SequenceNumber: sequence, NewImage: { pk_all: { S: 'all' } } },
});

/** A failure record as Lambda writes it to S3. */
const failureRecord = (...sequences: string[]) =>
  JSON.stringify({
    requestContext: {
      requestId: '316aa6d0-8154-4b5e-9af7-85d5f4a6bc81',
      functionArn: 'arn:aws:lambda:eu-west-1:111111111111:function:publisher',
      condition: 'RetryAttemptsExhausted',
      approximateInvokeCount: 21,
    },
    responseContext: { statusCode: 200, executedVersion: '$LATEST' },
    version: '1.0',
    timestamp: '2026-11-14T00:13:49.717Z',
    DDBStreamBatchInfo: {
      shardId: 'shardId-00000001573689847184-864758bb',
      startSequenceNumber: sequences.at(0),
      endSequenceNumber: sequences.at(-1),
      batchSize: sequences.length,
      streamArn: 'arn:aws:dynamodb:eu-west-1:111111111111:table/Events/stream/2026-11-14T00:00:00',
    },
    payload: JSON.stringify({ Records: sequences.map(record) }),
  });

/** What the S3 client hands out as a body. */
const body = (content: string) =>
  ({ transformToString: async () => content }) as unknown as NonNullable<never>;

/** Puts objects into the bucket, a page of the listing each. */
function inBucket(...pages: Record<string, string>[]): void {
  pages.forEach((page, position) => {
    const isLast = position === pages.length - 1;
    s3.on(ListObjectsV2Command, {
      Bucket: 'failures',
      ...(position === 0 ? {} : { ContinuationToken: `page-${position}` }),
    }).resolves({
      Contents: Object.keys(page).map((key) => ({ Key: key })),
      IsTruncated: !isLast,
      ...(isLast ? {} : { NextContinuationToken: `page-${position + 1}` }),
    });
    for (const [key, content] of Object.entries(page)) {
      s3.on(GetObjectCommand, { Bucket: 'failures', Key: key }).resolves({ Body: body(content) });
    }
  });
}

/** What the publisher answers. */
const answer = (content: unknown) =>
  ({
    StatusCode: 200,
    Payload: { transformToString: () => JSON.stringify(content) },
  }) as unknown as NonNullable<never>;

const deleted = () => s3.commandCalls(DeleteObjectCommand).map((call) => call.args[0].input.Key);

beforeEach(() => {
  s3.reset();
  lambda.reset();
  s3.on(DeleteObjectCommand).resolves({});
  reported = [];
});

describe('redrive', () => {
  test('invokes the publisher with the kept event as the stream did, then deletes the object', async () => {
    // GIVEN
    inBucket({ 'aws/lambda/m/s/2026/11/14/2026-11-14T00.13.49-r': failureRecord('100', '200') });
    lambda.on(InvokeCommand).resolves(answer({ batchItemFailures: [] }));

    // WHEN
    const status = await redrive();

    // THEN
    expect(status).toBe(0);
    const [call] = lambda.commandCalls(InvokeCommand);
    expect(call?.args[0].input).toMatchObject({
      FunctionName: 'publisher',
      InvocationType: 'RequestResponse',
    });
    expect(JSON.parse(String(call?.args[0].input.Payload))).toEqual({
      Records: [record('100'), record('200')],
    });
    expect(deleted()).toEqual(['aws/lambda/m/s/2026/11/14/2026-11-14T00.13.49-r']);
    expect(reported).toEqual([
      'aws/lambda/m/s/2026/11/14/2026-11-14T00.13.49-r: 2 records published (RetryAttemptsExhausted)',
      '1 objects with 2 records redriven, 0 stay.',
    ]);
  });

  test('goes through all pages of the listing, in the order of the keys', async () => {
    inBucket(
      { a: failureRecord('1'), b: failureRecord('2') },
      { c: failureRecord('3') },
      { d: failureRecord('4') },
    );
    lambda.on(InvokeCommand).resolves(answer({ batchItemFailures: [] }));

    expect(await redrive()).toBe(0);
    expect(deleted()).toEqual(['a', 'b', 'c', 'd']);
    expect(lambda.commandCalls(InvokeCommand)).toHaveLength(4);
  });

  test('lists only what Lambda wrote, or the prefix that is given', async () => {
    inBucket({});
    await redrive();
    await redrive('--prefix', 'aws/lambda/m/');

    expect(s3.commandCalls(ListObjectsV2Command).map((call) => call.args[0].input.Prefix)).toEqual([
      'aws/lambda/',
      'aws/lambda/m/',
    ]);
  });

  test('has nothing to do with an empty bucket', async () => {
    inBucket({});

    expect(await redrive()).toBe(0);
    expect(reported).toEqual(['0 objects with 0 records redriven, 0 stay.']);
  });

  test('publishes and deletes nothing in a dry run', async () => {
    inBucket({ a: failureRecord('1', '2') });

    expect(await redrive('--dry-run')).toBe(0);
    expect(lambda.calls()).toHaveLength(0);
    expect(deleted()).toEqual([]);
    expect(reported[0]).toBe('a: 2 records would be published (RetryAttemptsExhausted)');
  });

  test.each([
    [
      'reports failed records',
      answer({ batchItemFailures: [{ itemIdentifier: '100' }] }),
      'the publisher reports failures from {"itemIdentifier":"100"} on',
    ],
    [
      'fails',
      { ...(answer({ errorMessage: 'no topic' }) as object), FunctionError: 'Unhandled' },
      'the publisher failed (Unhandled): {"errorMessage":"no topic"}',
    ],
    ['answers nothing, as another function may', answer(null), "doesn't answer like the publisher"],
    ['answers something else', answer({ ok: true }), "doesn't answer like the publisher"],
    ['has an empty answer', { StatusCode: 200 }, "doesn't answer like the publisher"],
  ])('keeps the object and goes on if the publisher %s', async (_, wrong, message) => {
    // GIVEN
    inBucket({ a: failureRecord('100'), b: failureRecord('200') });
    lambda
      .on(InvokeCommand)
      .resolves(answer({ batchItemFailures: [] }))
      .on(InvokeCommand, { Payload: JSON.stringify({ Records: [record('100')] }) })
      .resolves(wrong);

    // WHEN
    const status = await redrive();

    // THEN
    expect(status).toBe(1);
    expect(deleted()).toEqual(['b']);
    expect(reported[0]).toContain(`a: STAYS, `);
    expect(reported[0]).toContain(message);
    expect(reported.at(-1)).toBe('1 objects with 1 records redriven, 1 stay.');
  });

  test('keeps the object and goes on if the publisher cannot be invoked', async () => {
    inBucket({ a: failureRecord('100') });
    lambda.on(InvokeCommand).rejects(new Error('Function not found'));

    expect(await redrive()).toBe(1);
    expect(deleted()).toEqual([]);
    expect(reported[0]).toBe('a: STAYS, Function not found');
  });

  test('publishes the object again in the next run if it could not be deleted', async () => {
    // GIVEN
    inBucket({ a: failureRecord('100') });
    lambda.on(InvokeCommand).resolves(answer({ batchItemFailures: [] }));
    s3.on(DeleteObjectCommand).rejectsOnce(new Error('Access Denied')).resolves({});

    // WHEN
    const first = await redrive();
    const second = await redrive();

    // THEN
    expect([first, second]).toEqual([1, 0]);
    expect(lambda.commandCalls(InvokeCommand)).toHaveLength(2);
  });

  test('passes over what another run has redriven meanwhile', async () => {
    inBucket({ a: failureRecord('100') });
    s3.on(GetObjectCommand).rejects(new NoSuchKey({ $metadata: {}, message: 'gone' }));

    expect(await redrive()).toBe(0);
    expect(lambda.calls()).toHaveLength(0);
    expect(reported[0]).toBe('a: deleted in the meantime, because another run has redriven it');
  });

  test("keeps what isn't a failure record, and says why", async () => {
    inBucket({ a: '{"requestContext":', b: failureRecord('200') });
    lambda.on(InvokeCommand).resolves(answer({ batchItemFailures: [] }));

    expect(await redrive()).toBe(1);
    expect(deleted()).toEqual(['b']);
    expect(reported[0]).toContain("a: STAYS, the object isn't JSON");
  });

  test('fails if the bucket cannot be listed', async () => {
    const denied = Object.assign(new Error('not yours'), { name: 'AccessDenied' });
    s3.on(ListObjectsV2Command).rejects(denied);

    expect(await redrive()).toBe(1);
    expect(reported).toEqual(["The bucket failures can't be listed: AccessDenied: not yours"]);
  });
});

describe('a failure record', () => {
  test('is taken with its event as plain JSON too', () => {
    const content = JSON.stringify({ payload: { Records: [record('1')] } });

    expect(readFailureRecord(content)).toEqual({
      event: { Records: [record('1')] },
      condition: 'unknown condition',
    });
  });

  test.each([
    ['', "the object isn't JSON"],
    ['[]', "the object isn't a JSON object"],
    [
      '{"DDBStreamBatchInfo":{"shardId":"s1"}}',
      'it has no payload: Lambda kept only the position in the stream ({"shardId":"s1"})',
    ],
    ['{"payload":"{"}', "its payload isn't JSON"],
    ['{"payload":"[]"}', "its payload isn't a JSON object"],
    ['{"payload":"{}"}', 'its payload has no Records'],
    ['{"payload":"{\\"Records\\":[]}"}', 'its payload has no Records'],
  ])('fails if it is %s', (content, message) => {
    expect(() => readFailureRecord(content)).toThrow(message);
  });
});

describe('the command line', () => {
  test('is read', () => {
    expect(readOptions([...CALL, '--prefix', 'p/', '--dry-run'])).toEqual({
      bucket: 'failures',
      functionName: 'publisher',
      prefix: 'p/',
      isDryRun: true,
    });
  });

  test.each([
    [['--function', 'f'], '--bucket is missing'],
    [['--bucket', 'b'], '--function is missing'],
    [['--bucket', '', '--function', 'f'], '--bucket is missing'],
    [[...CALL, '--force'], "Unknown option '--force'"],
    [[...CALL, 'more'], "Unexpected argument 'more'"],
  ])('fails with status 2 if it is %j, and says how to call', async (call, message) => {
    const status = await run(call, {
      ...clients,
      report: (line) => reported.push(line),
    });

    expect(status).toBe(2);
    expect(reported[0]).toContain(message);
    expect(reported[0]).toContain('npm run redrive -- --bucket');
    expect(s3.calls()).toHaveLength(0);
  });

  test('explains itself', async () => {
    expect(await redrive('--help')).toBe(0);
    expect(reported[0]).toContain('Exit status: 0 all published');
  });
});
