// Fuzzes what is read from outside, guided by coverage, for a bounded time: stream records, rows,
// CloudEvents and messages, JSON text of payloads, cursors, the feed, the publisher's environment:
//
//   node fuzz/run.mjs [seconds]     10 unless given; a night is 28800
//
// This is libFuzzer as cargo-fuzz runs it, but with the stable compiler, whose options do the
// instrumentation; only the address sanitizer would need a nightly one, and this project has no
// unsafe code. What was found to be interesting is kept in fuzz/corpus and begun from next
// time. An input that breaks the target is written to fuzz/artifacts; to run it again:
//
//   fuzz/target/<host>/debug/eventdb-publisher-fuzz <file>

import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';

const here = import.meta.dirname;
const seconds = process.argv[2] ?? '10';
const host = /^host: (.*)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1];
const corpus = join(here, 'corpus');
const artifacts = join(here, 'artifacts');
mkdirSync(corpus, { recursive: true });
mkdirSync(artifacts, { recursive: true });
const seed = join(here, '../lambda/tests/fixtures/stream_batch.json');
copyFileSync(seed, join(corpus, 'stream_batch'));
const [record] = JSON.parse(readFileSync(seed, 'utf8')).Records;
writeFileSync(join(corpus, 'row'), `i${JSON.stringify(record.dynamodb.NewImage)}`);
const image = { ...record.dynamodb.NewImage, pk_all: { S: 'all-00' } };
image.subject = { S: subjectOfPartition0() };
image.data = { S: '{ "a": [1.50, "\\u00e4", {"b": null}] }' };
image.revision = { N: '7' };
delete image.time_type;
writeFileSync(join(corpus, 'row_by_revision'), `i${JSON.stringify(image)}`);
writeFileSync(
  join(corpus, 'stream_batch_by_revision'),
  JSON.stringify({ Records: [{ ...record, dynamodb: { ...record.dynamodb, NewImage: image } }] }),
);
writeFileSync(
  join(corpus, 'data'),
  'd{ "a": [1.50, -0, 1E+2, "\\u00e4 \\ud83d\\udcda"], "b": {} }',
);
const event = {
  specversion: '1.0',
  id: 'evt-1',
  source: 'https://library.example.com',
  type: 'book.returned',
  subject: 'book:123',
  time: '2025-01-28T14:30:00.000Z',
  sequence: '00000000000000000007',
  datacontenttype: 'application/json',
  dataschema: 'https://library.example.com/returned/1',
  attempt: 2,
  data: { userId: 'user:456' },
};
writeFileSync(join(corpus, 'event'), `e${JSON.stringify(event)}`);
const envelope = { Type: 'Notification', TopicArn: 'arn', Message: JSON.stringify(event) };
writeFileSync(join(corpus, 'envelope'), `e${JSON.stringify(envelope)}`);
writeFileSync(
  join(corpus, 'configuration'),
  'cEVENT_TOPIC_ARN=arn:aws:sns:eu-west-1:111111111111:Events.fifo\nLOG_LEVEL=DEBUG\nAWS_REGION=eu-west-1\n',
);
const subject = 'book:123';
const timeType = '1738074600000_book.borrowed';
for (const [name, keys] of Object.entries({
  cursor: { s: { subject, time_type: timeType } },
  cursor_of_all: { a: { time: 1738074600000, subject, time_type: timeType } },
  cursor_by_revision: { r: { subject, ty: null, revision: 7 } },
  cursor_of_all_by_revision: { p: { time: 1738074600000, subject, revision: 7 } },
  cursor_of_subjects: { l: { subject } },
})) {
  writeFileSync(join(corpus, name), `p${JSON.stringify(keys)}`);
}
const feedCursor = JSON.stringify({ f: ['tag', 4], p: { 0: [5, [3, 'chunk']], 3: [0, null] } });
writeFileSync(join(corpus, 'feed_cursor'), `f${feedCursor}`);
writeFileSync(
  join(corpus, 'feed_cursor_as_text'),
  `f${Buffer.from(feedCursor).toString('base64url')}`,
);
const entry = { subject, revision: 7, type: 'book.borrowed', id: 'evt-1', time: 1738074600000 };
const legacy = { ...entry, revision: undefined, time_type: '5_book.borrowed', listing: 'adopted' };
const chunk = (offset, entries, tag, previousTag) => ({
  partition: { S: '0' },
  offset: { N: String(offset) },
  length: { N: String(entries.length) },
  tag: { S: tag },
  ...(previousTag === undefined ? {} : { previous_tag: { S: previousTag } }),
  listed_at: { N: '1738074600123' },
  entries: { S: JSON.stringify(entries) },
});
const header = {
  partition: { S: '$feed' },
  offset: { N: '0' },
  partitions: { N: '4' },
  tag: { S: 'feed' },
  created_at: { N: '1738074600000' },
};
const chunks = [chunk(0, [entry], 'first'), chunk(1, [legacy, entry], 'second', 'first')];
writeFileSync(join(corpus, 'feed_chunks'), `k${JSON.stringify(chunks)}`);
const gap = [chunks[0], chunk(3, [entry], 'third', 'first')];
writeFileSync(join(corpus, 'feed_gap'), `k${JSON.stringify(gap)}`);
writeFileSync(join(corpus, 'feed_header'), `k${JSON.stringify([header])}`);

// With a target named, these apply to the fuzzed code and not to build scripts.
const instrumentation = [
  '--cfg=fuzzing',
  '-Cpasses=sancov-module',
  '-Cllvm-args=-sanitizer-coverage-level=4',
  '-Cllvm-args=-sanitizer-coverage-inline-8bit-counters',
  '-Cllvm-args=-sanitizer-coverage-pc-table',
  '-Cllvm-args=-sanitizer-coverage-trace-compares',
];
const { status } = spawnSync(
  'cargo',
  [
    'run',
    '--locked',
    '--target',
    host,
    '--manifest-path',
    join(here, 'Cargo.toml'),
    '--',
    corpus,
    `-max_total_time=${seconds}`,
    '-max_len=16384',
    '-rss_limit_mb=512',
    '-print_final_stats=1',
    `-artifact_prefix=${artifacts}/`,
  ],
  {
    cwd: here,
    stdio: 'inherit',
    env: {
      ...process.env,
      RUSTFLAGS: instrumentation.join(' '),
      CARGO_TARGET_DIR: join(here, 'target'),
    },
  },
);
process.exit(status ?? 1);

function subjectOfPartition0() {
  for (let number = 0; ; number += 1) {
    const subject = `book:${number}`;
    if (crc32(subject) % 16 === 0) return subject;
  }
}
