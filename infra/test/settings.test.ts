import { Architecture } from 'aws-cdk-lib/aws-lambda';
import { describe, expect, test } from 'vitest';
import { readSettings } from '../app/settings';
import { readSubscriberSettings } from '../app/subscriber-stack';
import { OptionalIndex, TableLayout } from '../lib';
import { BUNDLE_DIRECTORY } from './support';

const TABLE_ARN = 'arn:aws:dynamodb:eu-west-1:111111111111:table/Library.Events';
const STREAM_ARN = `${TABLE_ARN}/stream/2026-01-01T00:00:00.000`;
const QUEUE_ARN = 'arn:aws:sqs:eu-west-1:111111111111:Loans';
const KEY_ARN = 'arn:aws:kms:eu-west-1:111111111111:key/1234abcd-12ab-34cd-56ef-1234567890ab';

const settings = (
  context: Record<string, unknown>,
  variables: NodeJS.ProcessEnv = {},
  file: Record<string, unknown> = {},
) =>
  readSettings(
    (name) => context[name],
    variables,
    () => file,
  );

const subscriberSettings = (context: Record<string, unknown>) =>
  readSubscriberSettings((name) => context[name]);

describe("the settings of the event store's app", () => {
  test('have defaults for all but the environment', () => {
    expect(settings({ env: 'dev' })).toEqual({
      environment: 'dev',
      name: 'EventDB',
      subscriptionAccounts: [],
      architecture: Architecture.ARM_64,
      organizationId: undefined,
      subscriptionProtocols: undefined,
      tableLayout: undefined,
      omitIndexes: [],
      table: undefined,
      encryptionKey: undefined,
      failureEncryptionKey: undefined,
      alarmTopicArn: undefined,
      fifo: false,
      topicName: undefined,
      publish: true,
      feed: undefined,
      feedPartitions: undefined,
      verificationHours: undefined,
      emptyFailureBucket: undefined,
      replayQueues: [],
      code: undefined,
    });
  });

  test('are read from the context, as the command line hands it over', () => {
    expect(
      settings({
        env: 'prod',
        name: 'Library',
        subscriptionAccounts: '111111111111, 222222222222',
        architecture: 'x86_64',
        organizationId: 'o-1234567890',
        subscriptionProtocols: 'sqs, https',
        tableLayout: 'byRevision',
        omitIndexes: 'AllEventsById, AllEventsByTime',
        table: STREAM_ARN,
        encryptionKey: 'new',
        failureEncryptionKey: KEY_ARN,
        alarmTopic: 'arn:aws:sns:eu-west-1:111111111111:Operators',
        fifo: 'true',
        topicName: 'LibraryEvents',
        publish: 'false',
        feed: 'true',
        feedPartitions: '16',
        verificationHours: '2',
        emptyFailureBucket: 'false',
        replayQueues: `${QUEUE_ARN}, ${QUEUE_ARN}-2`,
        code: BUNDLE_DIRECTORY,
      }),
    ).toEqual({
      environment: 'prod',
      name: 'Library',
      subscriptionAccounts: ['111111111111', '222222222222'],
      architecture: Architecture.X86_64,
      organizationId: 'o-1234567890',
      subscriptionProtocols: ['sqs', 'https'],
      tableLayout: TableLayout.BY_REVISION,
      omitIndexes: [OptionalIndex.ALL_EVENTS_BY_TIME, OptionalIndex.ALL_EVENTS_BY_ID],
      table: { tableArn: TABLE_ARN, tableStreamArn: STREAM_ARN },
      encryptionKey: 'new',
      failureEncryptionKey: KEY_ARN,
      alarmTopicArn: 'arn:aws:sns:eu-west-1:111111111111:Operators',
      fifo: true,
      topicName: 'LibraryEvents',
      publish: false,
      feed: true,
      feedPartitions: 16,
      verificationHours: 2,
      emptyFailureBucket: false,
      replayQueues: [QUEUE_ARN, `${QUEUE_ARN}-2`],
      code: BUNDLE_DIRECTORY,
    });
  });

  test('take lists and truths as cdk.json writes them', () => {
    expect(
      settings({ env: 'dev', subscriptionAccounts: ['111111111111'], fifo: true }),
    ).toMatchObject({
      subscriptionAccounts: ['111111111111'],
      fifo: true,
    });
  });

  test('take a table without a stream where nothing is published', () => {
    expect(settings({ env: 'dev', table: TABLE_ARN, publish: 'false' }).table).toEqual({
      tableArn: TABLE_ARN,
      tableStreamArn: undefined,
    });
  });

  test('take the architecture from the environment, where the context has none', () => {
    const variables = { EVENTDB_ARCHITECTURE: 'x86_64' };
    expect(settings({ env: 'dev' }, variables).architecture).toBe(Architecture.X86_64);
    expect(settings({ env: 'dev', architecture: 'arm64' }, variables).architecture).toBe(
      Architecture.ARM_64,
    );
  });

  test.each<[Record<string, unknown>, string]>([
    [{}, 'The context value env is missing; give one of dev, test, staging, prod: -c env=dev'],
    [{ env: '' }, 'The context value env is missing'],
    [
      { env: 'production' },
      "The context value env is 'production'; give one of dev, test, staging, prod",
    ],
    [{ env: 'dev', name: '9 lives' }, "The context value name is '9 lives'"],
    [{ env: 'dev', architecture: 'arm' }, "is 'arm'; give one of arm64, x86_64"],
    [
      { env: 'dev', encryptionKey: 'yes' },
      "The context value encryptionKey is 'yes'; give 'new' or an ARN: arn:aws:kms:",
    ],
    [
      { env: 'dev', encryptionKey: 'arn:aws:kms:eu-west-1:111111111111:alias/events' },
      "is 'arn:aws:kms:eu-west-1:111111111111:alias/events', an alias, which policies can't name; give the ARN of the key behind it",
    ],
    [
      { env: 'dev', failureEncryptionKey: 'yes' },
      "The context value failureEncryptionKey is 'yes'; give 'new' or an ARN: arn:aws:kms:",
    ],
    [
      { env: 'dev', failureEncryptionKey: 'arn:aws:kms:eu-west-1:111111111111:alias/events' },
      'The context value failureEncryptionKey is',
    ],
    [
      { env: 'dev', subscriptionProtocols: 'sqs,SQS' },
      "The context value subscriptionProtocols has 'SQS'; give some of sqs, lambda, ",
    ],
    [
      { env: 'dev', tableLayout: 'revision' },
      "The context value tableLayout is 'revision'; give one of byTime, byRevision",
    ],
    [
      { env: 'dev', tableLayout: 'byRevision', omitIndexes: 'AllSubjects' },
      "The context value omitIndexes has 'AllSubjects'; give some of AllEventsByTime, AllEventsById",
    ],
    ...[undefined, 'byTime'].map((tableLayout): [Record<string, unknown>, string] => [
      { env: 'dev', tableLayout, omitIndexes: ['AllEventsById'] },
      'The context value omitIndexes has AllEventsById, but a table by time needs all its indexes',
    ]),
    [
      { env: 'dev', table: TABLE_ARN },
      `The context value table is '${TABLE_ARN}', a table without its stream; give the ARN of the stream`,
    ],
    [
      { env: 'dev', table: 'LibraryEvents' },
      "The context value table is 'LibraryEvents'; give the ARN of the stream of an existing table",
    ],
    [
      { env: 'dev', table: `${TABLE_ARN}/index/AllEventsByTime`, publish: 'false' },
      "/index/AllEventsByTime'; give the ARN of the stream of an existing table",
    ],
    [
      { env: 'dev', replayQueues: `${QUEUE_ARN},Loans` },
      "The context value replayQueues has 'Loans'; give ARNs: arn:aws:sqs:",
    ],
    [
      { env: 'dev', alarmTopic: 'Operators' },
      "The context value alarmTopic is 'Operators'; give an ARN: arn:aws:sns:",
    ],
    ...['0', '257', '4.5', '-1', '0x4', true].map(
      (feedPartitions): [Record<string, unknown>, string] => [
        { env: 'dev', feedPartitions },
        `The context value feedPartitions is ${JSON.stringify(feedPartitions)}; give a whole number from 1 to 256`,
      ],
    ),
    ...['0', '25', '1.5', true].map((verificationHours): [Record<string, unknown>, string] => [
      { env: 'dev', verificationHours },
      `The context value verificationHours is ${JSON.stringify(verificationHours)}; give a whole number from 1 to 24`,
    ]),
    [
      { env: 'dev', feed: 'false', verificationHours: 8 },
      'The context value verificationHours is 8, but feed is false; leave one of them out',
    ],
    [
      { env: 'dev', feed: 'false', feedPartitions: 8 },
      'The context value feedPartitions is 8, but feed is false; leave one of them out',
    ],
    [{ env: 'dev', fifo: 'ja' }, 'The context value fifo is "ja"; give true or false'],
    [
      { env: 'dev', code: '/no/such/bundle' },
      "The context value code is '/no/such/bundle', where there is nothing",
    ],
    [
      { env: 'dev', code: __dirname },
      "/test', where there is no bootstrap; give a directory or zip file",
    ],
    [
      { env: 'dev', subscriptionAccounts: [111111111111] },
      'The context value subscriptionAccounts has 111111111111; give texts only',
    ],
    [
      { env: 'dev', subscriptionAccounts: 111111111111 },
      'The context value subscriptionAccounts is 111111111111; give a text',
    ],
  ])('fail if they are %j', (context, message) => {
    expect(() => settings(context)).toThrow(message);
  });

  test('fail if the environment variable for the architecture is wrong', () => {
    expect(() => settings({ env: 'dev' }, { EVENTDB_ARCHITECTURE: 'mips' })).toThrow(
      "The context value architecture (or EVENTDB_ARCHITECTURE) is 'mips'",
    );
  });
});

describe("the settings of the subscriber's app", () => {
  const topicArn = 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents';

  test('have defaults for all but the topic', () => {
    expect(subscriberSettings({ topicArn })).toEqual({
      allowReplay: false,
      name: 'EventSubscriber',
      topicArn,
      eventTypes: [],
      eventSources: [],
      subjectPrefix: undefined,
      hasOwnKey: false,
    });
  });

  test.each([
    [{}, 'The context value topicArn is missing'],
    [{ topicArn: 'LibraryEvents' }, "The context value topicArn is 'LibraryEvents'; give an ARN"],
    [{ topicArn: 'arn:aws:sqs:eu-west-1:111111111111:Q' }, 'give an ARN: arn:aws:sns:'],
    [
      { topicArn, encryption: 'kms' },
      "The context value encryption is 'kms'; give one of sqs, customer",
    ],
  ])('fail if they are %j', (context, message) => {
    expect(() => subscriberSettings(context)).toThrow(message);
  });
});
