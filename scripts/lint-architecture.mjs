// @ts-check
/**
 * ARCHITECTURE.md is true: which part may import what, which file knows which client, and the
 * folders there are. The rules are read from its tables: `npm run lint:architecture`
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

const CRATE = 'eventdb/src/';

const page = readFileSync(join(REPOSITORY, 'ARCHITECTURE.md'), 'utf8');
const layers = table('part of `eventdb/src`', 0, 2);
const clients = table('crate or package', 0, 1);
const files = execFileSync('git', ['ls-files', '--cached', '--others', '--exclude-standard'], {
  cwd: REPOSITORY,
  encoding: 'utf8',
})
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(REPOSITORY, file)));
/** @type {string[]} */
const findings = [];

checkLayers();
checkClients();
checkConstructs();
checkTree();
if (page.split('\n').length > 60) {
  findings.push('ARCHITECTURE.md: has more than 60 lines, so it no longer fits one screen');
}

if (findings.length > 0) {
  console.error(findings.join('\n'));
  console.error(`\n${findings.length} findings. The rules are the tables of ARCHITECTURE.md.`);
  process.exitCode = 1;
}

/**
 * @param {string} title of the first column
 * @param {number} key column
 * @param {number} value column
 * @returns {Map<string, string[]>} what stands in backticks in these columns
 */
function table(title, key, value) {
  const [, , ...rows] =
    page
      .slice(page.indexOf(`| ${title} |`))
      .split(/\n\n/)[0]
      ?.split('\n') ?? [];
  const names = (/** @type {string | undefined} */ cell) =>
    [...(cell ?? '').matchAll(/`([^`]+)`/g)].map(([, name]) => name ?? '');
  const made = new Map(
    rows.map((row) => {
      const cells = row.split('|').slice(1);
      return [names(cells[key])[0] ?? '', names(cells[value])];
    }),
  );
  if (made.size === 0) {
    throw new Error(`ARCHITECTURE.md has no table whose first column is '${title}'`);
  }
  return made;
}

function checkLayers() {
  const exported = exportsOfCrate();
  for (const file of files.filter((name) => name.startsWith(CRATE) && name.endsWith('.rs'))) {
    const layer = layerOf(file);
    if (layer === 'lib') {
      continue;
    }
    const mayUse = layers.get(layer);
    if (mayUse === undefined) {
      findings.push(`${file}: ARCHITECTURE.md has no row for '${layer}'`);
      continue;
    }
    for (const { line, path } of cratePaths(file)) {
      const [first = ''] = path;
      const used = layers.has(first) ? first : exported.get(first);
      if (used === undefined) {
        findings.push(`${file}:${line}: crate::${path.join('::')} is of no part that is known`);
      } else if (used !== layer && !mayUse.includes(used)) {
        findings.push(
          `${file}:${line}: '${layer}' may not use '${used}' (crate::${path.join('::')})`,
        );
      }
    }
  }
}

/** @param {string} file */
function layerOf(file) {
  return (file.slice(CRATE.length).split('/')[0] ?? '').replace(/\.rs$/, '');
}

/** @returns {Map<string, string>} the part of each name that lib.rs exports */
function exportsOfCrate() {
  /** @type {Map<string, string>} */
  const made = new Map();
  const code = withoutComments(readFileSync(join(REPOSITORY, CRATE, 'lib.rs'), 'utf8'));
  for (const [, tree] of code.matchAll(/\bpub use ([^;]+);/g)) {
    for (const path of expand(tree ?? '')) {
      const name = path.at(-1) === 'self' ? path.at(-2) : path.at(-1);
      made.set(name ?? '', path[0] ?? '');
    }
  }
  return made;
}

/**
 * @param {string} file
 * @returns {{ line: number, path: string[] }[]} every path that begins with `crate`
 */
function cratePaths(file) {
  const code = withoutComments(readFileSync(join(REPOSITORY, file), 'utf8'));
  return [...code.matchAll(/\bcrate::/g)].flatMap(({ index }) => {
    const rest = code.slice(index + 'crate::'.length);
    const line = code.slice(0, index).split('\n').length;
    return expand(treeAt(rest)).map((path) => ({ line, path }));
  });
}

/**
 * @param {string} code
 * @returns {string} the path or tree of paths that it begins with
 */
function treeAt(code) {
  let depth = 0;
  for (let index = 0; index < code.length; index += 1) {
    const character = code[index] ?? '';
    depth += character === '{' ? 1 : 0;
    if (depth === 0 && !/[\w:]/.test(character)) {
      return code.slice(0, index);
    }
    depth -= character === '}' ? 1 : 0;
    if (depth === 0 && character === '}') {
      return code.slice(0, index + 1);
    }
  }
  return code;
}

/**
 * @param {string} tree such as `a::{b, c::{d, e}}`
 * @returns {string[][]} such as `[[a, b], [a, c, d], [a, c, e]]`
 */
function expand(tree) {
  const open = tree.indexOf('{');
  if (open === -1) {
    const path = tree.trim().split(/\s+as\s+/)[0] ?? '';
    return path === '' ? [] : [path.split('::').filter((part) => part !== '')];
  }
  const before = tree
    .slice(0, open)
    .trim()
    .split('::')
    .filter((part) => part !== '');
  /** @type {string[]} */
  const branches = [''];
  let depth = 0;
  for (const character of tree.slice(open + 1, tree.lastIndexOf('}'))) {
    depth += character === '{' ? 1 : character === '}' ? -1 : 0;
    if (character === ',' && depth === 0) {
      branches.push('');
    } else {
      branches.push(branches.pop() + character);
    }
  }
  return branches.flatMap((branch) => expand(branch)).map((path) => [...before, ...path]);
}

/**
 * @param {string} code
 * @returns {string} with as many lines
 */
function withoutComments(code) {
  return code
    .replace(/(^|\s)\/\/.*$/gm, '$1')
    .replace(/\/\*.*?\*\//gs, (comment) => comment.replace(/[^\n]/g, ' '));
}

function checkClients() {
  const sources = files.filter((file) =>
    /^(eventdb|lambda)\/src\/.*\.rs$|^infra\/(lib|app)\/.*\.ts$/.test(file),
  );
  for (const [client, places] of clients) {
    for (const place of places.filter((path) => !files.some((file) => file.startsWith(path)))) {
      findings.push(`ARCHITECTURE.md: there is no ${place}`);
    }
    const isRust = !client.startsWith('@');
    const use = isRust ? new RegExp(`\\b${client}\\b`) : new RegExp(`from '${client}/`);
    for (const file of sources.filter((name) => name.endsWith('.rs') === isRust)) {
      if (places.some((place) => file.startsWith(place))) {
        continue;
      }
      withoutComments(readFileSync(join(REPOSITORY, file), 'utf8'))
        .split('\n')
        .forEach((line, index) => {
          if (use.test(line)) {
            findings.push(`${file}:${index + 1}: only ${places.join(' and ')} may know ${client}`);
          }
        });
    }
  }
}

