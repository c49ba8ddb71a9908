// @ts-check
/** Compares tables of capacity units, as `cargo run -p eventdb --example capacity` prints them. No I/O. */

/**
 * The embedded database, by which the table in the docs is made, counts less there than AWS does,
 * which looks each event up by itself: the docs say so next to the table.
 */
const MORE_ON_AWS = /^read the (\d+) events of one type/;

/** @typedef {{ write: number, read: number, requests: number }} Units */

/** What the comments around the table of a layout are called. */
const NAMES = { byTime: 'capacity', byRevision: 'capacity by revision' };

/**
 * The table of a layout in docs/costs-and-limits.md.
 *
 * @param {string} page
 * @param {import('./options.mjs').TableLayout} tableLayout
 * @returns {string} empty if there is none
 */
export function tableOf(page, tableLayout) {
  const name = NAMES[tableLayout];
  return new RegExp(`<!-- ${name}:.*?<!-- /${name} -->`, 's').exec(page)?.[0] ?? '';
}

/**
 * @param {string} markdown
 * @returns {Map<string, Units>} by operation
 */
export function readTable(markdown) {
  /** @type {Map<string, Units>} */
  const rows = new Map();
  for (const line of markdown.split('\n')) {
    const [, operation, ...numbers] = line.split('|').map((cell) => cell.trim());
    const [write, read, requests] = numbers.slice(0, 3).map(Number);
    if (
      operation !== undefined &&
      [write, read, requests].every((number) => Number.isFinite(number)) &&
      write !== undefined &&
      read !== undefined &&
      requests !== undefined &&
      numbers[0] !== ''
    ) {
      rows.set(operation, { write, read, requests });
    }
  }
  return rows;
}

/**
 * @param {Map<string, Units>} documented
 * @param {Map<string, Units>} measured
 * @returns {string[]} what differs, a sentence each
 */
export function differences(documented, measured) {
  if (documented.size === 0) {
    return ['there is no table of capacity units in the docs'];
  }
  const found = [...measured.keys()]
    .filter((operation) => !documented.has(operation))
    .map((operation) => `${operation}: measured, but not in the docs`);
  for (const [operation, wanted] of documented) {
    const units = measured.get(operation);
    if (units === undefined) {
      found.push(`${operation}: in the docs, but not measured`);
    } else if (!isExpected(operation, wanted, units)) {
      found.push(`${operation}: ${inWords(wanted)} in the docs, ${inWords(units)} measured`);
    }
  }
  return found;
}

/** @param {string} operation @param {Units} wanted @param {Units} units */
function isExpected(operation, wanted, units) {
  const [, events] = MORE_ON_AWS.exec(operation) ?? [];
  const mostRead = events === undefined ? wanted.read : wanted.read + Number(events);
  return (
    units.write === wanted.write &&
    units.requests === wanted.requests &&
    units.read >= wanted.read &&
    units.read <= mostRead
  );
}

/** @param {Units} units */
function inWords({ write, read, requests }) {
  return `${write} written, ${read} read, ${requests} requests`;
}
