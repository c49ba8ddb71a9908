// @ts-check
/**
 * The one test command for everything there is: `npm test`
 *
 * It does its own set-up, again only when something changed, and stops at the first step that
 * fails. Needed: Rust, Node.js 20 or newer, and Python 3.10 or newer with its venv module.
 *
 * Options: `--list` names the steps, `--only <text>` runs those whose name has the text (repeatable).
 */
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CARGO_DENY } from './cargo-deny.mjs';

/**
 * @typedef {object} Step
 * @property {string} name
 * @property {() => Promise<void>} run throws when it fails
 */

const REPOSITORY = dirname(dirname(fileURLToPath(import.meta.url)));
const SCRIPTS = join(REPOSITORY, 'scripts');
const TOOLS = join(REPOSITORY, '.tools');
const ADVISORIES_SECONDS = 60;

/** For what the steps leave behind, synthesised apps above all. It goes when they have run. */
const SCRATCH = mkdtempSync(join(tmpdir(), 'eventdb-test-'));

/** What this process was called with, but for what leads to somebody's AWS account or emulator. */
const environment = {
  ...Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^AWS_(?!LC_)/i.test(name)),
  ),
  TMPDIR: SCRATCH,
  TMP: SCRATCH,
  TEMP: SCRATCH,
  // What would make the next build faster takes a lot of disk, and on a CI machine there is none.
  ...(process.env['CI'] && { CARGO_INCREMENTAL: '0' }),
};

/** The command under way, and whether Ctrl-C came. @type {import('node:child_process').ChildProcess | undefined} */
let running;
/** @type {NodeJS.Signals | undefined} */
let interrupted;

/** What has to be there before the first step. @type {Step[]} */
const setUp = [
  { name: 'set-up: npm packages', run: npmPackages },
  {
    name: 'set-up: Python tools',
    run: () => command(process.execPath, [join(SCRIPTS, 'python-environment.mjs')]),
  },
  {
    name: 'set-up: cargo-deny',
    run: () => command(process.execPath, [join(SCRIPTS, 'cargo-deny.mjs')]),
  },
];

/** @type {Step[]} */
const steps = [
  // What takes seconds comes first.
  { name: 'Rust: format', run: () => cargo('fmt --all --check') },
  { name: 'TypeScript: lint and format', run: () => npmRun('lint') },
  { name: 'TypeScript: types', run: () => npmRun('types') },
  {
    name: 'Rust: lint',
    run: () => cargo('clippy --workspace --all-targets --all-features --locked -- -D warnings'),
  },
  { name: 'Rust: lint with fewer features', run: lintFewerFeatures },
  {
    name: 'Rust: lint of the benchmarks',
    // What they share with the workspace is compiled already.
    run: () =>
      cargo(
        'clippy --manifest-path bench/store/Cargo.toml --target-dir target --locked -- -D warnings',
      ),
  },
  { name: 'Rust: no AWS SDK without the client', run: noSdkWithoutClient },
  {
    name: 'Rust: tests, on the embedded engine',
    run: () => cargo('test --workspace --all-features --locked'),
  },
  { name: 'Rust: conformance on a second engine', run: conformanceOnMinistack },
  {
    name: 'Rust: documentation',
    run: () =>
      cargo('doc --workspace --all-features --no-deps --locked', {
        RUSTDOCFLAGS: '-D warnings',
      }),
  },
  {
    name: 'CloudEvents, checked by the SDK for JavaScript',
    run: () =>
      command(process.execPath, [
        '--test',
        join('eventdb', 'tests', 'cloudevents.test.mjs'),
        join('lambda', 'tests', 'published_messages.test.mjs'),
      ]),
  },
  {
    name: 'Fuzzing: what is read from outside',
    run: () => command(process.execPath, [join('fuzz', 'run.mjs'), '20']),
  },
  { name: 'Quick start: the library, plain and typed', run: quickStart },
  {
    name: 'Rust: dependencies',
    run: () =>
      command(CARGO_DENY, '--locked check --hide-inclusion-graph bans licenses sources'.split(' ')),
  },
  { name: 'Rust: advisories', run: advisories },
  { name: 'Rust: package', run: cargoPackage },
  { name: 'README: the table of costs', run: costTable },
  { name: 'docs: costs beside other designs', run: comparedCosts },
  { name: 'TypeScript: tests of the constructs', run: () => npmRun('test:infra') },
  { name: 'TypeScript: templates, by cfn-lint', run: () => npmRun('lint:templates') },
  { name: 'TypeScript: package, in a fresh app', run: () => npmRun('test:package') },
  { name: 'Deployment: synthesis, with the function built', run: synthesis },
  {
    name: 'Pipeline: deployed on an emulated AWS',
    run: () =>
      command(process.execPath, ['--test', join('tests', 'pipeline', 'pipeline.test.mjs')]),
  },
];