function checkConstructs() {
  for (const file of files.filter((name) => /^infra\/lib\/.*\.ts$/.test(name))) {
    const code = readFileSync(join(REPOSITORY, file), 'utf8');
    for (const [, path = ''] of code.matchAll(/from '(\.[^']*)'/g)) {
      const imported = normalize(join(dirname(file), path));
      const isOfApp = /^infra\/(app|bin|test)\//.test(imported);
      const isOfStore =
        file.startsWith('infra/lib/subscription/') &&
        imported.startsWith('infra/lib/store/') &&
        !/^infra\/lib\/store\/(schema|encryption-key)$/.test(imported);
      if (isOfApp || isOfStore) {
        findings.push(`${file}: may not import ${imported}`);
      }
    }
  }
}

/** Every folder at the top is in the tree, and what is in the tree is there. */
function checkTree() {
  const tree = /## The tree\n+```text\n(.*?)```/s.exec(page)?.[1] ?? '';
  /** @type {Set<string>} */
  const named = new Set();
  let above = '';
  for (const line of tree.split('\n')) {
    const [, indent = '', folders = ''] = /^( *)(\S+\/(?: +\S+\/)*)(?= |$)/.exec(line) ?? [];
    const [first = '', ...others] = folders.split(/ +/);
    if (indent === '') {
      above = first;
      named.add(first);
    } else {
      for (const folder of [first, ...others]) {
        named.add(`${above}${folder}`);
      }
    }
  }
  named.delete('');
  for (const folder of named) {
    if (!files.some((file) => file.startsWith(folder))) {
      findings.push(`ARCHITECTURE.md: there is no folder ${folder}`);
    }
  }
  const top = new Set(
    files.filter((file) => /^[^.].*\//.test(file)).map((file) => file.split('/')[0]),
  );
  for (const folder of top) {
    if (![...named].some((name) => name.startsWith(`${folder}/`))) {
      findings.push(`ARCHITECTURE.md: its tree lacks the folder ${folder}/`);
    }
  }
}
