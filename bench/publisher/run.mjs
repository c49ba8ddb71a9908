// Compares the publisher, with and without the feed, with the same job written the usual way for
// Node.js, side by side in one run: they are started alternately, get the same batches from a stand-in
// for Lambda's Runtime API and publish to a stand-in for SNS behind TLS, all on this machine. The feed
// is written to a stand-in for DynamoDB behind TLS.
//
//   npm ci --prefix bench/publisher && npm run bench --prefix bench/publisher

import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import os from 'node:os';
import path from 'node:path';
import { text as readAll } from 'node:stream/consumers';
import { crc32, gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';

const RUNS = Number(process.env.RUNS ?? 9);
const here = import.meta.dirname;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'publisher-bench-'));
const binary = process.env.BINARY ?? path.join(here, '../../target/release/eventdb-publisher');
const bundle = path.join(scratch, 'index.mjs');

buildSync({
  entryPoints: [path.join(here, 'node-publisher/bootstrap.mjs')],
  outfile: bundle,
  bundle: true,
  minify: true,
  platform: 'node',
  target: 'node20',
  format: 'esm',
  banner: {
    js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);",
  },
});

// Our own certificate, trusted in addition to Amazon's authorities (which the publisher trusts in Lambda)
// and those built into Node.js.
const keyFile = path.join(scratch, 'key.pem');
const certificateFile = path.join(scratch, 'certificate.pem');
const trustFile = path.join(scratch, 'trusted.pem');
execFileSync(
  'openssl',
  [
    ...'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2'.split(' '),
    ...'-subj /CN=localhost -addext subjectAltName=DNS:localhost'.split(' '),
    ...'-addext basicConstraints=critical,CA:FALSE'.split(' '),
    '-keyout',
    keyFile,
    '-out',
    certificateFile,
  ],
  { stdio: 'ignore' },
);
const amazon = fs.readFileSync(path.join(here, '../../lambda/src/amazon_roots.pem'), 'utf8');
fs.writeFileSync(trustFile, amazon + fs.readFileSync(certificateFile, 'utf8'));

let requests = 0;
const namespace = 'xmlns="http://sns.amazonaws.com/doc/2010-03-31/"';
const metadata = '<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata>';
const sns = https.createServer(
  { key: fs.readFileSync(keyFile), cert: fs.readFileSync(certificateFile) },
  (incoming, outgoing) => {
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('end', () => {
      requests += 1;
      const parameters = new URLSearchParams(Buffer.concat(chunks).toString());
      const ids = [...parameters].filter(([name]) => /^PublishBatch\S+\.Id$/.test(name));
      const members = ids.map(
        ([, id]) => `<member><Id>${id}</Id><MessageId>m</MessageId></member>`,
      );
      const action = parameters.get('Action');
      const result =
        action === 'Publish'
          ? '<MessageId>m</MessageId>'
          : `<Successful>${members.join('')}</Successful><Failed/>`;
      outgoing.setHeader('content-type', 'text/xml');
      outgoing.end(
        `<${action}Response ${namespace}><${action}Result>${result}</${action}Result>${metadata}</${action}Response>`,
      );
    });
  },
);

// The feed's table. It knows where each partition ends, but keeps no entries.
let feedRequests = 0;
let feedBytes = 0;
let ends = new Map();
const dynamodb = https.createServer(
  { key: fs.readFileSync(keyFile), cert: fs.readFileSync(certificateFile) },
  (incoming, outgoing) => {
    const chunks = [];
    incoming.on('data', (chunk) => chunks.push(chunk));
    incoming.on('end', () => {
      feedRequests += 1;
      const request = JSON.parse(Buffer.concat(chunks).toString());
      let answer = {};
      if (incoming.headers['x-amz-target'].endsWith('.Query')) {
        const end = ends.get(request.ExpressionAttributeValues[':partition'].S);
        answer = { Items: end === undefined ? [] : [end], Count: end === undefined ? 0 : 1 };
      } else {
        const { entries, ...end } = request.Item;
        feedBytes += entries?.S.length ?? 0;
        ends.set(end.partition.S, end);
      }
      outgoing.setHeader('content-type', 'application/x-amz-json-1.0');
      outgoing.end(JSON.stringify(answer));
    });
  },
);

// The Runtime API: hands out what is put into `invocations`, tells when an answer has come.
let askedForWork = () => {};
let answered = () => {};
let idle;
const runtime = http.createServer((incoming, outgoing) => {
  if (incoming.url.endsWith('/next')) {
    idle = outgoing;
    askedForWork();
    return;
  }
  const chunks = [];
  incoming.on('data', (chunk) => chunks.push(chunk));
  incoming.on('end', () => {
    outgoing.statusCode = 202;
    outgoing.end();
    answered(Buffer.concat(chunks).toString());
  });
});

const listen = (server) =>
  new Promise((resolve) => server.listen(0, '127.0.0.1', () => resolve(server.address().port)));