async function npmPackages() {
  const lock = readFileSync(join(REPOSITORY, 'package-lock.json'));
  const wanted = createHash('sha256').update(lock).digest('hex');
  const stamp = join(TOOLS, 'package-lock.sha256');
  const made = existsSync(stamp) ? readFileSync(stamp, 'utf8') : undefined;
  if (made === wanted && existsSync(join(REPOSITORY, 'node_modules'))) {
    return;
  }
  await command('npm', ['ci', '--no-audit', '--no-fund']);
  mkdirSync(TOOLS, { recursive: true });
  writeFileSync(stamp, wanted);
}

/** Every feature that may be left out compiles when it is. */
async function lintFewerFeatures() {
  for (const features of ['', 'cloudevents-sdk', 'dynamodb']) {
    await cargo(
      `clippy --package eventdb --lib --no-default-features --features=${features} --locked -- -D warnings`,
    );
  }
}

/** The codec is usable without the DynamoDB client and what that brings along. */
async function noSdkWithoutClient() {
  const found = sdkCrates(['--no-default-features']);
  if (found.length > 0) {
    throw new Error(
      `eventdb without its default features must not need the AWS SDK, but it needs: ${found.join(', ')} ` +
        '(cargo tree --package eventdb --no-default-features --edges normal,build --invert <crate> tells why)',
    );
  }
  if (!sdkCrates([]).some((crate) => crate.startsWith('aws-sdk-dynamodb '))) {
    throw new Error(
      'cargo tree does not even show the AWS SDK with the default features: this step is broken',
    );
  }
  console.log('no crate of the AWS SDK without the default features, as it should be');
}

/** @param {string[]} features */
function sdkCrates(features) {
  const tree = output('cargo', [
    ...['tree', '--package', 'eventdb', '--edges', 'normal,build', '--target', 'all', '--locked'],
    ...['--prefix', 'none', '--format', '{p}', ...features],
  ]);
  const crates = tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' '));
  if (!crates.some((crate) => crate.startsWith('eventdb '))) {
    throw new Error(`cargo tree shows no crate eventdb, but:\n${tree}`);
  }
  return [...new Set(crates.filter((crate) => /^aws-(sdk|smithy|config|runtime)/.test(crate)))];
}

function conformanceOnMinistack() {
  return command(process.execPath, [
    join('tests', 'pipeline', 'emulator', 'with-ministack.mjs'),
    '--',
    ...'cargo test --workspace --all-features --locked --test conformance'.split(' '),
  ]);
}

/** The database of advisories is not on a package registry, so it can't be had everywhere. */
async function advisories() {
  try {
    await command(CARGO_DENY, ['--locked', 'fetch', 'db'], { seconds: ADVISORIES_SECONDS });
  } catch (error) {
    if (interrupted !== undefined) {
      throw error;
    }
    const bar = '!'.repeat(80);
    console.log(
      `${bar}\n!! Advisories were NOT checked: their database (github.com/rustsec/advisory-db) can't be\n` +
        `!! fetched here (${message(error)}).\n` +
        `!! Where it can be, \`npm run audit\` checks them.\n${bar}`,
    );
    return;
  }
  await command(CARGO_DENY, ['--locked', 'check', 'advisories']);
}

