// @ts-check
/**
 * The commands of the operators' tool that need each policy of the stack, and what they work on. They
 * prepare what they need with all permissions.
 */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { DeleteItemCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { SNSClient, SubscribeCommand } from '@aws-sdk/client-sns';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { operatorsTool, runProgram } from '../operators-tool.mjs';
import { TABLE_LAYOUT } from './emulator/pipeline.mjs';
import { explore, followQueue, viewsOf } from './lasting-commands.mjs';

/** @typedef {import('./emulator/roles.mjs').Credentials} Credentials */
/** @typedef {Record<string, import('@aws-sdk/client-dynamodb').AttributeValue>} Item */
/** @typedef {{ status: unknown, printed: string, complaint: string }} Ran */
/** @typedef {(credentials: Credentials) => Promise<Ran[]>} Group */
/**
 * @typedef {object} Commands
 * @property {() => Promise<void>} prepare
 * @property {Record<string, Group>} of the commands of each policy
 * @property {() => Promise<void>} keepFailedBatch puts a batch into the failure bucket
 */

/**
 * @typedef {object} Place
 * @property {(credentials: Credentials) => NodeJS.ProcessEnv} environmentOf how the tool finds the store
 * @property {<C>(Client: new (configuration: any) => C, credentials?: Credentials) => C} client a
 *   client, with all permissions unless others are given
 * @property {(name: string) => string} output an output of the stack
 * @property {string} queue the ARN of a queue to replay to
 */

const IS_BY_TIME = TABLE_LAYOUT === 'byTime';
const SOURCE = 'https://library.example.com';
/** @type {Credentials} */
const ROOT = { accessKeyId: 'test', secretAccessKey: 'test' };
const VERIFY = ['verify', '--second-look-after', '1ms'];

/** The policies whose commands are below. */
export const POLICIES = [
  ...['Append', 'Read', 'Follow', 'Verify', 'Republish', 'Redrive', 'Tail', 'Replay'],
  ...['Export', 'Import', 'Doctor', 'Repair', 'Erase', 'Explore'],
];

/** A batch in the failure bucket. */
export const FAILED_BATCH = 'aws/lambda/1/shard/2026/01/01/given-up';

/**
 * The commands on a store.
 *
 * @param {Place} place
 * @returns {Commands}
 */
export function commandsOf({ environmentOf, client, output, queue }) {
  /** Counts subjects, so that each is new. */
  let count = 0;
  let subscription = '';

  /** Puts what the commands only read. */
  async function prepare() {
    await append('book:guarded', ['--id', 'event-with-a-guard']);
    // As the original library stores it.
    if (IS_BY_TIME) {
      await append('book:behind');
      await append('book:behind');
      await putOldHead('book:behind');
      await put({
        subject: { S: 'book:legacy' },
        time_type: { S: '1738074600000_book.borrowed' },
        id: { S: 'legacy-event' },
        type: { S: 'book.borrowed' },
        source: { S: SOURCE },
        time: { N: '1738074600000' },
        data: { M: {} },
        pk_all: { S: 'all' },
      });
    } else {
      await append('book:damaged');
      await append('book:damaged');
      await remove(keyOf('book:damaged', { N: '1' }));
    }
    // So that there is a feed.
    assert.equal((await importEvents(ROOT, newSubject(), [1])).status, 0);
    const subscribed = await client(SNSClient).send(
      new SubscribeCommand({
        TopicArn: output('TopicArn'),
        Protocol: 'sqs',
        Endpoint: queue,
        Attributes: { RawMessageDelivery: 'true' },
        ReturnSubscriptionArn: true,
      }),
    );
    subscription = subscribed.SubscriptionArn ?? '';
    await listInDisorder();
  }

  /** Lets the feed list the second event of a subject before the first one. */
  async function listInDisorder() {
    for (const revision of [2, 1]) {
      const time = String(1_738_074_600_000 + revision);
      await put({
        ...keyOf(
          'book:disordered',
          IS_BY_TIME ? { S: `${time}_book.borrowed` } : { N: `${revision}` },
        ),
        revision: { N: String(revision) },
        id: { S: `disordered-${revision}` },
        type: { S: 'book.borrowed' },
        source: { S: SOURCE },
        time: { N: time },
        data: IS_BY_TIME ? { M: {} } : { S: '{}' },
        pk_all: { S: IS_BY_TIME ? 'all' : 'all-14' },
      });
      const adopt = ['feed', 'build', '--unpublished', '--second-look-after', '1ms', '--yes'];
      const { status, complaint } = await run(adopt, ROOT);
      assert.equal(status, 0, complaint);
    }
  }

  /** @type {Record<string, Group>} */
  const of = {
    Append: async (credentials) => {
      const subject = newSubject();
      const event = { source: SOURCE, type: 'book.borrowed', subject, data: {} };
      const layout = IS_BY_TIME ? [] : ['--by-revision'];
      const appended = await runProgram(
        join(REPOSITORY, 'target', 'debug', 'examples', 'append_json'),
        [...layout, '--if-populated', 'book:guarded', '--if-pristine', 'book:none'],
        { ...environmentOf(credentials), LIBRARY_TABLE: output('TableName') },
        `${JSON.stringify([event])}\n`.repeat(2),
      );
      return [failed(appended), await snapshot(subject, credentials)];
    },
    Read: async (credentials) => [
      await run(['show', 'event-with-a-guard'], credentials),
      await run(['cat', 'book:guarded'], credentials),
      await run(['cat', 'book:guarded', '--type', 'book.borrowed'], credentials),
      await run(['subjects', '--last-events'], credentials),
      await run(['types'], credentials),
      await run(['tail'], credentials),
      await run(['trace', 'event-with-a-guard'], credentials),
      await explore(environmentOf(credentials), viewsOf('book:guarded', 'event-with-a-guard')),
    ],
    Follow: async (credentials) => [
      await run(['feed', '--events'], credentials),
      await run(['types', '--from-feed'], credentials),
    ],
    Verify: async (credentials) => [
      await run(VERIFY, credentials),
      await run([...VERIFY, '--since', '24h'], credentials),
    ],
    Republish: async (credentials) => {
      const subject = newSubject();
      await append(subject);
      return [
        await run([...VERIFY, '--since', '24h'], credentials),
        await run(['republish', '--second-look-after', '1ms', '--yes'], credentials),
        await run(['verify', 'acknowledge', subject, '1', '--reason', 'a test'], credentials),
      ];
    },
    Redrive: async (credentials) => {
      await client(S3Client).send(
        new PutObjectCommand({
          Bucket: output('FailureBucketName'),
          Key: 'aws/lambda/1/shard/2026/01/01/failed',
          Body: JSON.stringify({ payload: JSON.stringify({ Records: [{ eventID: '1' }] }) }),
        }),
      );
      return [await run(['redrive', '--yes'], credentials)];
    },
    Tail: async (credentials) => [
      await followQueue(environmentOf(credentials), client(SNSClient), output('TopicArn')),
    ],
    Replay: async (credentials) => {
      const replay = ['replay', '--subscription', subscription, '--most-waiting', '100000'];
      return [await run([...replay, '--yes'], credentials)];
    },
    Export: async (credentials) => [await run(['export'], credentials)],
    Import: async (credentials) => {
      const subject = newSubject();
      return [
        await importEvents(credentials, subject, [1]),
        // The subject goes on.
        await importEvents(credentials, subject, [1, 2]),
      ];
    },
    Doctor: async (credentials) => [await run(['doctor', '--with-feed'], credentials)],
    Repair: async (credentials) => {
      for (const moves of [false, true]) {
        const subject = newSubject();
        await append(subject);
        await append(subject);
        if (IS_BY_TIME) {
          await (moves ? putOldHead(subject) : remove(keyOf(`$head/${subject}`, { S: '$head' })));
        }
        await putSnapshot(subject, 9);
      }
      return [await run(['doctor', '--with-feed', '--write'], credentials)];
    },
    Erase: async (credentials) => {
      const subject = newSubject();
      await append(subject);
      await putSnapshot(subject, 1);
      return [await run(['erase', subject, '1', '--yes'], credentials)];
    },
    Explore: async (credentials) => {
      const id = 'event-with-a-guard';
      const time = new Date().toISOString();
      const views = [
        ...viewsOf('book:guarded', id),
        `/api/feed-place?id=${id}&subject=book:guarded&time=${time}&revision=1`,
        '/api/failures',
        `/api/failure?key=${FAILED_BATCH}`,
      ];
      await keepFailedBatch();
      return [await explore(environmentOf(credentials), views)];
    },
  };
  return { prepare, of, keepFailedBatch };

  /** Puts a batch into the failure bucket, as Lambda does. */
  async function keepFailedBatch() {
    await client(S3Client).send(
      new PutObjectCommand({
        Bucket: output('FailureBucketName'),
        Key: FAILED_BATCH,
        Body: JSON.stringify({
          requestContext: { condition: 'RetryAttemptsExhausted' },
          payload: JSON.stringify({ Records: [{ eventID: '1', eventName: 'INSERT' }] }),
        }),
      }),
    );
  }

  /**
   * Runs the operators' tool.
   *
   * @param {string[]} options
   * @param {Credentials} credentials
   * @param {string} [input]
   * @returns {Promise<Ran>}
   */
  function run(options, credentials, input = '') {
    return runProgram(operatorsTool(), options, environmentOf(credentials), input);
  }

  /**
   * @param {Credentials} credentials
   * @param {string} subject
   * @param {number[]} revisions
   */
  function importEvents(credentials, subject, revisions) {
    const lines = revisions.map((revision) =>
      JSON.stringify({
        specversion: '1.0',
        id: `${subject}-${revision}`,
        source: SOURCE,
        type: 'book.borrowed',
        subject,
        time: `2025-01-28T14:30:0${revision}.000Z`,
        sequence: String(revision).padStart(20, '0'),
        data: {},
      }),
    );
    return run(['import', '-', '--yes'], credentials, lines.join('\n'));
  }

  /**
   * @param {string} subject
   * @param {string[]} options
   */
  async function append(subject, options = []) {
    const ran = await run(
      ['append', subject, 'book.borrowed', '--source', SOURCE, '--yes', ...options],
      ROOT,
    );
    assert.equal(ran.status, 0, ran.complaint);
  }

  function newSubject() {
    count += 1;
    return `book:${count}`;
  }

  /**
   * @param {string} subject
   * @param {import('@aws-sdk/client-dynamodb').AttributeValue} sortKey
   * @returns {Item}
   */
  function keyOf(subject, sortKey) {
    return { subject: { S: subject }, [IS_BY_TIME ? 'time_type' : 'revision']: sortKey };
  }

  /**
   * @param {string} subject
   * @param {number} revision
   */
  function putSnapshot(subject, revision) {
    return put(snapshotOf(subject, revision));
  }

  /**
   * @param {string} subject
   * @param {number} revision
   * @returns {Item}
   */
  function snapshotOf(subject, revision) {
    return IS_BY_TIME
      ? { ...keyOf(`$head/${subject}`, { S: '$snapshot/Book' }), revision: { N: String(revision) } }
      : {
          ...keyOf(`$snapshot/${subject}`, { N: '7' }),
          state_revision: { N: String(revision) },
        };
  }

  /**
   * Lets a subject have more events than its head knows, as an interrupted import leaves it.
   *
   * @param {string} subject
   */
  function putOldHead(subject) {
    const values = { revision: { N: '1' }, last_time: { N: '1' }, last_id: { S: 'x' } };
    return put({ ...keyOf(`$head/${subject}`, { S: '$head' }), ...values });
  }

  /** @param {Item} item */
  function put(item) {
    const TableName = output('TableName');
    return client(DynamoDBClient).send(new PutItemCommand({ TableName, Item: item }));
  }

  /** @param {Item} key */
  function remove(key) {
    const TableName = output('TableName');
    return client(DynamoDBClient).send(new DeleteItemCommand({ TableName, Key: key }));
  }

  /**
   * Puts a snapshot as the library does.
   *
   * @param {string} subject
   * @param {Credentials} credentials
   * @returns {Promise<Ran>}
   */
  async function snapshot(subject, credentials) {
    const dynamodb = client(DynamoDBClient, credentials);
    try {
      await dynamodb.send(
        new PutItemCommand({ TableName: output('TableName'), Item: snapshotOf(subject, 1) }),
      );
      return { status: 0, printed: '', complaint: '' };
    } catch (error) {
      return { status: 2, printed: '', complaint: String(error) };
    }
  }
}

/**
 * A program that isn't the tool, whose failures have the status 1.
 *
 * @param {Ran} ran
 * @returns {Ran}
 */
function failed(ran) {
  return { ...ran, status: ran.status === 0 ? 0 : 2 };
}
