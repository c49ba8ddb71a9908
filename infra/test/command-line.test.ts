import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BUNDLE_DIRECTORY, REPOSITORY } from './support';

let output: string;
beforeAll(() => {
  output = mkdtempSync(join(tmpdir(), 'eventdb-app-'));
});
afterAll(() => {
  rmSync(output, { recursive: true });
});

/** Runs a program of the app as the command line does, with its context or its arguments. */
function start(program: string, context: Record<string, string>, ...more: string[]) {
  return spawnSync(process.execPath, ['--import', 'tsx', join('infra', 'app', program), ...more], {
    cwd: REPOSITORY,
    encoding: 'utf8',
    env: {
      ...process.env,
      // The warning of the AWS SDK about old versions of Node.js is not ours.
      NODE_NO_WARNINGS: '1',
      CDK_OUTDIR: output,
      CDK_CONTEXT_JSON: JSON.stringify(context),
    },
  });
}

describe("the event store's app", () => {
  test('synthesises the stack of the environment', () => {
    const { status, stderr } = start('event-db.ts', { env: 'dev', code: BUNDLE_DIRECTORY });

    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(readdirSync(output)).toContain('EventDB-dev.template.json');
  });

  test.each([
    [{}, 'The context value env is missing'],
    [{ env: 'production' }, "The context value env is 'production'"],
    [
      { env: 'dev', code: BUNDLE_DIRECTORY, subscriptionAccounts: '1234' },
      "subscriptionAccounts: '1234' is not an AWS account id",
    ],
  ])('says in one sentence what is wrong with %j', (context, message) => {
    const { status, stderr } = start('event-db.ts', context);

    expect(status).toBe(1);
    expect(stderr).toContain(message);
    expect(stderr.trim().split('\n')).toHaveLength(1);
  });
});

describe("the subscriber's app", () => {
  test('synthesises its stack', () => {
    const { status, stderr } = start('subscriber.ts', {
      topicArn: 'arn:aws:sns:eu-west-1:111111111111:LibraryEvents',
    });

    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(readdirSync(output)).toContain('EventSubscriber.template.json');
  });

  test('says in one sentence what is missing', () => {
    const { status, stderr } = start('subscriber.ts', {});

    expect(status).toBe(1);
    expect(stderr).toMatch(/^The context value topicArn is missing.*\n$/);
  });
});
