// @ts-check
/**
 * Runs a command so that it finds the project's tools, setting them up first:
 * `node scripts/run-with-tools.mjs cdk synth -c env=dev`
 */
import { spawnSync } from 'node:child_process';
import { setUp, withTools } from './python-environment.mjs';

const [command, ...commandArguments] = process.argv.slice(2);
if (command === undefined) {
  console.error('Usage: node scripts/run-with-tools.mjs <command> [argument ...]');
  process.exit(2);
}
setUp();
const { status, error } = spawnSync(command, commandArguments, {
  stdio: 'inherit',
  env: withTools(),
});
if (error !== undefined) {
  console.error(`${command} can't be run: ${error.message}`);
}
process.exit(status ?? 1);
