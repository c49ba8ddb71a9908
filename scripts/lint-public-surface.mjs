// @ts-check
/**
 * Compares the names that `eventdb/src/lib.rs` exports with the table in `docs/public-surface.md`:
 * `npm run lint:public-surface`
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

const SOURCE = 'eventdb/src/lib.rs';
const TABLE = 'docs/public-surface.md';

const exported = exportedNames(readFileSync(join(REPOSITORY, SOURCE), 'utf8'));
const listed = [
  ...readFileSync(join(REPOSITORY, TABLE), 'utf8').matchAll(/^\| `(\w+)` \|[^|]*\| *(\S?)/gm),
];
const names = listed.map(([, name]) => name ?? '');
const problems = [
  ...exported
    .filter((name) => !names.includes(name))
    .map((name) => `${SOURCE} exports ${name}, but ${TABLE} doesn't say why`),
  ...names
    .filter((name) => !exported.includes(name))
    .map((name) => `${TABLE} lists ${name}, but ${SOURCE} doesn't export it`),
  ...names
    .filter((name, index) => names.indexOf(name) !== index)
    .map((name) => `${TABLE} lists ${name} twice`),
  ...listed
    .filter(([, , reason]) => reason === '')
    .map(([, name]) => `${TABLE} gives no reason for ${name}`),
];
if (exported.length === 0) {
  problems.push(`${SOURCE}: found no exports`);
}
if (problems.length > 0) {
  console.error(problems.join('\n'));
  process.exitCode = 1;
}

/**
 * The names of all items that are public at the root, without hidden ones.
 *
 * @param {string} source
 */
function exportedNames(source) {
  const code = source.replace(/\/\/.*$/gm, '');
  const item =
    /^((?:#\[[^\n]*\]\s*)*)pub (?:use ([^;]+);|(?:mod|fn|struct|enum|trait|type|const|static) (\w+))/gm;
  return [...code.matchAll(item)]
    .filter(([, attributes]) => !attributes?.includes('doc(hidden)'))
    .flatMap(([, , path, name]) => (path === undefined ? [name ?? ''] : usedNames(path)));
}

/**
 * The names that a path after `use` brings in: `a::{self, b::C, d as e}` has `a`, `C` and `e`.
 *
 * @param {string} path
 * @returns {string[]}
 */
function usedNames(path) {
  const text = path.trim();
  const brace = text.indexOf('{');
  if (brace === -1) {
    return [text.split(/\s+as\s+|::/).at(-1) ?? ''];
  }
  const parent = text.slice(0, brace).split('::').filter(Boolean).at(-1)?.trim() ?? '';
  return members(text.slice(brace + 1, text.lastIndexOf('}')))
    .flatMap(usedNames)
    .map((name) => (name === 'self' ? parent : name));
}

/**
 * Splits at the commas outside of braces.
 *
 * @param {string} list
 */
function members(list) {
  const parts = [''];
  let depth = 0;
  for (const character of list) {
    depth += character === '{' ? 1 : character === '}' ? -1 : 0;
    if (character === ',' && depth === 0) {
      parts.push('');
    } else {
      parts[parts.length - 1] += character;
    }
  }
  return parts.filter((part) => part.trim() !== '');
}
