// @ts-check
/**
 * The one test command for everything there is: `npm test`
 *
 * It does its own set-up, again only when something changed, and stops at the first step that
 * fails. Needed: Rust, Node.js 20 or newer, and Python 3.10 or newer with its venv module.
 *
 * Options: `--list` names the steps, `--only <text>` runs those whose name has the text (repeatable).
 */
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
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { REPOSITORY, tools } from './python-environment.mjs';
import { duration, isInterrupted, message, passSignalsOn, runLanes } from './step-runner.mjs';
import { denyWarnings } from './warnings.mjs';

/**
 * @typedef {import('./step-runner.mjs').Step} Step
 * @typedef {import('./step-runner.mjs').Shell} Shell
 */

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
  // Many tests wait: for limits of time, for pauses, for an emulator.
  RUST_TEST_THREADS: process.env['RUST_TEST_THREADS'] ?? '8',
  // What would make the next build faster takes a lot of disk, and on a CI machine there is none.
  ...(process.env['CI'] && { CARGO_INCREMENTAL: '0' }),
};

const COMPILED_TESTS = 'Rust: compiling the tests';

/** What has to be there before other steps. The second lane begins with it. @type {Step[]} */
const setUp = [
  { name: 'set-up: npm packages', run: npmPackages },
  {
    name: 'set-up: Python tools',
    run: ({ command }) => command(process.execPath, [join(SCRIPTS, 'python-environment.mjs')]),
  },
];

const WARNINGS = denyWarnings();

/** What compiles much in the workspace's debug profile, and what is tested then. @type {Step[]} */
const rust = [
  { name: 'Rust: format', run: (shell) => cargo(shell, 'fmt --all --check') },
  {
    name: 'Rust: lint',
    run: (shell) =>
      cargo(shell, 'clippy --workspace --all-targets --all-features --locked', WARNINGS),
  },
  { name: 'Rust: lint with fewer features', run: lintFewerFeatures },
  {
    name: 'Rust: lint of the benchmarks',
    // What they share with the workspace is compiled already.
    run: (shell) =>
      cargo(
        shell,
        'clippy --manifest-path bench/store/Cargo.toml --target-dir target --locked',
        WARNINGS,
      ),
  },
  { name: 'Rust: no AWS SDK without the client', run: noSdkWithoutClient },
  {
    name: COMPILED_TESTS,
    run: (shell) => cargo(shell, 'test --workspace --all-features --locked --no-run'),
  },
  {
    name: 'Rust: tests, on the embedded engine',
    run: (shell) => cargo(shell, 'test --workspace --all-features --locked'),
  },
  {
    name: "The operators' tool, installed from the packed crate",
    run: ({ command }) => command(process.execPath, [join(SCRIPTS, 'test-tool-install.mjs')]),
  },
];

/**
 * At the same time. Cargo lets one command compile at a time, so what needs compiled Rust comes last,
 * when the first lane runs tests.
 *
 * @type {Step[]}
 */
const others = [
  {
    name: 'Lint: TypeScript, architecture, language, workflows',
    run: (shell) => npmRun(shell, 'lint'),
  },
  { name: 'TypeScript: types', run: (shell) => npmRun(shell, 'types') },
  { name: 'TypeScript: tests of the constructs', run: (shell) => npmRun(shell, 'test:infra') },
  { name: 'TypeScript: templates, by cfn-lint', run: (shell) => npmRun(shell, 'lint:templates') },
  { name: 'TypeScript: package, in a fresh app', run: (shell) => npmRun(shell, 'test:package') },
  {
    name: 'Release: rehearsal of both packages',
    run: ({ command }) => command(process.execPath, [join(SCRIPTS, 'rehearse-release.mjs')]),
  },
  {
    name: 'Emulator: each patch is still needed',
    run: ({ command }) =>
      command(process.execPath, [
        '--test',
        join('tests', 'pipeline', 'emulator', 'patches.test.mjs'),
      ]),
  },
  {
    name: 'Fuzzing: what is read from outside',
    run: ({ command }) => command(process.execPath, [join('fuzz', 'run.mjs'), '20']),
  },
  { name: 'Deployment: synthesis, with the function built', run: synthesis },
  { name: 'Rust: conformance on a second engine', run: conformanceOnMinistack },
  {
    name: 'Rust: documentation',
    // With the examples, dependencies have the same features as in the lint, and are there already.
    run: ({ command }) =>
      command(
        'cargo',
        'doc --workspace --lib --examples --all-features --no-deps --locked'.split(' '),
        { variables: { RUSTDOCFLAGS: WARNINGS.join(' ') } },
      ),
  },
  {
    name: 'CloudEvents, checked by the SDK for JavaScript',
    run: ({ command }) =>
      command(process.execPath, [
        '--test',
        join('eventdb', 'tests', 'cloudevents.test.mjs'),
        join('lambda', 'tests', 'published_messages.test.mjs'),
      ]),
  },
  { name: 'Quick start: the library, plain and typed', run: quickStart },
  { name: 'Explore: the page, in a browser', run: explorePage },
  {
    name: 'Rust: dependencies',
    run: ({ command }) =>
      command(
        tools.cargoDeny,
        '--locked check --hide-inclusion-graph bans licenses sources'.split(' '),
      ),
  },
  { name: 'Rust: advisories', run: advisories },
  {
    name: 'README: its first example in a new project, with the packed crate',
    run: ({ command }) => command(process.execPath, [join(SCRIPTS, 'test-front-door.mjs')]),
  },
  { name: 'docs: the table of costs', run: costTable },
  { name: 'docs: costs compared with other designs', run: comparedCosts },
];

