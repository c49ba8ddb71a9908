// @ts-check
/**
 * The inner loop: checks what differs from the last commit, or from another one, in under a minute.
 * `npm run check` or `npm run check -- main`
 *
 * It leaves out what takes longer, and `npm test` runs all of it: documentation tests, the storm,
 * other engines and other features, templates, packages, deployment.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { REPOSITORY } from './python-environment.mjs';

const base = process.argv[2] ?? 'HEAD';
const changed = [
  ...git('diff', '--name-only', '--diff-filter=d', base),
  ...git('ls-files', '--others', '--exclude-standard'),
];
const has = (/** @type {RegExp} */ pattern) => changed.some((file) => pattern.test(file));

if (changed.length === 0) {
  console.log(`nothing differs from ${base}`);
}
if (has(/\.(ts|mts|mjs|json|md)$/)) {
  run('npx', ['--no-install', 'biome', 'check', '--error-on-warnings']);
}
if (changed.length > 0) {
  run(process.execPath, ['scripts/lint-language.mjs']);
  run(process.execPath, ['scripts/lint-architecture.mjs']);
}
if (has(/\.rs$|(^|\/)Cargo\.(toml|lock)$/)) {
  run('cargo', ['fmt', '--all', '--check']);
  const isShared = has(/^(eventdb\/(src|Cargo)|Cargo)/);
  if (isShared || has(/^eventdb\//)) {
    const tests = git('ls-files', 'eventdb/tests')
      .map((file) => /^eventdb\/tests\/([a-z_]+)(?:\.rs|\/main\.rs)$/.exec(file)?.[1] ?? '')
      .filter((name) => name !== '' && name !== 'storm')
      .flatMap((name) => ['--test', name]);
    cargo('clippy', 'eventdb', ['--all-targets']);
    cargo('test', 'eventdb', ['--lib', ...tests]);
  }
  if (isShared || has(/^lambda\//)) {
    cargo('clippy', 'eventdb-publisher', ['--all-targets']);
  }
  if (has(/^lambda\//)) {
    cargo('test', 'eventdb-publisher', ['--lib', '--tests']);
  }
}
if (has(/^infra\/.*\.ts$|^eventdb\/schema\.json$/)) {
  run('npx', ['--no-install', 'tsc', '--project', 'infra/tsconfig.json']);
  const related = changed.filter((file) => /^infra\/.*\.ts$|schema\.json$/.test(file));
  const files = related.map((file) => `${REPOSITORY}/${file}`);
  const vitest = ['--no-install', 'vitest', 'related', '--run', '--passWithNoTests'];
  run('npx', [...vitest, '--root', 'infra', ...files]);
}
if (has(/\.mjs$/)) {
  run('npx', ['--no-install', 'tsc', '--project', 'scripts/tsconfig.json']);
}

/**
 * @param {string} what
 * @param {string} crate
 * @param {string[]} targets
 */
function cargo(what, crate, targets) {
  run('cargo', [what, '--quiet', '--package', crate, '--all-features', '--locked', ...targets]);
}

/** @param {string[]} words */
function git(...words) {
  return execFileSync('git', words, { cwd: REPOSITORY, encoding: 'utf8' })
    .split('\n')
    .filter((line) => line !== '');
}

/**
 * @param {string} program
 * @param {string[]} programArguments
 */
function run(program, programArguments) {
  const started = Date.now();
  const { error, status } = spawnSync(program, programArguments, {
    cwd: REPOSITORY,
    stdio: 'inherit',
    shell: process.platform === 'win32' && program === 'npx',
  });
  const line = [program === process.execPath ? 'node' : program, ...programArguments].join(' ');
  if (error !== undefined || status !== 0) {
    console.error(`FAILED: ${line} (${error?.message ?? `status ${status}`})`);
    process.exit(1);
  }
  console.log(`${((Date.now() - started) / 1_000).toFixed(1)} s  ${line.slice(0, 100)}`);
}
