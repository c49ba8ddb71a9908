// @ts-check
/**
 * cargo-deny, which checks what the project depends on, in `.tools` at the top of the repository.
 *
 * `node scripts/cargo-deny.mjs` sets it up: minutes when cold, for it is built from source.
 */
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const REPOSITORY = dirname(dirname(fileURLToPath(import.meta.url)));
const VERSION = '0.20.2';

/** Where it is, once `setUpCargoDeny` has run. */
export const CARGO_DENY = join(
  REPOSITORY,
  '.tools',
  'bin',
  process.platform === 'win32' ? 'cargo-deny.exe' : 'cargo-deny',
);

/** Builds it, unless this version is there. */
export function setUpCargoDeny() {
  const { stdout } = spawnSync(CARGO_DENY, ['--version'], { encoding: 'utf8' });
  if (stdout?.trim() === `cargo-deny ${VERSION}`) {
    return;
  }
  console.error(`Building cargo-deny ${VERSION} into .tools ...`);
  const { status, error } = spawnSync(
    'cargo',
    `install cargo-deny --version ${VERSION} --locked --force --quiet --root .tools`.split(' '),
    { cwd: REPOSITORY, stdio: ['ignore', 2, 2] },
  );
  if (error !== undefined || status !== 0) {
    throw new Error(`cargo-deny can't be built (${error?.message ?? `status ${status}`})`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  setUpCargoDeny();
}
