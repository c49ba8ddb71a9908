import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import schema from '../../environments/schema.json';
import { readEnvironmentFile, SETTING_NAMES } from '../app/environment-file';
import { ENVIRONMENTS, readSettings } from '../app/settings';
import { OptionalIndex, TableLayout } from '../lib';
import { SUBSCRIPTION_PROTOCOLS } from '../lib/store/subscribers';
import { BUNDLE_DIRECTORY } from './support';

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'eventdb-environments-'));
});
afterAll(() => {
  rmSync(directory, { recursive: true });
});

/** The settings of a file with this content. */
function read(content: string) {
  writeFileSync(join(directory, 'prod.json'), content);
  return readEnvironmentFile('prod', directory);
}

describe('the file of an environment', () => {
  test.each(ENVIRONMENTS)('is there for %s, and is valid', (environment) => {
    expect(readEnvironmentFile(environment)).toBeDefined();
  });

  test('has the settings that the schema describes', () => {
    const content = {
      $schema: './schema.json',
      name: 'Library',
      subscriptionAccounts: ['111111111111', '222222222222'],
      organizationId: 'o-1234567890',
      subscriptionProtocols: ['sqs', 'firehose'],
      tableLayout: 'byRevision',
      omitIndexes: ['AllEventsById'],
      table: 'arn:aws:dynamodb:eu-west-1:111111111111:table/Library/stream/2026-01-01T00:00:00.000',
      encryptionKey: 'new',
      failureEncryptionKey: 'new',
      alarmTopic: 'arn:aws:sns:eu-west-1:111111111111:Operators',
      architecture: 'x86_64',
      fifo: true,
      emptyFailureBucket: false,
    };
    expect(read(JSON.stringify(content))).toEqual(content);
  });

  test('may begin with a byte order mark', () => {
    expect(read('\uFEFF{ "fifo": true }')).toEqual({ fifo: true });
  });

  test.each([
    [
      '{ "fifo": "true" }',
      'environments/prod.json: fifo is "true", and must be boolean (Whether the topic is FIFO.',
    ],
    [
      '{ "fifos": true }',
      "environments/prod.json: there is no setting 'fifos'; there are name, subscriptionAccounts,",
    ],
    [
      '{ "subscriptionAccounts": ["1234"] }',
      'subscriptionAccounts 0 is "1234", and must match pattern',
    ],
    [
      '{ "subscriptionAccounts": "111111111111" }',
      'subscriptionAccounts is "111111111111", and must be array',
    ],
    [
      '{ "subscriptionAccounts": ["111111111111", "111111111111"] }',
      'must NOT have duplicate items',
    ],
    [
      '{ "subscriptionAccounts": [111111111111] }',
      'subscriptionAccounts 0 is 111111111111, and must be string',
    ],
    [
      '{ "architecture": "arm" }',
      'architecture is "arm", and must be equal to one of the allowed values: arm64, x86_64',
    ],
    [
      '{ "encryptionKey": "alias/events" }',
      'encryptionKey is "alias/events", and must match pattern',
    ],
    ['{ "organizationId": "o-1" }', 'organizationId is "o-1", and must match pattern'],
    [
      '{ "subscriptionProtocols": [] }',
      'subscriptionProtocols is [], and must NOT have fewer than 1',
    ],
    [
      '{ "subscriptionProtocols": ["SQS"] }',
      'subscriptionProtocols 0 is "SQS", and must be equal to one of the allowed values: sqs, lambda',
    ],
    ['{ "failureEncryptionKey": "own" }', 'failureEncryptionKey is "own", and must match pattern'],
    [
      '{ "tableLayout": "by revision" }',
      'tableLayout is "by revision", and must be equal to one of the allowed values: byTime, byRevision',
    ],
    [
      '{ "omitIndexes": ["AllSubjects"] }',
      'omitIndexes 0 is "AllSubjects", and must be equal to one of the allowed values: AllEventsByTime, AllEventsById',
    ],
    ['{ "table": "LibraryEvents" }', 'table is "LibraryEvents", and must match pattern'],
    ['[]', 'the file is [], and must be object'],
    ['null', 'the file is null, and must be object'],
    ['{ "fifo": tru }', "environments/prod.json isn't JSON: "],
    ['', "environments/prod.json isn't JSON: "],
  ])('fails with a sentence if it is %s', (content, message) => {
    expect(() => read(content)).toThrow(message);
  });

  test('names every fault, not only the first', () => {
    expect(() => read('{ "fifo": 1, "name": "9" }')).toThrow(
      /name is "9".*\n.*fifo is 1|fifo is 1.*\n.*name is "9"/,
    );
  });

  test('fails with what to do if it is missing', () => {
    expect(() => readEnvironmentFile('staging', directory)).toThrow(
      "environments/staging.json can't be read (ENOENT). It holds the settings of the environment",
    );
  });

  test('describes every setting that the app reads, and no other', () => {
    const asked = new Set<string>();
    readSettings(
      (name) => {
        asked.add(name);
        return name === 'env' ? 'dev' : undefined;
      },
      {},
      () => ({}),
    );
    asked.delete('env');

    expect([...asked].sort()).toEqual([...SETTING_NAMES].sort());
  });

  test('allows the protocols that the construct allows', () => {
    expect(schema.properties.subscriptionProtocols.items.enum).toEqual([...SUBSCRIPTION_PROTOCOLS]);
  });

  test('allows the layouts and the indexes that the construct allows', () => {
    expect(schema.properties.tableLayout.enum).toEqual(Object.values(TableLayout));
    expect(schema.properties.omitIndexes.items.enum).toEqual(Object.values(OptionalIndex));
  });

  test('settles what the command line leaves open, and the command line wins', () => {
    const file = {
      name: 'Library',
      subscriptionAccounts: ['111111111111'],
      fifo: true,
      code: BUNDLE_DIRECTORY,
    };
    const settings = (context: Record<string, unknown>) =>
      readSettings(
        (name) => context[name],
        {},
        () => file,
      );

    expect(settings({ env: 'prod' })).toMatchObject({
      name: 'Library',
      subscriptionAccounts: ['111111111111'],
      fifo: true,
    });
    expect(
      settings({ env: 'prod', subscriptionAccounts: '222222222222', fifo: 'false' }),
    ).toMatchObject({ name: 'Library', subscriptionAccounts: ['222222222222'], fifo: false });
  });
});
