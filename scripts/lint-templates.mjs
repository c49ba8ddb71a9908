// @ts-check
/** Synthesises every variant of the templates and checks them with cfn-lint. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPOSITORY, setUp } from './python-environment.mjs';

/** Rules that say nothing about our templates, with the reason. */
const IGNORED = {
  I1022: 'The CDK writes Fn::Join where people would write Fn::Sub; it means the same.',
  W3005:
    'The CDK makes a function depend on its role besides naming it, so that its policies are there.',
};

const { cfnLint } = setUp();
const directory = mkdtempSync(join(tmpdir(), 'eventdb-templates-'));
try {
  run(process.execPath, ['--import', 'tsx', join('infra', 'test', 'write-variants.ts'), directory]);
  run(cfnLint, [
    '--include-checks',
    'I',
    '--ignore-checks',
    ...Object.keys(IGNORED),
    '--',
    join(directory, '*.template.json'),
  ]);
  console.log('cfn-lint: no findings');
} finally {
  rmSync(directory, { recursive: true });
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 */
function run(command, commandArguments) {
  const { status, error } = spawnSync(command, commandArguments, {
    stdio: 'inherit',
    cwd: REPOSITORY,
  });
  if (error !== undefined || status !== 0) {
    throw new Error(`${command} failed (${error?.message ?? `status ${status}`})`);
  }
}
