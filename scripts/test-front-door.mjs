// @ts-check
/**
 * The first minutes of somebody who finds the project: packs the crate as it would be published, and
 * in an empty directory follows the README to the letter. That is `cargo new`, each `cargo add` line
 * of the README, its first example as `main.rs`, `cargo run`, and the output that it shows.
 *
 * Dependencies are compiled into the workspace's target directory and in the versions of its
 * Cargo.lock, so that most of them are there already.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shareCompiledDependencies } from './compiled-dependencies.mjs';

/** Where the links of the published pages lead; crates.io and npm know no others. */
const FILES_ONLINE = 'https://github.com/eventdb/eventdb/blob/main/';

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const readme = readFileSync(join(repository, 'README.md'), 'utf8');
const directory = mkdtempSync(join(tmpdir(), 'eventdb-front-door-'));
const application = join(directory, 'library');

try {
  checkLinks('README.md', readme);
  checkLinks('infra/README.md', readFileSync(join(repository, 'infra', 'README.md'), 'utf8'));

  const crate = unpackedCrate();
  step('cargo new, and what the README adds');
  run('cargo', ['new', '--quiet', '--vcs', 'none', application], directory);
  addDependencies(crate);
  const [example, printed] = firstExample();
  writeFileSync(join(application, 'src', 'main.rs'), example);

  step('cargo run of the first example');
  shareCompiledDependencies(application);
  const output = run('cargo', ['run', '--quiet'], application, {
    CARGO_TARGET_DIR: join(repository, 'target'),
  });
  assert.equal(output, printed, 'the first example prints what the README shows below it');
  console.log('front door: 1 passed, 0 failed');
} finally {
  rmSync(directory, { recursive: true });
}

/**
 * The pages are also shown by crates.io and npm, where a relative link leads nowhere.
 *
 * @param {string} file
 * @param {string} text
 */
function checkLinks(file, text) {
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link ?? '');
  const wrong = links.filter((link) => {
    const path = link.startsWith(FILES_ONLINE) ? link.slice(FILES_ONLINE.length) : undefined;
    return path === undefined
      ? !/^(https:|#)/.test(link)
      : !existsSync(join(repository, path.replace(/#.*/, '')));
  });
  assert.deepEqual(
    wrong,
    [],
    `links of ${file} must be whole URLs, and those into the repository (${FILES_ONLINE}…) must name a file that is there`,
  );
}

/** @returns {string} the directory of the crate, as its users get it */
function unpackedCrate() {
  step('cargo package');
  const target = join(directory, 'packed');
  // A CI machine packs what is committed; elsewhere work may be under way.
  const dirty = process.env['CI'] ? [] : ['--allow-dirty'];
  // Its own verification would compile it with the default features only. This compiles more.
  const packing = ['package', '--package', 'eventdb', '--no-verify', '--locked', '--quiet'];
  run('cargo', [...packing, '--target-dir', target, ...dirty], repository);
  const manifest = readFileSync(join(repository, 'Cargo.toml'), 'utf8');
  const version = /^version = "(.*)"$/m.exec(manifest)?.[1];
  const name = `eventdb-${version}`;
  run('tar', ['-xzf', join(target, 'package', `${name}.crate`)], directory);
  return join(directory, name);
}

/** @param {string} crate */
function addDependencies(crate) {
  const commands = [...readme.matchAll(/^cargo add (.*)$/gm)].map(([, line]) => line ?? '');
  assert.ok(
    commands.some((line) => /^eventdb\b/.test(line)),
    'README.md has a line `cargo add eventdb …`',
  );
  for (const line of commands) {
    const words = line.trim().split(/\s+/);
    const own = words[0] === 'eventdb' ? ['--path', crate] : [];
    run('cargo', ['add', '--quiet', ...words, ...own], application);
  }
}

/** @returns {[string, string]} the first example, and the output that follows it */
function firstExample() {
  const example = /^```rust\n(.*?)^```$/ms.exec(readme)?.[1];
  const printed = /^```text\n(.*?)^```$/ms.exec(readme)?.[1];
  assert.ok(example, 'README.md has an example, in ```rust');
  assert.ok(printed, 'README.md shows what the first example prints, in the first ```text');
  return [example, printed];
}

/** @param {string} what */
function step(what) {
  console.log(`- ${what}`);
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 * @param {string} workingDirectory
 * @param {Record<string, string>} variables
 */
function run(command, commandArguments, workingDirectory, variables = {}) {
  const { error, status, stdout, stderr } = spawnSync(command, commandArguments, {
    cwd: workingDirectory,
    encoding: 'utf8',
    env: { ...process.env, ...variables },
  });
  const reason = error?.message ?? `status ${status}`;
  assert.equal(
    status,
    0,
    `\`${command} ${commandArguments.join(' ')}\` failed (${reason}):\n${stdout}\n${stderr}`,
  );
  return stdout;
}
