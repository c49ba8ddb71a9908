// @ts-check
/**
 * Finds phrases that aren't plain English, everywhere that a person reads, and says what to write
 * instead: `npm run lint:language`
 *
 * `language.json` has the phrases; `allowed`, where one is meant as it stands, with the reason; and
 * `notYet`, files that still have to be gone through.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { REPOSITORY } from './python-environment.mjs';

/**
 * @typedef {object} Language
 * @property {{ pattern: string, say: string }[]} phrases
 * @property {{ file: string, pattern: string, why: string }[]} allowed
 * @property {string[]} notYet
 */

/** @type {Language} */
const { phrases, allowed, notYet } = JSON.parse(
  readFileSync(join(import.meta.dirname, 'language.json'), 'utf8'),
);
const KINDS = [
  '*.rs',
  '*.md',
  '*.ts',
  '*.tsx',
  '*.mts',
  '*.mjs',
  '*.py',
  '*.toml',
  '*.yml',
  '*.txt',
];

const files = execFileSync(
  'git',
  ['ls-files', '--cached', '--others', '--exclude-standard', '--', ...KINDS],
  { cwd: REPOSITORY, encoding: 'utf8' },
)
  .split('\n')
  .filter((file) => file !== '' && existsSync(join(REPOSITORY, file)));
/** @type {string[]} */
const findings = [];
const used = new Set();

for (const file of files.filter((name) => !notYet.includes(name))) {
  const { text, lineAt } = flowing(readFileSync(join(REPOSITORY, file), 'utf8'));
  for (const { pattern, say } of phrases) {
    for (const { 0: found, index } of text.matchAll(new RegExp(pattern, 'gi'))) {
      const exception = allowed.find(
        (entry) => entry.file === file && new RegExp(entry.pattern).test(around(text, index)),
      );
      if (exception === undefined) {
        findings.push(`${file}:${lineAt(index)}: '${found}': say '${say}'`);
      }
      used.add(exception);
    }
  }
}
for (const file of notYet.filter((name) => !files.includes(name))) {
  findings.push(`scripts/language.json: notYet names ${file}, which isn't there`);
}
for (const entry of allowed.filter((each) => !used.has(each))) {
  findings.push(`scripts/language.json: nothing needs the exception ${JSON.stringify(entry)}`);
}

if (findings.length > 0) {
  console.error(findings.join('\n'));
  console.error(`\n${findings.length} phrases to write in plain English`);
  process.exitCode = 1;
} else if (notYet.length > 0) {
  console.log(`${notYet.length} files still have to be gone through (notYet in language.json)`);
}

/**
 * A sentence may go on in the next line, behind the sign of a comment.
 *
 * @param {string} content
 */
function flowing(content) {
  /** Where in the text each line begins. @type {number[]} */
  const starts = [];
  let text = '';
  for (const line of content.split('\n')) {
    starts.push(text.length);
    text += `${line.replace(/^\s*(\/\/[/!]?|\*|#+)?\s*/, '').trimEnd()} `;
  }
  const lineAt = (/** @type {number} */ index) => starts.filter((start) => start <= index).length;
  return { text, lineAt };
}

/**
 * @param {string} text
 * @param {number} index
 */
function around(text, index) {
  return text.slice(Math.max(0, index - 60), index + 60);
}
