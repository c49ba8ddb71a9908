// @ts-check
/**
 * The policies of the stack, on an emulated AWS that enforces them: each is enough for its commands, and
 * without any one of its actions, one of them fails:
 * `node --test tests/pipeline/permissions.test.mjs`
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { DynamoDBClient, UpdateTableCommand } from '@aws-sdk/client-dynamodb';
import { IAMClient } from '@aws-sdk/client-iam';
import { CreateQueueCommand, SQSClient } from '@aws-sdk/client-sqs';
import { STSClient } from '@aws-sdk/client-sts';
import { startBrowser } from '../../explore/tests/browser.mjs';
import { serveExplore } from '../operators-tool.mjs';
import { commandsOf, FAILED_BATCH, POLICIES } from './commands-of-policies.mjs';
import { makeCertificate } from './emulator/certificate.mjs';
import {
  cdkFor,
  EVENT_STORE_APP,
  eventStoreContext,
  outputsOfOnlyStack,
} from './emulator/pipeline.mjs';
import { assumeRoleWith, statementsOf, withoutEachAction } from './emulator/roles.mjs';
import { REGION, startMinistack } from './emulator/with-ministack.mjs';

/** @typedef {import('./emulator/roles.mjs').Credentials} Credentials */
/** @typedef {import('./emulator/roles.mjs').Statement} Statement */

/** @type {Credentials} */
const ROOT = { accessKeyId: 'test', secretAccessKey: 'test' };
const QUEUE = 'replayed';
/** A publisher that says that it has published everything. */
const PUBLISHER = `#!${process.execPath}
const next = \`http://\${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation\`;
const answer = async () => {
  const event = await fetch(\`\${next}/next\`);
  await event.text();
  const id = event.headers.get('lambda-runtime-aws-request-id');
  const body = '{"batchItemFailures":[]}';
  await fetch(\`\${next}/\${id}/response\`, { method: 'POST', body });
  return answer();
};
answer();
`;

const directory = mkdtempSync(join(tmpdir(), 'eventdb-permissions-'));
let certificate = '';
/** @type {import('./emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {import('./emulator/pipeline.mjs').Cdk} */
let cdk;
/** @type {Record<string, string>} */
let store = {};
let stackName = '';
/** @type {import('./commands-of-policies.mjs').Commands} */
let commands;
let roles = 0;

before(async () => {
  const tls = await makeCertificate(directory);
  certificate = tls.certificate;
  ministack = await startMinistack({ tls, enforcesIam: true });
  cdk = cdkFor(ministack, { isQuiet: true });
  const code = mkdtempSync(join(directory, 'code-'));
  writeFileSync(join(code, 'bootstrap'), PUBLISHER, { mode: 0o755 });
  await client(SQSClient).send(new CreateQueueCommand({ QueueName: QUEUE }));
  const queue = `arn:aws:sqs:${REGION}:000000000000:${QUEUE}`;
  await cdk.bootstrap();
  const context = { ...eventStoreContext(code), replayQueues: queue };
  const outputs = await cdk.deploy(EVENT_STORE_APP, context);
  [stackName = ''] = Object.keys(outputs);
  store = outputsOfOnlyStack(outputs, [
    ...['TableName', 'FeedTableName', 'TopicArn', 'PublisherName', 'FailureBucketName'],
    ...POLICIES.map((name) => `${name}PolicyArn`),
  ]);
  // Nothing is published by itself, and the table can be imported into.
  await client(DynamoDBClient).send(
    new UpdateTableCommand({
      TableName: output('TableName'),
      StreamSpecification: { StreamEnabled: false },
    }),
  );
  commands = commandsOf({ environmentOf, client, output, queue });
  await commands.prepare();
});