const snsPort = await listen(sns);
const dynamodbPort = await listen(dynamodb);
const runtimePort = await listen(runtime);

let sequence = 0;
const batch = (count, bytes, layout = 'by time') =>
  JSON.stringify({
    Records: Array.from({ length: count }, (_, index) => {
      sequence += 1;
      const time = 1738074600000 + sequence;
      const text = (length) => ({ S: 'x'.repeat(length) });
      const subject = `book:${index % 50}`;
      const byRevision = layout === 'by revision';
      const names = Array.from({ length: 8 }, (_, n) => `field${n}`);
      const fields = names.map((name) => [name, text(bytes / 8 - 45)]);
      const json = names.map((name) => [name, text(bytes / 8 - 45).S]);
      const time_type = { S: `${time}_book.borrowed` };
      const revision = { N: String(sequence) };
      const partition = String(crc32(subject) % 16).padStart(2, '0');
      return {
        eventID: String(sequence),
        eventName: 'INSERT',
        eventVersion: '1.1',
        eventSource: 'aws:dynamodb',
        awsRegion: 'eu-west-1',
        dynamodb: {
          ApproximateCreationDateTime: 1738074600,
          Keys: { subject: { S: subject }, ...(byRevision ? { revision } : { time_type }) },
          NewImage: {
            subject: { S: subject },
            ...(byRevision ? {} : { time_type }),
            id: { S: `0194ae5a-0000-7000-8000-${String(sequence).padStart(12, '0')}` },
            type: { S: 'book.borrowed' },
            source: { S: 'https://library.example.com' },
            time: { N: String(time) },
            pk_all: { S: byRevision ? `all-${partition}` : 'all' },
            revision,
            data: byRevision
              ? { S: JSON.stringify(Object.fromEntries(json)) }
              : { M: Object.fromEntries(fields) },
          },
          SequenceNumber: String(sequence).padStart(21, '4'),
          SizeBytes: bytes,
          StreamViewType: 'NEW_IMAGE',
        },
        eventSourceARN: 'arn:aws:dynamodb:eu-west-1:123456789012:table/Events/stream/x',
      };
    }),
  });

const environment = {
  PATH: process.env.PATH,
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  AWS_SESSION_TOKEN: 'test',
  AWS_REGION: 'eu-west-1',
  AWS_LAMBDA_FUNCTION_NAME: 'publisher',
  AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
  AWS_LAMBDA_FUNCTION_MEMORY_SIZE: '256',
  AWS_LAMBDA_LOG_GROUP_NAME: 'group',
  AWS_LAMBDA_LOG_STREAM_NAME: 'stream',
  AWS_LAMBDA_RUNTIME_API: `127.0.0.1:${runtimePort}`,
  AWS_ENDPOINT_URL_SNS: `https://localhost:${snsPort}`,
  EVENT_TOPIC_ARN: 'arn:aws:sns:eu-west-1:123456789012:Events',
  SSL_CERT_FILE: trustFile,
  NODE_EXTRA_CA_CERTS: certificateFile,
  NODE_NO_WARNINGS: '1',
};

const contestants = [
  { name: 'eventdb-publisher', command: [binary], size: fs.statSync(binary).size, file: binary },
  {
    name: 'with the feed',
    command: [binary],
    size: fs.statSync(binary).size,
    file: binary,
    environment: {
      FEED_TABLE: 'Feed',
      AWS_ENDPOINT_URL_DYNAMODB: `https://localhost:${dynamodbPort}`,
    },
  },
  {
    name: 'Node.js 20',
    command: [process.execPath, bundle],
    size: fs.statSync(bundle).size,
    file: bundle,
  },
];

/** Nanoseconds of CPU of all threads of a process so far. */
const cpu = (pid) =>
  fs
    .readdirSync(`/proc/${pid}/task`)
    .map((thread) =>
      Number(fs.readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0]),
    )
    .reduce((sum, nanoseconds) => sum + nanoseconds, 0);
const memory = (pid, field) =>
  Number(
    new RegExp(`${field}:\\s+(\\d+)`).exec(fs.readFileSync(`/proc/${pid}/status`, 'utf8'))[1],
  ) / 1024;
const now = () => Number(process.hrtime.bigint()) / 1e6;
/** The time since 1970 in milliseconds, with fractions: from the moment at which `Date` goes on by one. */
const clock = () => {
  const before = Date.now();
  while (Date.now() === before);
  const offset = Date.now() - performance.now();
  return () => performance.now() + offset;
};

