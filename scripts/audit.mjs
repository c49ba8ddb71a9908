// @ts-check
/**
 * Asks the databases of advisories about everything the project depends on: `npm run audit`
 *
 * It needs github.com, for the one of Rust, and the npm registry. It fails where it can't ask.
 */
import { spawnSync } from 'node:child_process';
import { REPOSITORY, setUp } from './python-environment.mjs';

const { cargoDeny } = setUp();
const failed = [
  ['Rust', cargoDeny, '--locked', 'check', 'advisories'],
  ['npm', 'npm', 'audit'],
].filter(([what, program = '', ...programArguments]) => {
  console.log(`=== ${what}`);
  const { status, error } = spawnSync(program, programArguments, {
    cwd: REPOSITORY,
    stdio: 'inherit',
    shell: process.platform === 'win32' && program === 'npm',
  });
  if (error !== undefined) {
    console.error(error.message);
  }
  return status !== 0;
});
if (failed.length > 0) {
  console.error(
    `\nFound something, or could not ask: ${failed.map(([what]) => what).join(' and ')}`,
  );
  process.exitCode = 1;
}
