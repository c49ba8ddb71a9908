// @ts-check
/**
 * Builds the publisher for the npm package, into `infra/function/<architecture>/bootstrap`, and packs
 * it into `bootstrap.zip` next to it:
 * `node scripts/build-function.mjs arm64 x86_64`
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { zipBundle } from './bundle-zip.mjs';
import { REPOSITORY, setUp, withTools } from './python-environment.mjs';

/** What cargo-lambda calls the machines. @type {Record<string, string>} */
const FLAGS = { arm64: '--arm64', x86_64: '--x86-64' };

const architectures = process.argv.slice(2);
const unknown = architectures.find((architecture) => FLAGS[architecture] === undefined);
if (architectures.length === 0 || unknown !== undefined) {
  console.error(
    `${unknown === undefined ? 'Give the architectures' : `'${unknown}' is no architecture`}: ${Object.keys(FLAGS).join(', ')}`,
  );
  process.exit(2);
}

const { python } = setUp();
for (const architecture of architectures) {
  const { status } = spawnSync(
    'cargo',
    [
      'lambda',
      'build',
      '--release',
      FLAGS[architecture] ?? '',
      '--locked',
      '--package',
      'eventdb-publisher',
      '--skip-target-check',
      '--flatten',
      'eventdb-publisher',
      '--lambda-dir',
      join(REPOSITORY, 'infra', 'function', architecture),
    ],
    { stdio: 'inherit', cwd: REPOSITORY, env: withTools() },
  );
  if (status !== 0) {
    console.error(
      `The publisher could not be built for ${architecture}; is its Rust target installed (rustup target list --installed)?`,
    );
    process.exit(1);
  }
  zipBundle(python, join(REPOSITORY, 'infra', 'function', architecture));
}
