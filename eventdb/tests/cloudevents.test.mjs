// @ts-check
/**
 * The official SDK for JavaScript, which validates by CloudEvents' own JSON schema, and the crate
 * understand each other: `npm ci && node --test eventdb/tests/cloudevents.test.mjs`
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { dirname } from 'node:path';
import { before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { CloudEvent, HTTP } from 'cloudevents';

/** @typedef {Record<string, any>} Json */

const repository = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

/**
 * @param {string[]} programArguments
 * @param {string} input
 */
function crate(programArguments, input = '') {
  const { error, status, stdout, stderr } = spawnSync(
    'cargo',
    'run --quiet --locked --all-features --example cloudevents_json --'
      .split(' ')
      .concat(programArguments),
    { cwd: repository, encoding: 'utf8', input },
  );
  assert.equal(error, undefined);
  return {
    status,
    stderr,
    events: lines(stdout).map((line) => /** @type {Json} */ (JSON.parse(line))),
  };
}

/** @param {string} text */
function lines(text) {
  return text.split('\n').filter((line) => line !== '');
}

/** @param {unknown[]} events */
function read(events) {
  return crate(['--read'], events.map((event) => `${JSON.stringify(event)}\n`).join(''));
}

/** What the SDK makes of an event. @param {Json} event */
function throughSdk(event) {
  return /** @type {Json} */ (JSON.parse(JSON.stringify(new CloudEvent(event, true))));
}

/** @type {Json[]} */
let events = [];

before(() => {
  const printed = crate([]);
  assert.equal(printed.status, 0, printed.stderr);
  events = printed.events;
});

test('the sample has every optional attribute and every type of extension', () => {
  const names = new Set(events.flatMap((event) => Object.keys(event)));
  for (const name of ['datacontenttype', 'dataschema', 'sequence', 'traceparent', 'data']) {
    assert.ok(names.has(name), name);
  }
  const types = new Set(
    events.flatMap((event) =>
      Object.entries(event)
        .filter(([name]) => name !== 'data')
        .map(([, value]) => typeof value),
    ),
  );
  assert.deepEqual([...types].sort(), ['boolean', 'number', 'string']);
  assert.ok(
    events.some((event) => event['dataschema'] === undefined && event['sequence'] === undefined),
  );
});

test("the crate's events are valid and the SDK loses nothing of them", () => {
  for (const event of events) {
    assert.equal(event['specversion'], '1.0');
    assert.deepEqual(throughSdk(event), event);
  }
});

test('they travel in the structured mode of the HTTP binding', () => {
  for (const event of events) {
    const { headers, body } = HTTP.structured(new CloudEvent(event, true));
    assert.match(String(headers['content-type']), /^application\/cloudevents\+json/);
    const received = HTTP.toEvent({ headers, body });
    assert.ok(received instanceof CloudEvent);
    assert.equal(received.validate(), true);
    assert.deepEqual(JSON.parse(JSON.stringify(received)), event);
  }
});

test('the crate reads what the SDK writes', () => {
  const { status, stderr, events: again } = read(events.map(throughSdk));
  assert.equal(stderr, '');
  assert.equal(status, 0);
  assert.deepEqual(again, events);
});

test('the crate reads an event that was made by the SDK', () => {
  const made = new CloudEvent(
    {
      type: 'book.borrowed',
      source: '/library',
      subject: 'book:123',
      time: '2025-01-28T15:30:00.5+01:00',
      data: { userId: 'user:456' },
      attempt: 2,
    },
    true,
  );
  const { status, stderr, events: printed } = read([made]);
  assert.equal(status, 0, stderr);
  assert.deepEqual(printed, [
    {
      specversion: '1.0',
      id: made.id,
      source: '/library',
      type: 'book.borrowed',
      subject: 'book:123',
      time: '2025-01-28T14:30:00.500Z',
      attempt: 2,
      data: { userId: 'user:456' },
    },
  ]);
});

