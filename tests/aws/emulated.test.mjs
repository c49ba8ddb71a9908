// @ts-check
/**
 * `npm run test:aws` as its users call it, against an emulated AWS: what it proves there, that each
 * check fails with its defect, and that nothing is left in any case:
 * `node --test tests/aws/emulated.test.mjs`
 *
 * EVENTDB_CODE can name a directory with a built `bootstrap`; else it is built.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { CloudFormationClient, DescribeStacksCommand } from '@aws-sdk/client-cloudformation';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { makeCertificate } from '../pipeline/emulator/certificate.mjs';
import { cdkFor, eventStoreContext, publisherCode } from '../pipeline/emulator/pipeline.mjs';
import { REGION, startMinistack } from '../pipeline/emulator/with-ministack.mjs';
import { CHECKS } from './checks/index.mjs';
import { leftovers } from './clean-up.mjs';
import { notProvenOnEmulator } from './run-checks.mjs';

const runnable = CHECKS.filter(({ runsOnEmulator }) => runsOnEmulator);
const directory = mkdtempSync(join(tmpdir(), 'eventdb-proof-'));
/** @type {import('../pipeline/emulator/with-ministack.mjs').Ministack} */
let ministack;
/** @type {NodeJS.ProcessEnv} */
let environment = {};
/** @type {import('./account.mjs').Account} */
let account;

before(async () => {
  const tls = await makeCertificate(directory);
  const code = publisherCode();
  ministack = await startMinistack({ tls, enforcesIam: true });
  environment = {
    ...ministack.environment,
    EVENTDB_CODE: code,
    EVENTDB_ARCHITECTURE: eventStoreContext(code)['architecture'],
  };
  account = {
    id: '000000000000',
    partition: 'aws',
    region: REGION,
    caller: 'test',
    isEmulated: true,
    environment,
    environmentOf: () => environment,
    client: (Client) =>
      new Client({
        endpoint: ministack.endpoint,
        region: REGION,
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
        forcePathStyle: true,
        requestHandler: { httpsAgent: new Agent({ ca: readFileSync(tls.certificate) }) },
      }),
  };
  const cdk = cdkFor(ministack, { isQuiet: true });
  await cdk.bootstrap();
  cdk.discard();
});

after(async () => {
  await ministack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

test('it proves what the emulator can show, names the rest, and leaves nothing', async () => {
  const { status, report, progress } = await prove(['--yes']);
  assert.equal(status, 0, `${report}\n${progress}`);
  for (const check of CHECKS) {
    const wanted = !check.runsOnEmulator
      ? 'not proven here'
      : check.notOnEmulator.length > 0
        ? 'proven in part'
        : 'proven';
    assert.ok(report.includes(`| ${check.name} | ${check.proves} | ${wanted} |`), report);
  }
  const listed = notProvenOnEmulator(CHECKS);
  for (const what of listed) {
    // Named before anything is done, and in the report.
    assert.ok(progress.indexOf(what) < progress.indexOf('Deploying'), what);
    assert.ok(progress.includes(what) && report.includes(what), what);
  }
  assert.match(report, /append, one event, .*: p50 \d+ ms, p99 \d+ ms/);
  await assertNothingIsLeft();
});

test('each check fails with its defect, and nothing is left then, either', async () => {
  const { status, report, progress } = await prove(['--yes', '--defect', 'all']);
  assert.equal(status, 1, `${report}\n${progress}`);
  for (const { name, proves } of runnable) {
    assert.ok(report.includes(`| ${name} | ${proves} | **failed** |`), `${name}\n${report}`);
  }
  // Each for its defect, and not for something else.
  for (const reason of [
    /the append policy allows: UpdateItem of an event/,
    /the event .* has not arrived/,
    /by sequence the events come in another order/,
    /1 of 2 encrypted events have not arrived/,
    /40 appends, but 39 times/,
    /it has no payload/,
    /an event was published though the mapping is disabled/,
    /1 of 100 events were lost/,
    /left behind: queue /,
  ]) {
    assert.match(report, reason);
  }
  assert.match(report, /## Left behind\n\nNothing\./);
  await assertNothingIsLeft();
});

test('after Ctrl-C everything is removed', async () => {
  const { status, report } = await prove(['--yes'], { signal: 'SIGINT', at: 'append-policy: ' });
  assert.equal(status, 130);
  assert.match(report, /The run ended early: interrupted by SIGINT/);
  await assertNothingIsLeft();
});

test('what was killed is refused under its old names, and removed by --clean-up', async () => {
  const own = ['--yes', '--suffix', 'killed'];
  await prove(own, { signal: 'SIGKILL', at: 'append-policy: ' });
  assert.notDeepEqual(await leftovers(account, 'EventDBProof-killed'), []);

  const again = await prove(own);
  assert.equal(again.status, 2);
  assert.match(again.progress, /There are stacks of these names already: EventDBProof-killed-/);

  const { status, progress } = await prove(['--yes', '--clean-up', 'killed']);
  assert.equal(status, 0, progress);
  await assertNothingIsLeft();
});

test('nothing is made unless somebody says yes', async () => {
  const { status, progress } = await prove([]);
  assert.equal(status, 2);
  assert.match(progress, /This is made there, and removed at the end/);
  assert.match(progress, /nobody to ask/);
  await assertNothingIsLeft();
});

/**
 * Runs the program.
 *
 * @param {string[]} options
 * @param {{ signal: NodeJS.Signals, at: string }} [interruption] the signal it gets once it has
 *   said that
 * @returns {Promise<{ status: number | null, report: string, progress: string }>}
 */
function prove(options, interruption) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'main.mjs'), ...options], {
      cwd: REPOSITORY,
      env: environment,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let report = '';
    let progress = '';
    let isInterrupted = false;
    child.stdout.setEncoding('utf8').on('data', (text) => {
      report += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      progress += text;
      if (
        interruption !== undefined &&
        !isInterrupted &&
        progress.includes(`\n${interruption.at}`)
      ) {
        isInterrupted = true;
        child.kill(interruption.signal);
      }
    });
    child.once('error', reject);
    child.once('close', (status) => resolve({ status, report, progress }));
  });
}

/** Whatever its suffix was. */
async function assertNothingIsLeft() {
  assert.deepEqual(await leftovers(account, 'EventDBProof'), []);
  const { Stacks: stacks } = await account
    .client(CloudFormationClient)
    .send(new DescribeStacksCommand({}));
  assert.deepEqual(
    stacks?.map(({ StackName: name }) => name),
    ['CDKToolkit'],
  );
}