const ARCHITECTURE = process.arch === 'arm64' ? 'arm64' : 'x86_64';

/** Where it is built once for those who run side by side. */
const BUILT_FUNCTION = join(REPOSITORY, 'infra', 'function', ARCHITECTURE);

/** @type {Step} */
const setUpFunction = {
  name: 'set-up: the function for this machine',
  run: ({ command }) =>
    command(process.execPath, [join(SCRIPTS, 'build-function.mjs'), ARCHITECTURE]),
};

/** Each deploys into a separate emulator. @type {Step[]} */
const deployed = [
  {
    name: 'Pipeline: deployed on an emulated AWS',
    run: (shell) => onEmulatedAws(shell, ['pipeline', 'existing-table', 'permissions']),
  },
  {
    name: 'Proof for an AWS account: its program, on an emulated AWS',
    run: async ({ after, command }) => {
      await after(setUpFunction.name);
      await command(
        process.execPath,
        [
          '--test',
          ...['options', 'capacity-table', 'report', 'emulated'].map((name) =>
            join('tests', 'aws', `${name}.test.mjs`),
          ),
        ],
        { variables: { EVENTDB_CODE: BUILT_FUNCTION } },
      );
    },
  },
];

/** At the same time as the others that are deployed. @type {Step[]} */
const deployedApart = [
  {
    name: "Emulator: the operators' tool, with IAM enforced",
    run: (shell) => onEmulatedAws(shell, ['operators-tool', 'interrupted-moves']),
  },
  {
    name: 'Pipeline by revision: the same with a table by revision',
    run: (shell) =>
      onEmulatedAws(shell, ['pipeline', 'permissions', 'rebuild'], {
        EVENTDB_TABLE_LAYOUT: 'byRevision',
      }),
  },
];

/** @type {Step[]} */
const steps = [...rust, ...others, ...deployed, ...deployedApart];