const invoke = async (payload) => {
  const response = new Promise((resolve) => (answered = resolve));
  const again = new Promise((resolve) => (askedForWork = resolve));
  const started = now();
  idle.setHeader('lambda-runtime-aws-request-id', 'request');
  idle.setHeader(
    'lambda-runtime-invoked-function-arn',
    'arn:aws:lambda:eu-west-1:123456789012:function:publisher',
  );
  idle.setHeader('lambda-runtime-deadline-ms', String(Date.now() + 60_000));
  idle.setHeader('content-type', 'application/json');
  idle.end(payload);
  const answer = await response;
  const milliseconds = now() - started;
  if (answer !== '{"batchItemFailures":[]}') throw new Error(`unexpected answer: ${answer}`);
  await again;
  return milliseconds;
};

const median = (values) => values.sort((one, other) => one - other)[Math.floor(values.length / 2)];

const measure = async ({ command, environment: more = {} }, layout) => {
  const result = {};
  ends = new Map();
  const time = clock();
  const ready = new Promise((resolve) => (askedForWork = () => resolve(time())));
  // Copying this process, which is large, takes longer than what is measured: so it starts a shell,
  // which tells the time and becomes what is measured.
  const child = spawn('bash', ['-c', 'echo $EPOCHREALTIME >&3; exec "$@" 3>&-', '', ...command], {
    env: { ...environment, ...more, LC_ALL: 'C' },
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  });
  const [asked, started] = await Promise.all([ready, readAll(child.stdio[3])]);
  result['start to first request for work, ms'] = asked - Number(started) * 1000;
  result['first publish, cold TLS, ms'] = await invoke(batch(1, 512));
  result['resident after the first publish, MiB'] = memory(child.pid, 'VmRSS');
  for (const [record, bytes, size] of [
    ['0.5 KB', 512, 100],
    ['4 KB', 4096, 100],
    ['32 KB', 32768, 50],
  ]) {
    const name = `${record} ${layout}`;
    await invoke(batch(size, bytes, layout));
    const payloads = Array.from({ length: 1000 / size }, () => batch(size, bytes, layout));
    const before = cpu(child.pid);
    requests = 0;
    feedRequests = 0;
    feedBytes = 0;
    const milliseconds = [];
    for (const payload of payloads) milliseconds.push(await invoke(payload));
    result[`invocation with ${size} records of ${name}, ms`] = median(milliseconds);
    result[`CPU per 1,000 records of ${name}, ms`] = (cpu(child.pid) - before) / 1e6;
    result[`SNS requests per 1,000 records of ${name}`] = requests;
    result[`feed requests per 1,000 records of ${name}`] = feedRequests;
    result[`feed bytes per record of ${name}`] = feedBytes / 1000;
    result[`resident after records of ${name}, MiB`] = memory(child.pid, 'VmRSS');
  }
  result[`most resident ever ${layout}, MiB`] = memory(child.pid, 'VmHWM');
  const ended = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await ended;
  return result;
};

const runs = contestants.map(() => []);
for (let run = 0; run < RUNS; run += 1) {
  for (const [index, contestant] of contestants.entries()) {
    // Each layout in a separate process.
    runs[index].push({
      ...(await measure(contestant, 'by revision')),
      ...(await measure(contestant, 'by time')),
    });
  }
}
const medians = runs.map((results) =>
  Object.fromEntries(
    Object.keys(results[0]).map((name) => [name, median(results.map((result) => result[name]))]),
  ),
);
for (const [index, { file, size }] of contestants.entries()) {
  medians[index]['code, MB'] = size / 1e6;
  medians[index]['code compressed, MB'] =
    gzipSync(fs.readFileSync(file), { level: 9 }).length / 1e6;
}
const shown = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(3));
console.log(
  `Medians of ${RUNS} runs on ${os.cpus().length} × ${os.cpus()[0].model.trim()}, Node.js ${process.version}\n`,
);
console.log(
  `| | ${contestants.map(({ name }) => name).join(' | ')} | ratio |\n|---|---|---|---|---|`,
);
for (const name of Object.keys(medians[0])) {
  const values = medians.map((results) => results[name]);
  const ratio = values[0] === 0 ? '' : (values.at(-1) / values[0]).toFixed(1);
  console.log(`| ${name} | ${values.map(shown).join(' | ')} | ${ratio} |`);
}
const [ours, , node] = medians;
const ofText = 'records of 32 KB by revision';
const ratio = node[`CPU per 1,000 ${ofText}, ms`] / ours[`CPU per 1,000 ${ofText}, ms`];
const resident = ours[`resident after ${ofText}, MiB`];
console.log(`
| aim for ${ofText} | measured | |
|---|---|---|
| 10 times less CPU than Node.js, at least 8 | ${ratio.toFixed(1)} | ${ratio >= 8 ? 'met' : '**missed**'} |
| at most 12 MiB resident | ${resident.toFixed(1)} MiB | ${resident <= 12 ? 'met' : '**missed**'} |`);
sns.close();
dynamodb.close();
runtime.close();
sns.closeAllConnections();
dynamodb.closeAllConnections();
runtime.closeAllConnections();
fs.rmSync(scratch, { recursive: true });
