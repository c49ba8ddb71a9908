import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { readFailureRecord } from '../app/redrive/failure-record';
import { readOptions, UsageError } from '../app/redrive/options';

// A failing case is printed, made as small as possible, with the seed and path that repeat it.

/** Words of a command line, options among them. */
const word = fc.oneof(
  fc.constantFrom('--bucket', '--function', '--prefix', '--dry-run', '--help', '-h', '--', '-', ''),
  fc.string(),
  fc.string().map((text) => `--bucket=${text}`),
  fc.string().map((text) => `--${text}`),
);

/** JSON that looks like what Lambda keeps, more or less. */
const failureRecord = fc.record(
  {
    requestContext: fc.oneof(fc.jsonValue(), fc.record({ condition: fc.jsonValue() })),
    DDBStreamBatchInfo: fc.jsonValue(),
    payload: fc.oneof(
      fc.jsonValue(),
      fc.record({ Records: fc.jsonValue() }),
      fc.jsonValue().map((value) => JSON.stringify({ Records: value })),
    ),
  },
  { requiredKeys: [] },
);

describe('any input of the redrive', () => {
  test('a command line is understood, or refused with a sentence', () => {
    fc.assert(
      fc.property(fc.array(word, { maxLength: 8 }), (words) => {
        try {
          const options = readOptions(words);
          if (options !== 'help') {
            expect(options.bucket).not.toBe('');
            expect(options.functionName).not.toBe('');
          }
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
          expect(String(error)).not.toBe('UsageError');
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('what the options say arrives as it is', () => {
    const value = fc.string({ minLength: 1 });
    fc.assert(
      fc.property(value, value, fc.string(), fc.boolean(), (bucket, name, prefix, isDryRun) => {
        const words = [`--bucket=${bucket}`, `--function=${name}`, `--prefix=${prefix}`];
        expect(readOptions(isDryRun ? [...words, '--dry-run'] : words)).toEqual({
          bucket,
          functionName: name,
          prefix,
          isDryRun,
        });
      }),
    );
  });

  test('an object is a failure record with records, or refused with a reason', () => {
    const content = fc.oneof(
      fc.string(),
      fc.json(),
      failureRecord.map((record) => JSON.stringify(record)),
    );
    fc.assert(
      fc.property(content, (body) => {
        try {
          const { condition, event } = readFailureRecord(body);
          expect(event.Records.length).toBeGreaterThan(0);
          expect(typeof condition).toBe('string');
        } catch (error) {
          expect(String(error)).toMatch(/^Error: (the object|its payload|it has no payload)/);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test('what Lambda kept is sent again as it was', () => {
    fc.assert(
      fc.property(fc.array(fc.jsonValue(), { minLength: 1 }), fc.boolean(), (records, isText) => {
        const sent: unknown = JSON.parse(JSON.stringify({ Records: records }));
        const payload = isText ? JSON.stringify(sent) : sent;
        expect(readFailureRecord(JSON.stringify({ payload })).event).toEqual(sent);
      }),
    );
  });
});