describe('broken events', () => {
  const valid = {
    specversion: '1.0',
    id: 'evt-1',
    source: 'https://library.example.com',
    type: 'book.borrowed',
    subject: 'book:123',
    time: '2025-01-28T14:30:00.000Z',
    data: {},
  };
  /** @param {string} name */
  const without = (name) =>
    Object.fromEntries(Object.entries(valid).filter(([key]) => key !== name));

  /** What breaks CloudEvents itself, so that both refuse it. @type {[unknown, RegExp][]} */
  const invalid = [
    [without('source'), /`source` is missing/],
    [without('type'), /`type` is missing/],
    [{ ...valid, source: '' }, /`source` is empty/],
    [{ ...valid, type: '' }, /`type` is empty/],
    [{ ...valid, id: 7 }, /`id` isn't text/],
    [{ ...valid, time: 'yesterday' }, /`time` isn't an RFC 3339 timestamp/],
    [{ ...valid, subject: '' }, /`subject` is empty/],
    [{ ...valid, datacontenttype: '' }, /`datacontenttype` is empty/],
    [{ ...valid, traceParent: 'x' }, /"traceParent" isn't a valid attribute name/],
    [{ ...valid, 'trace-parent': 'x' }, /"trace-parent" isn't a valid attribute name/],
  ];

  /** What CloudEvents allows, or what the SDK fills in or lets through, and the store does not. */
  const unsuitable = /** @type {[unknown, RegExp][]} */ ([
    [without('specversion'), /`specversion` is missing/],
    [{ ...valid, specversion: '0.3' }, /`specversion` isn't supported/],
    [without('id'), /`id` is missing/],
    [without('subject'), /`subject` is missing/],
    [without('time'), /`time` is missing/],
    [without('data'), /`data` is missing/],
    [{ ...valid, data: [] }, /`data` isn't an object/],
    [{ ...valid, data: 'text' }, /`data` isn't an object/],
    [{ ...without('data'), data_base64: 'e30=' }, /`data_base64` isn't supported/],
    [{ ...valid, sequence: '0' }, /`sequence` isn't a revision/],
    [{ ...valid, sequence: 'first' }, /`sequence` isn't a revision/],
    [{ ...valid, sequence: 1 }, /`sequence` isn't text/],
    [{ ...valid, attempt: 1.5 }, /`attempt` isn't a whole number of 32 bits/],
    [{ ...valid, attempt: 2 ** 31 }, /`attempt` isn't a whole number of 32 bits/],
    [{ ...valid, attempt: {} }, /`attempt` must be text, true or false, or a whole number/],
    [[valid], /invalid type/],
    ['text', /invalid type/],
  ]);

  test('the SDK refuses what breaks CloudEvents', () => {
    assert.doesNotThrow(() => new CloudEvent(valid, true));
    for (const [event] of invalid) {
      assert.throws(
        () => new CloudEvent(/** @type {any} */ (event), true),
        { name: 'TypeError' },
        JSON.stringify(event),
      );
    }
  });

  test('the crate refuses each with a message', () => {
    const broken = [...invalid, ...unsuitable];
    const { status, stderr, events: printed } = read([...broken.map(([event]) => event), valid]);
    assert.equal(status, 1);
    const messages = lines(stderr);
    assert.equal(messages.length, broken.length, stderr);
    for (const [index, [event, message]] of broken.entries()) {
      assert.match(messages[index] ?? '', message, JSON.stringify(event));
      assert.ok(messages[index]?.startsWith(`line ${index + 1}: `), messages[index]);
    }
    assert.deepEqual(printed, [valid], 'the valid one is printed all the same');
  });

  test('the crate refuses text that is not JSON', () => {
    const { status, stderr, events: printed } = crate(['--read'], '{"specversion":"1.0"\n\n');
    assert.equal(status, 1);
    assert.equal(lines(stderr).length, 2);
    assert.deepEqual(printed, []);
  });
});
