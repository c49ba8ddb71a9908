// @ts-check
/** Events on their way: appended with the crate, received from a subscriber's queue. */
import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { DeleteMessageBatchCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { REPOSITORY } from '../../scripts/python-environment.mjs';

/** @typedef {Record<string, any>} Json */

const ARRIVAL_SECONDS = 120;

/**
 * An event to be appended.
 *
 * @param {string} subject
 * @param {Json} [own]
 */
export function candidate(subject, own = {}) {
  return {
    source: 'https://library.example.com',
    type: 'book.borrowed',
    subject,
    data: { userId: 'user:456' },
    ...own,
  };
}

/**
 * The key of an event's item, in a table of either layout.
 *
 * @param {Json | undefined} item
 * @returns {Record<string, import('@aws-sdk/client-dynamodb').AttributeValue>}
 */
export function keyOf(item) {
  const sortKey = item?.['time_type'] === undefined ? 'revision' : 'time_type';
  return Object.fromEntries(
    ['subject', sortKey].map((name) => {
      if (item?.[name] === undefined) {
        throw new Error(`the event has no ${name}: ${JSON.stringify(item)}`);
      }
      return [name, item[name]];
    }),
  );
}

/**
 * Appends with the crate, each member of the list in one call.
 *
 * @param {Json[][]} appends
 * @param {import('./options.mjs').TableLayout} tableLayout of the table
 * @param {NodeJS.ProcessEnv} env with credentials, region and `LIBRARY_TABLE`
 * @param {AbortSignal} signal
 * @returns {Promise<{ stored: Json[], milliseconds: number[] }>} the history of each subject in the
 *   order of its revisions, and how long each append took
 */
export async function append(appends, tableLayout, env, signal) {
  const { status, printed, complaint } = await run(
    'cargo',
    [
      ...'run --quiet --locked --all-features --example append_json -- --times'.split(' '),
      ...(tableLayout === 'byRevision' ? ['--by-revision'] : []),
    ],
    { env, signal, input: appends.map((events) => `${JSON.stringify(events)}\n`).join('') },
  );
  if (status !== 0) {
    throw new Error(`the append failed: ${complaint.trim()}`);
  }
  return {
    stored: lines(printed).map((line) => JSON.parse(line)),
    milliseconds: [...complaint.matchAll(/^append: ([\d.]+) ms$/gm)].map(([, time]) =>
      Number(time),
    ),
  };
}

/**
 * Runs a program of this repository.
 *
 * @param {string} program
 * @param {string[]} programArguments
 * @param {{ env: NodeJS.ProcessEnv, signal: AbortSignal, input?: string }} options
 * @returns {Promise<{ status: number | null, printed: string, complaint: string }>}
 */
export function run(program, programArguments, { env, signal, input = '' }) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArguments, { cwd: REPOSITORY, env, signal });
    let printed = '';
    let complaint = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      printed += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      complaint += text;
    });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, printed, complaint }));
    // It may end before it has read all; its status says so.
    child.stdin.on('error', () => {});
    child.stdin.end(input);
  });
}

/** What arrives in one queue. */
export class Inbox {
  /** What has arrived, in the order of arrival. @type {{ event: Json, sent: number }[]} */
  messages = [];

  /**
   * @param {SQSClient} sqs
   * @param {string} queueUrl
   * @param {AbortSignal} signal
   */
  constructor(sqs, queueUrl, signal) {
    this.sqs = sqs;
    this.queueUrl = queueUrl;
    this.signal = signal;
  }

  /**
   * Receives until all of these events are there.
   *
   * @param {Json[]} events
   * @returns {Promise<Map<string, Json>>} these, by id, as they arrived
   */
  async receive(events) {
    const wanted = new Set(events.map(({ id }) => id));
    await this.receiveUntil(
      () => {
        const arrived = new Set(this.ids());
        return [...wanted].every((id) => arrived.has(id));
      },
      () => `${wanted.size} events were appended`,
    );
    return new Map(
      this.messages
        .filter(({ event }) => wanted.has(event['id']))
        .map(({ event }) => [event['id'], event]),
    );
  }

  /** @returns {string[]} */
  ids() {
    return this.messages.map(({ event }) => event['id']);
  }

  /**
   * @param {() => boolean} isEnough
   * @param {() => string} expectation for the message of the failure
   */
  async receiveUntil(isEnough, expectation) {
    const deadline = Date.now() + ARRIVAL_SECONDS * 1_000;
    while (!isEnough()) {
      await this.receiveOnce(2);
      if (Date.now() > deadline) {
        throw new Error(
          `${expectation()}; after ${ARRIVAL_SECONDS} seconds not all have arrived, only ${this.messages.length} messages in all`,
        );
      }
    }
  }

  /** @param {number} seconds */
  async receiveFor(seconds) {
    const deadline = Date.now() + seconds * 1_000;
    while (Date.now() < deadline) {
      await this.receiveOnce(1);
    }
  }

  /** @param {number} WaitTimeSeconds */
  async receiveOnce(WaitTimeSeconds) {
    const { Messages: messages = [] } = await this.sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: this.queueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds,
        MessageSystemAttributeNames: ['SentTimestamp'],
      }),
      { abortSignal: this.signal },
    );
    if (messages.length === 0) {
      return;
    }
    this.messages.push(
      ...messages.map(({ Body: body = '', Attributes: attributes }) => ({
        event: JSON.parse(body),
        sent: Number(attributes?.SentTimestamp),
      })),
    );
    await this.sqs.send(
      new DeleteMessageBatchCommand({
        QueueUrl: this.queueUrl,
        Entries: messages.map(({ ReceiptHandle }, index) => ({ Id: `${index}`, ReceiptHandle })),
      }),
    );
  }
}

/**
 * Asks until the answer is another one than `undefined`.
 *
 * @param {string} what is waited for
 * @param {number} seconds
 * @param {AbortSignal} signal
 * @param {() => Promise<T | undefined>} ask
 * @template T
 * @returns {Promise<T>}
 */
export async function eventually(what, seconds, signal, ask) {
  const deadline = Date.now() + seconds * 1_000;
  let pause = 200;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) {
      return answer;
    }
    if (Date.now() > deadline) {
      throw new Error(`${what}: not after ${seconds} seconds`);
    }
    await sleep(pause, undefined, { signal });
    pause = Math.min(pause * 1.5, 10_000);
  }
}

/** @param {string} text */
function lines(text) {
  return text.split('\n').filter((line) => line !== '');
}
