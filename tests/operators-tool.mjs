// @ts-check
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { REPOSITORY } from '../scripts/python-environment.mjs';

/** @type {string | undefined} */
let built;

/**
 * The path of the operators' tool `eventdb`, built on the first call. With the examples, it has the
 * features that the Rust tests build it with, so most often there is nothing to build.
 */
export function operatorsTool() {
  if (built === undefined) {
    const options = '--quiet --locked --all-features --bin eventdb --examples';
    const { status } = spawnSync('cargo', ['build', ...options.split(' ')], {
      cwd: REPOSITORY,
      stdio: ['ignore', 2, 2],
    });
    if (status !== 0) {
      throw new Error("the operators' tool can't be built");
    }
    built = join(REPOSITORY, 'target', 'debug', 'eventdb');
  }
  return built;
}
