// @ts-check
/**
 * Builds the page into `explore/assets`, from where the crate takes it: `npm run build:explore`
 *
 * With `--check`, it only compares. So cargo needs no Node.js, and `npm test` notices a page that wasn't
 * built again.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';

const SOURCES = import.meta.dirname;
const ASSETS = join(SOURCES, '../assets');

const { outputFiles } = await build({
  entryPoints: { page: join(SOURCES, 'main.tsx') },
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  charset: 'utf8',
  legalComments: 'eof',
  outdir: ASSETS,
  write: false,
  logLevel: 'warning',
});
const style = await build({
  entryPoints: { page: join(SOURCES, 'style.css') },
  minify: true,
  target: 'esnext',
  outdir: ASSETS,
  write: false,
  logLevel: 'warning',
});
/** @type {[string, string][]} */
const built = [
  ...[...outputFiles, ...style.outputFiles].map(
    ({ path, text }) => /** @type {[string, string]} */ ([path, text]),
  ),
  ...['index.html', 'icon.svg'].map(
    (name) =>
      /** @type {[string, string]} */ ([
        join(ASSETS, name),
        readFileSync(join(SOURCES, name), 'utf8'),
      ]),
  ),
];
const isCheck = process.argv.includes('--check');
const stale = built.filter(([path, text]) => read(path) !== text);
if (!isCheck) {
  for (const [path, text] of stale) {
    writeFileSync(path, text);
  }
} else if (stale.length > 0) {
  console.error(
    `${stale.map(([path]) => path).join(', ')}: not what the sources build; run \`npm run build:explore\``,
  );
  process.exitCode = 1;
}

/** @param {string} path */
function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
