// Published messages are CloudEvents 1.0 in the eyes of the official SDK, in its strict mode.
// Run by: node --test lambda/tests/published_messages.test.mjs

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { CloudEvent } from 'cloudevents';

const REPOSITORY = join(import.meta.dirname, '..', '..');

test('every published message is a valid CloudEvent', () => {
  const lines = execFileSync(
    'cargo',
    ['run', '--quiet', '--locked', '--all-features', '--example', 'published_messages'],
    { cwd: REPOSITORY, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const messages = lines
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  assert.equal(messages.length, 5);
  for (const message of messages) {
    const event = new CloudEvent(message, true);
    assert.equal(event.validate(), true);
    assert.match(message.time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assert.match(message.eventstore, /^arn:aws:dynamodb:[^/]+:table\/[^/]+\/stream\/.+$/);
    if ('sequence' in message) assert.match(message.sequence, /^\d{20}$/);
  }
  const traced = messages.find((message) => 'traceparent' in message);
  assert.match(traced.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-01$/);
  assert.equal(messages.filter((message) => !('sequence' in message)).length, 1, 'the legacy row');
});