/** The crate as it would be published builds by itself; on a CI machine, of what is committed. */
async function cargoPackage() {
  const dirty = process.env['CI'] ? '' : ' --allow-dirty';
  await cargo(`package --package eventdb --locked${dirty}`);
}

/** What the README promises of its first command. */
async function quickStart() {
  expectOutput('library', [
    // Either of the two readers may win the race.
    /user:\d+ has it/,
    /user:\d+ doesn't: conflict/,
    /10 sent, 10 stored/,
    /21 records: 15 events published, 6 other items skipped, nothing to deliver again/,
    /"specversion": "1.0"/,
  ]);
  expectOutput('typed_library', [
    /the decision was rejected: the reader isn't registered/,
    /(ada|ben) has it/,
    /(ada|ben) doesn't: the decision was rejected/,
    /without: 490 loans, from 980 events, [\d.]+ read units/,
    /with: 490 loans, from 0 events, [\d.]+ read units in 2 requests/,
    /1964 messages, 0 to be delivered again/,
  ]);
  return Promise.resolve();
}

/**
 * @param {string} example
 * @param {RegExp[]} expected
 */
function expectOutput(example, expected) {
  const printed = output('cargo', ['run', '--quiet', '--locked', '--example', example]);
  const missing = expected.filter((text) => !text.test(printed));
  if (missing.length > 0) {
    throw new Error(`${example} doesn't print ${missing.join(', ')}; it prints:\n${printed}`);
  }
}

/** The README's table is what the program prints. */
async function costTable() {
  const printed = output(
    'cargo',
    'run --quiet --all-features --example capacity --locked'.split(' '),
  );
  const readme = readFileSync(join(REPOSITORY, 'README.md'), 'utf8');
  const table = /<!-- capacity:[^>]*-->\s*(.*?)\s*<!-- \/capacity -->/s.exec(readme)?.[1];
  if (printed.trim() === '' || table !== printed.trim()) {
    throw new Error(
      "the table of costs in README.md isn't what `cargo run -p eventdb --example capacity` prints: put that there",
    );
  }
}

/** What other designs consume is what they do consume, with the versions that are locked. */
async function comparedCosts() {
  const printed = output(
    'cargo',
    'run --quiet --locked --manifest-path bench/store/Cargo.toml --target-dir target -- costs'.split(
      ' ',
    ),
  );
  if (readFileSync(join(REPOSITORY, 'docs/costs.md'), 'utf8') !== printed) {
    throw new Error("docs/costs.md isn't what `npm run bench:costs` writes: run that");
  }
}

/**
 * `npm run synth` as its users call it: it builds the function for Lambda, in release mode.
 *
 * For the product's default machine where Rust can build for it, else for the other one.
 */
async function synthesis() {
  const arm64 = output('rustc', [
    '--print',
    'target-libdir',
    '--target',
    'aarch64-unknown-linux-gnu',
  ]);
  const architecture = existsSync(arm64.trim()) ? 'arm64' : 'x86_64';
  const directory = join(SCRATCH, 'synthesis');
  const context = ['-c', 'env=prod', '-c', `architecture=${architecture}`, '--output', directory];
  await npmRun('synth', ...context);
  const built = readdirSync(directory).some((asset) =>
    existsSync(join(directory, asset, 'bootstrap')),
  );
  if (!built) {
    throw new Error('the synthesised app has no asset with the built function in it');
  }
  console.log(`synthesised, with the function built for ${architecture}`);
}

/**
 * @param {string} script
 * @param {string[]} scriptArguments
 */
function npmRun(script, ...scriptArguments) {
  return command('npm', ['run', '--silent', script, '--', ...scriptArguments]);
}

/**
 * @param {string} line
 * @param {Record<string, string>} variables
 */
function cargo(line, variables = {}) {
  return command('cargo', line.split(' '), { variables });
}

/**
 * Runs a command in the repository, and shows what it says.
 *
 * @param {string} program
 * @param {string[]} programArguments
 * @param {{ variables?: Record<string, string>, seconds?: number }} options
 * @returns {Promise<void>}
 */
