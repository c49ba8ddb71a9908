// @ts-check
/** Lets a crate outside of the workspace use the dependencies that the workspace has compiled. */
import { appendFileSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

/**
 * Gives a crate the workspace's versions and its development profile. What was compiled with them into
 * the workspace's target directory isn't compiled again.
 *
 * @param {string} crate its directory
 */
export function shareCompiledDependencies(crate) {
  copyFileSync(join(REPOSITORY, 'Cargo.lock'), join(crate, 'Cargo.lock'));
  const workspace = readFileSync(join(REPOSITORY, 'Cargo.toml'), 'utf8');
  const profiles = workspace.match(/^\[profile\.dev(\..*)?\]\n([^[]*)/gm) ?? [];
  appendFileSync(join(crate, 'Cargo.toml'), `\n${profiles.join('\n')}`);
}