after(async () => {
  cdk?.discard();
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

for (const name of POLICIES) {
  test(`${name}PolicyArn is enough for its commands, and no action of it is too much`, async () => {
    const run = commands.of[name];
    assert.ok(run !== undefined);
    const statements = await statementsOf(client(IAMClient), output(`${name}PolicyArn`));
    const enough = await run(await roleWith(statements));
    for (const { status, printed, complaint } of enough) {
      assert.notEqual(status, 2, complaint);
      assert.doesNotMatch(printed + complaint, /not authorized|access ?denied/i);
    }
    const all = withoutEachAction(statements);
    assert.ok(all.length > 1);
    for (const { action, resource, rest } of all) {
      const ran = await run(await roleWith(rest));
      assert.ok(
        // A redrive says it of the object, and goes on.
        ran.some(
          ({ status, complaint, printed }) => status === 2 || /denied/i.test(complaint + printed),
        ),
        `without ${action} on ${JSON.stringify(resource)}, it works`,
      );
      assert.ok(
        ran.some(({ complaint, printed }) =>
          `${complaint}${printed}`.toLowerCase().includes(action.toLowerCase()),
        ),
        `it doesn't say that ${action} is missing: ${ran.map(({ complaint }) => complaint)}`,
      );
    }
  });
}

test('with ExplorePolicyArn and the name of the stack, the page shows the failure bucket', async () => {
  await commands.keepFailedBatch();
  const statements = await statementsOf(client(IAMClient), output('ExplorePolicyArn'));
  // To read the outputs of the stack. The policies don't include it.
  const outputs = { Effect: 'Allow', Action: 'cloudformation:DescribeStacks', Resource: '*' };
  const credentials = await roleWith([...statements, outputs]);
  const served = await serveExplore({
    ...ministack.environment,
    ...variablesOf(credentials),
    EVENTDB_STACK: stackName,
  });
  const chromium = await startBrowser();
  try {
    const page = await chromium.browser.newPage();
    await page.goto(String(served.address));
    await page.getByRole('link', { name: 'Failures' }).click();
    await page.getByText(FAILED_BATCH).click();
    await page.getByText('Its content is hidden.').waitFor();
    await page.getByRole('button', { name: 'Show data in this tab' }).click();
    const content = page.getByRole('region', { name: 'Content' });
    await content.waitFor();
    // The payload is text in the object, and JSON in the page.
    const text = String(await content.textContent());
    assert.match(text, /"condition": "RetryAttemptsExhausted"/);
    assert.match(text, /"eventName": "INSERT"/);
  } finally {
    await chromium.close();
    await served.close();
  }
});

/** @param {Statement[]} statements */
function roleWith(statements) {
  roles += 1;
  return assumeRoleWith(client(IAMClient), client(STSClient), `operator-${roles}`, statements);
}

/**
 * The variables with which the tool finds the store.
 *
 * @param {Credentials} credentials
 * @returns {NodeJS.ProcessEnv}
 */
function environmentOf(credentials) {
  return {
    ...ministack.environment,
    ...variablesOf(credentials),
    EVENTDB_TABLE: output('TableName'),
    EVENTDB_FEED: output('FeedTableName'),
    EVENTDB_TOPIC: output('TopicArn'),
    EVENTDB_PUBLISHER: output('PublisherName'),
    EVENTDB_FAILURE_BUCKET: output('FailureBucketName'),
  };
}

/** @param {Credentials} credentials */
function variablesOf(credentials) {
  return {
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_SESSION_TOKEN: credentials.sessionToken,
  };
}

/**
 * A client of the emulator.
 *
 * @template C
 * @param {new (configuration: any) => C} Client
 * @returns {C}
 */
function client(Client, credentials = ROOT) {
  return new Client({
    endpoint: ministack.endpoint,
    region: REGION,
    credentials,
    requestHandler: { httpsAgent: new Agent({ ca: readFileSync(certificate) }) },
  });
}

/** @param {string} name */
function output(name) {
  const value = store[name];
  assert.ok(value !== undefined, `${name} is missing`);
  return value;
}