function command(program, programArguments, { variables = {}, seconds = 0 } = {}) {
  const shown = [program, ...programArguments].map((part) => part.replace(`${REPOSITORY}/`, ''));
  return new Promise((resolve, reject) => {
    const child = spawn(program, programArguments, {
      cwd: REPOSITORY,
      env: { ...environment, ...variables },
      stdio: 'inherit',
      shell: process.platform === 'win32' && program === 'npm',
      timeout: seconds * 1_000,
    });
    running = child;
    child.once('error', (error) => reject(new Error(`${program} can't be run: ${error.message}`)));
    child.once('exit', (status, signal) => {
      running = undefined;
      if (interrupted !== undefined) {
        reject(new Error(`interrupted by ${interrupted}`));
      } else if (status === 0) {
        resolve();
      } else {
        reject(new Error(`\`${shown.join(' ')}\` ended with ${signal ?? `status ${status}`}`));
      }
    });
  });
}

/**
 * @param {string} program
 * @param {string[]} programArguments
 */
function output(program, programArguments) {
  const { error, signal, status, stdout } = spawnSync(program, programArguments, {
    cwd: REPOSITORY,
    env: environment,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
    maxBuffer: 64 * 1024 * 1024,
  });
  if (status !== 0) {
    const reason = error?.message ?? signal ?? `exit code ${status}`;
    throw new Error(`${program} ${programArguments.join(' ')} failed: ${reason}\n${stdout ?? ''}`);
  }
  return stdout;
}

/** @param {unknown} error */
function message(error) {
  return error instanceof Error ? error.message : String(error);
}

/** @param {number} milliseconds */
function duration(milliseconds) {
  const seconds = milliseconds / 1_000;
  return seconds < 60
    ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
}

/** @param {string[]} options */
async function main(options) {
  /** @type {string[]} */
  const only = [];
  for (let index = 0; index < options.length; index += 1) {
    const text = options[index + 1];
    if (options[index] === '--list') {
      console.log(steps.map(({ name }) => name).join('\n'));
      return;
    }
    if (options[index] !== '--only' || text === undefined) {
      throw new Error(`Unknown option ${options[index]}; there are --list and --only <text>`);
    }
    only.push(text.toLowerCase());
    index += 1;
  }
  const chosen = steps.filter(
    ({ name }) => only.length === 0 || only.some((text) => name.toLowerCase().includes(text)),
  );
  if (chosen.length === 0) {
    throw new Error('No step has such a name; --list names them');
  }

  for (const signal of /** @type {NodeJS.Signals[]} */ (['SIGINT', 'SIGTERM', 'SIGHUP'])) {
    // The command under way is told, and waited for, so that it can clean up.
    process.on(signal, () => {
      interrupted = signal;
      running?.kill(signal);
    });
  }

  const began = Date.now();
  /** @type {[string, number][]} */
  const durations = [];
  let passed = 0;
  for (const step of [...setUp, ...chosen]) {
    const isSetUp = setUp.includes(step);
    console.log(`\n=== ${step.name}`);
    const started = Date.now();
    try {
      await step.run();
    } catch (error) {
      console.log(
        `\nFAILED after ${passed} passed: ${step.name}, in ${duration(Date.now() - started)}: ${message(error)}`,
      );
      process.exitCode = interrupted === undefined ? 1 : 128 + constants.signals[interrupted];
      return;
    }
    durations.push([step.name, Date.now() - started]);
    passed += isSetUp ? 0 : 1;
    console.log(`--- ${step.name}: ${duration(Date.now() - started)}`);
  }
  durations.push(['all', Date.now() - began]);

  const width = Math.max(...durations.map(([name]) => name.length));
  console.log('');
  for (const [name, time] of durations) {
    console.log(`${name.padEnd(width)}  ${duration(time).padStart(12)}`);
  }
  console.log(`\n${passed} passed, 0 failed`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(message(error));
  process.exitCode = 2;
} finally {
  rmSync(SCRATCH, { recursive: true, force: true, maxRetries: 10 });
}
