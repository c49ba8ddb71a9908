// @ts-check
/**
 * Checks the workflows of the forge, by actionlint (syntax, expressions, shell) and zizmor (what
 * somebody could abuse), without the network; and the spelling of everything, by typos.
 */
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY, setUp, withTools } from './python-environment.mjs';

const { actionlint, typos, zizmor } = setUp();
const workflows = readdirSync(join(REPOSITORY, '.github', 'workflows'))
  .filter((file) => file.endsWith('.yml'))
  .map((file) => join('.github', 'workflows', file));
if (workflows.length === 0) {
  throw new Error('.github/workflows has no workflow');
}

run(actionlint, ['-no-color', ...workflows]);
run(zizmor, ['--offline', '--quiet', '--no-progress', '.github']);
run(typos, ['--format', 'brief']);

/**
 * @param {string} program
 * @param {string[]} programArguments
 */
function run(program, programArguments) {
  const { error, status } = spawnSync(program, programArguments, {
    cwd: REPOSITORY,
    stdio: 'inherit',
    env: withTools(),
  });
  if (error !== undefined || status !== 0) {
    console.error(
      `${program} found something, or failed (${error?.message ?? `status ${status}`})`,
    );
    process.exit(1);
  }
}
