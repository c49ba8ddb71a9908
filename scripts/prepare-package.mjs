// @ts-check
/**
 * Makes what `npm pack` packs of infra/: the compiled constructs with their types, the schema file
 * (emitted by the compiler from eventdb/schema.json itself) and the licence.
 */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const repository = dirname(dirname(fileURLToPath(import.meta.url)));
const infra = join(repository, 'infra');

// What an earlier version had must not be packed with this one.
rmSync(join(infra, 'dist'), { recursive: true, force: true });
const { status } = spawnSync(
  process.execPath,
  [
    join(repository, 'node_modules', 'typescript', 'bin', 'tsc'),
    '--project',
    'tsconfig.build.json',
  ],
  { stdio: 'inherit', cwd: infra },
);
if (status !== 0) {
  process.exit(1);
}
copyFileSync(join(repository, 'LICENSE'), join(infra, 'LICENSE'));

const missing = ['arm64', 'x86_64'].filter(
  (architecture) => !existsSync(join(infra, 'function', architecture, 'bootstrap.zip')),
);
if (missing.length > 0) {
  const what = `The package carries no built publisher for ${missing.join(' and ')} (npm run build:function -- ${missing.join(' ')})`;
  if (process.argv.includes('--for-publishing')) {
    console.error(`${what}, so it can't be published.`);
    process.exit(1);
  }
  console.error(`${what}: its users must hand in \`code\` there.`);
}
