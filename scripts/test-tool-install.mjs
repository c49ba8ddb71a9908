// @ts-check
/**
 * Installs the operators' tool as its users do: packs the crates as they would be published, and runs
 * `cargo install` on the packed tool, which takes the packed libraries. Then it runs what was installed.
 *
 * It compiles without optimisation, in the versions and the profile of the workspace and into its target
 * directory, so that most of it is there already.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { shareCompiledDependencies } from './compiled-dependencies.mjs';
import { REPOSITORY } from './python-environment.mjs';

const CRATES = ['eventdb', 'eventdb-explore', 'eventdb-cli'];

const directory = mkdtempSync(join(tmpdir(), 'eventdb-tool-install-'));
const workspace = readFileSync(join(REPOSITORY, 'Cargo.toml'), 'utf8');
const version = /^version = "(.*)"$/m.exec(workspace)?.[1];

try {
  const packed = join(directory, 'packed');
  // A CI machine packs what is committed; elsewhere work may be under way.
  const dirty = process.env['CI'] ? [] : ['--allow-dirty'];
  run('cargo', [
    'package',
    ...CRATES.flatMap((name) => ['--package', name]),
    ...['--no-verify', '--locked', '--quiet', '--target-dir', packed, ...dirty],
  ]);
  for (const name of CRATES) {
    const crate = join(packed, 'package', `${name}-${version}.crate`);
    run('tar', ['-xzf', crate, '-C', directory]);
  }
  const tool = join(directory, `eventdb-cli-${version}`);
  // The others aren't in the registry yet, or are older ones there.
  const patched = CRATES.filter((name) => name !== 'eventdb-cli').flatMap((name) => {
    const path = JSON.stringify(join(directory, `${name}-${version}`));
    return ['--config', `patch.crates-io.${name}.path=${path}`];
  });
  shareCompiledDependencies(tool);
  // Leaves out of the workspace's versions what the tool doesn't need.
  run('cargo', ['update', '--workspace', '--quiet', ...patched], tool);

  const installed = join(directory, 'installed');
  run('cargo', [
    ...['install', '--debug', '--locked', '--quiet', '--path', tool, '--root', installed],
    ...['--target-dir', join(REPOSITORY, 'target'), ...patched],
  ]);
  const eventdb = join(installed, 'bin', 'eventdb');
  assert.equal(run(eventdb, ['--version']), `eventdb ${version}\n`);
  const file = ['--file', join(directory, 'events.db')];
  run(eventdb, [...file, 'create-table', '--table', 'Events']);
  const append = ['append', 'book:1', 'book.borrowed', '--source', 'https://library.example.com'];
  run(eventdb, [...file, ...append, '--yes']);
  assert.match(run(eventdb, [...file, 'cat', 'book:1']), /^ +1 .* book\.borrowed {2}\{\}\n$/);
  assert.match(run(eventdb, ['man', 'cat']), /\.TH eventdb-cat 1/);
  console.log('installed tool: 1 passed, 0 failed');
} finally {
  rmSync(directory, { recursive: true });
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {string} [workingDirectory]
 */
function run(command, commandArguments, workingDirectory = REPOSITORY) {
  const environment = Object.entries(process.env).filter(([name]) => !name.startsWith('EVENTDB_'));
  const { error, status, stdout, stderr } = spawnSync(command, commandArguments, {
    cwd: workingDirectory,
    encoding: 'utf8',
    env: Object.fromEntries(environment),
  });
  const reason = error?.message ?? `status ${status}`;
  const line = `${command} ${commandArguments.join(' ')}`;
  assert.equal(status, 0, `\`${line}\` failed (${reason}):\n${stdout}\n${stderr}`);
  return stdout;
}
