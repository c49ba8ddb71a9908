// @ts-check
/**
 * The policies for the operators' tool, on an emulated AWS that enforces them: each is enough for its
 * commands, and without any one of its actions, one of them fails:
 * `node --test tests/pipeline/permissions.test.mjs`
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import {
  DeleteItemCommand,
  DynamoDBClient,
  PutItemCommand,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb';
import {
  AttachRolePolicyCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  IAMClient,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { operatorsTool, runProgram } from '../operators-tool.mjs';
import { makeCertificate } from './emulator/certificate.mjs';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
  TABLE_LAYOUT,
} from './emulator/pipeline.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

/** @typedef {{ accessKeyId: string, secretAccessKey: string, sessionToken?: string }} Credentials */
/** @typedef {{ Action: string | string[], [name: string]: unknown }} Statement */
/** @typedef {Record<string, import('@aws-sdk/client-dynamodb').AttributeValue>} Item */

const IS_BY_TIME = TABLE_LAYOUT === 'byTime';
const SOURCE = 'https://library.example.com';
/** @type {Credentials} */
const ROOT = { accessKeyId: 'test', secretAccessKey: 'test' };
const POLICIES = ['Verify', 'Export', 'Import', 'Doctor', 'Repair', 'Erase'];

const directory = mkdtempSync(join(tmpdir(), 'eventdb-permissions-'));
let certificate = '';
/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {import('./emulator/pipeline.mjs').Cdk} */
let cdk;
/** @type {Record<string, string>} */
let store = {};
/** Counts subjects and roles, so that each is new. */
let count = 0;

before(async () => {
  const tls = await makeCertificate(directory);
  certificate = tls.certificate;
  ministack = await startMinistack({ tls, enforcesIam: true });
  cdk = cdkFor(ministack, { isQuiet: true });
  const code = mkdtempSync(join(directory, 'code-'));
  // Nothing is published here, so there needn't be a publisher that works.
  writeFileSync(join(code, 'bootstrap'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
  await cdk.bootstrap();
  store = outputsOfOnlyStack(await cdk.deploy(EVENT_STORE_APP, eventStoreContext(code)), [
    'TableName',
    'FeedTableName',
    ...POLICIES.map((name) => `${name}PolicyArn`),
  ]);
  await client(DynamoDBClient).send(
    new UpdateTableCommand({
      TableName: output('TableName'),
      StreamSpecification: { StreamEnabled: false },
    }),
  );
  await prepare();
});

after(async () => {
  cdk?.discard();
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

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
}

/**
 * The commands of each policy. They prepare what they need with all permissions.
 *
 * @type {Record<string, (credentials: Credentials) => Promise<Ran[]>>}
 */
const COMMANDS = {
  Verify: async (credentials) => [
    await run(['verify', '--second-look-after', '1ms'], credentials),
    await run(['verify', '--since', '24h', '--second-look-after', '1ms'], credentials),
  ],
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
};

for (const name of POLICIES) {
  test(`${name}PolicyArn is enough for its commands, and no action of it is too much`, async () => {
    const commands = COMMANDS[name];
    assert.ok(commands !== undefined);
    const statements = await statementsOf(output(`${name}PolicyArn`));
    const enough = await commands(await assumeRoleWith(statements));
    for (const { status, complaint } of enough) {
      assert.notEqual(status, 2, complaint);
    }
    const all = statements.flatMap(({ Action: actions }, index) =>
      [actions].flat().map((action) => ({ index, action })),
    );
    assert.ok(all.length > 1);
    for (const { index, action } of all) {
      const rest = statements
        .map((statement, at) => ({
          ...statement,
          Action: [statement.Action].flat().filter((one) => at !== index || one !== action),
        }))
        .filter(({ Action: actions }) => actions.length > 0);
      const ran = await commands(await assumeRoleWith(rest));
      assert.ok(
        ran.some(({ status }) => status === 2),
        `without ${action} on ${JSON.stringify(statements[index]?.['Resource'])}, it works`,
      );
      assert.ok(
        ran.some(({ complaint }) => complaint.includes(action)),
        `it doesn't say that ${action} is missing: ${ran.map(({ complaint }) => complaint)}`,
      );
    }
  });
}

/** @typedef {{ status: unknown, printed: string, complaint: string }} Ran */

/**
 * Runs the operators' tool.
 *
 * @param {string[]} options
 * @param {Credentials} credentials
 * @param {string} [input]
 * @returns {Promise<Ran>}
 */
function run(options, credentials, input = '') {
  const environment = {
    ...ministack.environment,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: credentials.sessionToken,
    EVENTDB_TABLE: output('TableName'),
    EVENTDB_FEED: output('FeedTableName'),
  };
  return runProgram(operatorsTool(), options, environment, input);
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
  const snapshot = IS_BY_TIME
    ? { ...keyOf(`$head/${subject}`, { S: '$snapshot/Book' }), revision: { N: String(revision) } }
    : {
        ...keyOf(`$snapshot/${subject}`, { N: '7' }),
        state_revision: { N: String(revision) },
      };
  return put(snapshot);
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
 * @param {string} PolicyArn
 * @returns {Promise<Statement[]>}
 */
async function statementsOf(PolicyArn) {
  const iam = client(IAMClient);
  const { Policy: policy } = await iam.send(new GetPolicyCommand({ PolicyArn }));
  const { PolicyVersion: version } = await iam.send(
    new GetPolicyVersionCommand({ PolicyArn, VersionId: policy?.DefaultVersionId }),
  );
  return JSON.parse(decodeURIComponent(version?.Document ?? '')).Statement;
}

/**
 * Makes a role with these permissions, and takes it on.
 *
 * @param {Statement[]} statements
 * @returns {Promise<Credentials>}
 */
async function assumeRoleWith(statements) {
  count += 1;
  const iam = client(IAMClient);
  const { Role: role } = await iam.send(
    new CreateRoleCommand({
      RoleName: `operator-${count}`,
      AssumeRolePolicyDocument: JSON.stringify({
        Version: '2012-10-17',
        Statement: [
          {
            Effect: 'Allow',
            Principal: { AWS: 'arn:aws:iam::000000000000:root' },
            Action: 'sts:AssumeRole',
          },
        ],
      }),
    }),
  );
  const { Policy: policy } = await iam.send(
    new CreatePolicyCommand({
      PolicyName: `operator-${count}`,
      PolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: statements }),
    }),
  );
  await iam.send(new AttachRolePolicyCommand({ RoleName: role?.RoleName, PolicyArn: policy?.Arn }));
  const { Credentials: given } = await client(STSClient).send(
    new AssumeRoleCommand({ RoleArn: role?.Arn, RoleSessionName: 'test' }),
  );
  assert.ok(given?.AccessKeyId !== undefined && given.SecretAccessKey !== undefined);
  return {
    accessKeyId: given.AccessKeyId,
    secretAccessKey: given.SecretAccessKey,
    ...(given.SessionToken === undefined ? {} : { sessionToken: given.SessionToken }),
  };
}

/**
 * A client of the emulator.
 *
 * @template C
 * @param {new (configuration: any) => C} Client
 * @returns {C}
 */
function client(Client) {
  return new Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials: ROOT,
    requestHandler: { httpsAgent: new Agent({ ca: readFileSync(certificate) }) },
  });
}

/** @param {string} name */
function output(name) {
  const value = store[name];
  assert.ok(value !== undefined, `${name} is missing`);
  return value;
}
