// @ts-check
/** Lets a crate outside of the workspace use the dependencies that the workspace has compiled. */
import { appendFileSync, copyFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

/**
 * Gives a crate the workspace's versions and development profile. What was compiled with them into the
 * workspace's target directory isn't compiled again.
 *
 * The AWS client and the embedded database are compiled again, because this crate needs fewer of their
 * features. Optimised as in the workspace, they would take longer. Only SQLite is shared, so it is.
 *
 * @param {string} crate its directory
 */
export function shareCompiledDependencies(crate) {
  copyFileSync(join(REPOSITORY, 'Cargo.lock'), join(crate, 'Cargo.lock'));
  const workspace = readFileSync(join(REPOSITORY, 'Cargo.toml'), 'utf8');
  const shared = /^\[profile\.dev(\.package\.("\*"|libsqlite3-sys))?\]\n[^[]*/gm;
  appendFileSync(join(crate, 'Cargo.toml'), `\n${(workspace.match(shared) ?? []).join('\n')}`);
}
