// @ts-check
/**
 * The inner loop: checks what differs from the last commit, or from another one, in under a minute.
 * `npm run check` or `npm run check -- main`
 *
 * It runs the tests near a change. `npm test` runs all, and what takes longer: documentation tests, the
 * storm, other engines and other features, templates, packages, deployment.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { REPOSITORY } from './python-environment.mjs';

/**
 * What is near a part: test programs, and modules of the program `conformance`.
 *
 * @type {[part: RegExp, programs: string, conformance: string][]}
 */
const NEAR = [
  [/^eventdb\/src\/codec\//, 'codec feed_codec golden serde_shapes', 'writing legacy limits'],
  [/^eventdb\/src\/event\//, 'codec golden serde_shapes ergonomics', 'writing limits'],
  [/^eventdb\/src\/domain\//, 'domain_events', 'aggregates commands decisions snapshots'],
  [/^eventdb\/src\/feed\//, 'feed_codec', 'feed verify verify_races'],
  [/^eventdb\/src\/subscribe\//, 'queue_disorder blue_green', 'read_models positions filling'],
  [/^eventdb\/src\/store\/append\//, 'faults', 'writing preconditions idempotence'],
  [/^eventdb\/src\/store\/copy\//, '', 'copying'],
  [
    /^eventdb\/src\/store\/(layout|read|table)\//,
    'spans',
    'reading long_subjects layouts subjects',
  ],
  [/^eventdb\/src\/(store\/)?\w+\.rs$/, 'schema spans embedded unreachable', 'writing subjects'],
  [/^eventdb\/tests\/conformance\/(main|model|support)\.rs$/, '', 'model writing reading'],
  [/^eventdb\/tests\/common\//, 'faults spans', ''],
  [/(^|\/)Cargo\.(toml|lock)$/, 'codec', 'writing reading'],
  [/^eventdb\/src\/store\/(failure|retry|table)\.rs$/, 'faults', ''],
  [/^lambda\/src\//, 'batches configuration feed feed_model delivery_model sns verification', ''],
  [/^cli\/src\//, 'transcript replay interrupt', ''],
];

const TEST_PROGRAM = /^(?:eventdb|lambda|cli)\/tests\/([a-z_]+)(?:\.rs|\/main\.rs)$/;

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
  const near = NEAR.filter(([part]) => has(part));
  const all = named(TEST_PROGRAM, git('ls-files')).filter(
    (name) => name !== 'conformance' && name !== 'storm',
  );
  const programs = unique([
    ...near.flatMap(([, names]) => words(names)),
    ...named(/^(?:eventdb|lambda|cli)\/tests\/([a-z_]+)(?:\.rs$|\/)/, changed).filter((name) =>
      all.includes(name),
    ),
  ]);
  const modules = unique([
    ...near.flatMap(([, , names]) => words(names)),
    ...named(/^eventdb\/tests\/conformance\/([a-z_]+)(?:\.rs$|\/)/, changed),
  ]).filter((name) => name !== 'main' && name !== 'support');
  // With a test program, dependencies have the features that they have in `npm test`.
  const targets = ['conformance', ...programs].flatMap((name) => ['--test', name]);
  const examples = has(/\/examples\//) ? ['--examples'] : [];
  cargo('clippy', ['--lib', '--bins', ...targets, ...examples]);
  cargo('test', ['--lib', ...programs.flatMap((name) => ['--test', name])]);
  if (modules.length > 0) {
    cargo('test', ['--test', 'conformance', '--', ...modules.map((name) => `${name}::`)]);
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
 * @param {string[]} targets
 */
function cargo(what, targets) {
  run('cargo', [what, '--quiet', '--workspace', '--all-features', '--locked', ...targets]);
}

/**
 * What a pattern names in paths.
 *
 * @param {RegExp} pattern
 * @param {string[]} paths
 */
function named(pattern, paths) {
  return paths.map((path) => pattern.exec(path)?.[1] ?? '').filter((name) => name !== '');
}

/** @param {string} text */
function words(text) {
  return text.split(' ').filter((word) => word !== '');
}

/** @param {string[]} names */
function unique(names) {
  return [...new Set(names)];
}

/** @param {string[]} gitArguments */
function git(...gitArguments) {
  return execFileSync('git', gitArguments, { cwd: REPOSITORY, encoding: 'utf8' })
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
    // Many tests wait: for limits of time, for pauses, for an emulator.
    env: { RUST_TEST_THREADS: '8', ...process.env },
    shell: process.platform === 'win32' && program === 'npx',
  });
  const line = [program === process.execPath ? 'node' : program, ...programArguments].join(' ');
  if (error !== undefined || status !== 0) {
    console.error(`FAILED: ${line} (${error?.message ?? `status ${status}`})`);
    process.exit(1);
  }
  console.log(`${((Date.now() - started) / 1_000).toFixed(1)} s  ${line.slice(0, 100)}`);
}