/** @param {Shell} shell */
async function npmPackages({ command }) {
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

/**
 * Every feature that may be left out compiles when it is.
 *
 * @param {Shell} shell
 */
async function lintFewerFeatures(shell) {
  for (const features of ['', 'cloudevents-sdk', 'dynamodb']) {
    await cargo(
      shell,
      `clippy --package eventdb --lib --no-default-features --features=${features} --locked`,
      WARNINGS,
    );
  }
}

/**
 * The codec is usable without the DynamoDB client and what that brings along.
 *
 * @param {Shell} shell
 */
async function noSdkWithoutClient(shell) {
  const found = await sdkCrates(shell, ['--no-default-features']);
  if (found.length > 0) {
    throw new Error(
      `eventdb without its default features must not need the AWS SDK, but it needs: ${found.join(', ')} ` +
        '(cargo tree --package eventdb --no-default-features --edges normal,build --invert <crate> tells why)',
    );
  }
  const usual = await sdkCrates(shell, []);
  if (!usual.some((crate) => crate.startsWith('aws-sdk-dynamodb '))) {
    throw new Error(
      'cargo tree does not even show the AWS SDK with the default features: this step is broken',
    );
  }
  shell.say('no crate of the AWS SDK without the default features, as it should be');
}

/**
 * @param {Shell} shell
 * @param {string[]} features
 */
async function sdkCrates({ output }, features) {
  const tree = await output('cargo', [
    ...['tree', '--package', 'eventdb', '--edges', 'normal,build', '--target', 'all', '--locked'],
    ...['--prefix', 'none', '--format', '{p}', ...features],
  ]);
  const crates = tree.split('\n').map((line) => line.split(' ').slice(0, 2).join(' '));
  if (!crates.some((crate) => crate.startsWith('eventdb '))) {
    throw new Error(`cargo tree shows no crate eventdb, but:\n${tree}`);
  }
  return [...new Set(crates.filter((crate) => /^aws-(sdk|smithy|config|runtime)/.test(crate)))];
}

/**
 * The page is what its sources build, and does what it should in a real browser.
 *
 * @param {Shell} shell
 */
async function explorePage(shell) {
  await npmRun(shell, 'build:explore', '--check');
  const programs = '--bins --example demo_store --example typed_library';
  await cargo(shell, `build --quiet --workspace --all-features --locked ${programs}`);
  await shell.command(process.execPath, ['--test', join('explore', 'tests', 'explore.test.mjs')]);
}

/** @param {Shell} shell */
async function conformanceOnMinistack({ after, command }) {
  await after(COMPILED_TESTS);
  await command(
    process.execPath,
    [
      join('tests', 'pipeline', 'emulator', 'with-ministack.mjs'),
      '--',
      ...'cargo test --workspace --all-features --locked --test conformance'.split(' '),
    ],
    // The emulator does one thing at a time. With more tests, all of them wait.
    { variables: { RUST_TEST_THREADS: '4' } },
  );
}

/**
 * The database of advisories is not on a package registry, so it can't be had everywhere.
 *
 * @param {Shell} shell
 */
async function advisories({ command, say }) {
  try {
    await command(tools.cargoDeny, ['--locked', 'fetch', 'db'], { seconds: ADVISORIES_SECONDS });
  } catch (error) {
    if (isInterrupted()) {
      throw error;
    }
    const bar = '!'.repeat(80);
    say(
      `${bar}\n!! Advisories were NOT checked: their database (github.com/rustsec/advisory-db) can't be\n` +
        `!! fetched here (${message(error)}).\n` +
        `!! Where it can be, \`npm run audit\` checks them.\n${bar}`,
    );
    return;
  }
  await command(tools.cargoDeny, ['--locked', 'check', 'advisories']);
}

/**
 * What the README promises of its first command.
 *
 * @param {Shell} shell
 */
async function quickStart(shell) {
  await expectOutput(shell, 'library', [
    // Either of the two readers may win the race.
    /user:\d+ has it/,
    /user:\d+ doesn't: conflict/,
    /10 sent, 10 stored/,
    /21 records: 15 events published, 6 other items skipped, nothing to deliver again/,
    /"specversion": "1.0"/,
  ]);
  await expectOutput(shell, 'typed_library', [
    /the decision was rejected: the reader isn't registered/,
    /ben hasn't: the decision was rejected: another reader has this address/,
    /done before: revision Some\(1\) of book:\d+-dune: book.borrowed/,
    /(ada|ben) has it/,
    /(ada|ben) doesn't: the decision was rejected/,
    /without: 490 loans, from 980 events, [\d.]+ read units/,
    /with: 490 loans, from 0 events, [\d.]+ read units in 3 requests/,
    /1964 messages, 0 to be delivered again/,
  ]);
}

/**
 * @param {Shell} shell
 * @param {string} example
 * @param {RegExp[]} expected
 */
async function expectOutput({ output }, example, expected) {
  const printed = await output('cargo', ['run', '--quiet', '--locked', '--example', example]);
  const missing = expected.filter((text) => !text.test(printed));
  if (missing.length > 0) {
    throw new Error(`${example} doesn't print ${missing.join(', ')}; it prints:\n${printed}`);
  }
}

/**
 * The tables in the docs are what the program prints, for both layouts.
 *
 * @param {Shell} shell
 */
async function costTable({ output }) {
  const page = readFileSync(join(REPOSITORY, 'docs/costs-and-limits.md'), 'utf8');
  for (const [name, options] of /** @type {[string, string[]][]} */ ([
    ['capacity', []],
    ['capacity by revision', ['--', '--by-revision']],
  ])) {
    const printed = await output('cargo', [
      ...'run --quiet --all-features --example capacity --locked'.split(' '),
      ...options,
    ]);
    const table = new RegExp(`<!-- ${name}:[^>]*-->\\s*(.*?)\\s*<!-- /${name} -->`, 's').exec(page);
    if (printed.trim() === '' || table?.[1] !== printed.trim()) {
      throw new Error(
        `the table "${name}" in docs/costs-and-limits.md isn't what \`cargo run -p eventdb --example capacity ${options.join(' ')}\` prints: put that there`,
      );
    }
  }
}

/**
 * What other designs consume is what they do consume, with the versions that are locked.
 *
 * @param {Shell} shell
 */
async function comparedCosts({ output }) {
  const printed = await output(
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
 *
 * @param {Shell} shell
 */
async function synthesis(shell) {
  const arm64 = await shell.output('rustc', [
    '--print',
    'target-libdir',
    '--target',
    'aarch64-unknown-linux-gnu',
  ]);
  const architecture = existsSync(arm64.trim()) ? 'arm64' : 'x86_64';
  const directory = join(SCRATCH, 'synthesis');
  const context = ['-c', 'env=prod', '-c', `architecture=${architecture}`, '--output', directory];
  await npmRun(shell, 'synth', ...context);
  const built = readdirSync(directory).some((asset) =>
    existsSync(join(directory, asset, 'bootstrap')),
  );
  if (!built) {
    throw new Error('the synthesised app has no asset with the built function in it');
  }
  shell.say(`synthesised, with the function built for ${architecture}`);
}

/**
 * @param {Shell} shell
 * @param {string[]} tests of the pipeline
 * @param {Record<string, string>} [variables]
 */
async function onEmulatedAws({ after, command }, tests, variables = {}) {
  await after(setUpFunction.name);
  const files = tests.map((name) => join('tests', 'pipeline', `${name}.test.mjs`));
  await command(process.execPath, ['--test', '--test-concurrency=1', ...files], {
    variables: { EVENTDB_CODE: BUILT_FUNCTION, ...variables },
  });
}

/**
 * @param {Shell} shell
 * @param {string} script
 * @param {string[]} scriptArguments
 */
function npmRun({ command }, script, ...scriptArguments) {
  return command('npm', ['run', '--silent', script, '--', ...scriptArguments]);
}

/**
 * @param {Shell} shell
 * @param {string} line
 * @param {string[]} flags for the program that cargo runs
 */
function cargo({ command }, line, flags = []) {
  return command('cargo', [...line.split(' '), ...(flags.length > 0 ? ['--', ...flags] : [])]);
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
  /** @param {Step[]} lane */
  const chosen = (lane) =>
    lane.filter(
      ({ name }) => only.length === 0 || only.some((text) => name.toLowerCase().includes(text)),
    );
  if (chosen(steps).length === 0) {
    throw new Error('No step has such a name; --list names them');
  }

  passSignalsOn();
  const began = Date.now();
  const place = { cwd: REPOSITORY, environment };
  let result = await runLanes(place, chosen(rust), [...setUp, ...chosen(others)]);
  const [one, other] = [chosen(deployed), chosen(deployedApart)];
  if (result.status === 0 && one.length + other.length > 0) {
    const end = await runLanes(place, one, [setUpFunction, ...other]);
    result = { status: end.status, durations: [...result.durations, ...end.durations] };
  }
  process.exitCode = result.status;

  const durations = [...result.durations, /** @type {const} */ (['all', Date.now() - began])];
  const width = Math.max(...durations.map(([name]) => name.length));
  console.log('');
  for (const [name, time] of durations) {
    console.log(`${name.padEnd(width)}  ${duration(time).padStart(12)}`);
  }
  const passed = steps.filter(({ name }) => result.durations.some(([done]) => done === name));
  console.log(`\n${passed.length} passed, ${result.status === 0 ? 0 : 1} failed`);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  console.error(message(error));
  process.exitCode = 2;
} finally {
  rmSync(SCRATCH, { recursive: true, force: true, maxRetries: 10 });
}
