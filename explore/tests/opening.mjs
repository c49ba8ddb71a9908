// @ts-check
/**
 * What opening the page takes, on a million events in each layout: `npm run bench:exploring`
 *
 * It prints a table, and fails if opening takes more than it may. Writing a million events takes some 10
 * minutes on two idle cores; `npm run bench:exploring -- 20000` takes fewer.
 */
import { execFile, execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { REPOSITORY } from '../../scripts/python-environment.mjs';
import { startBrowser } from './browser.mjs';
import { DEMO_STORE, serve } from './served.mjs';

/** What the page may send to its server, and read of the store. */
export const MOST_PAGE_REQUESTS = 3;
export const MOST_ROWS = 200;
/**
 * The index of all events of a table by revision has 16 partitions, and any of them may have the latest
 * events.
 */
export const STORE_REQUESTS = { 'by time': 1, 'by revision': 16 };

/** @typedef {keyof typeof STORE_REQUESTS} Layout */
/** @typedef {{ pageRequests: string[], requests: number, rows: number, readUnits: number }} Opening */

/** What `demo_store` is told for each kind of store. */
export const STORES = /** @type {[Layout, boolean, string[]][]} */ ([
  ['by time', true, []],
  ['by time', false, ['--without-feed']],
  ['by revision', true, ['--by-revision']],
  ['by revision', false, ['--by-revision', '--without-feed']],
]);

/**
 * What was needed until the latest events were shown.
 *
 * @param {import('playwright-core').Page} page
 * @returns {Promise<Opening>}
 */
export async function openingOf(page) {
  await page.locator('.list li a').first().waitFor();
  const pageRequests = await page.evaluate(() =>
    performance
      .getEntriesByType('resource')
      .map(({ name }) => new URL(name).pathname)
      .filter((path) => path.startsWith('/api/')),
  );
  const text = await page.locator('#consumed').innerText();
  const found = /([\d.,]+) read units in (\d+) requests?, for (\d+) rows/.exec(text);
  if (found === null) {
    throw new Error(`the page doesn't say what it has consumed: ${text}`);
  }
  const [readUnits = 0, requests = 0, rows = 0] = found
    .slice(1)
    .map((number) => Number(number.replaceAll(',', '')));
  return { pageRequests, readUnits, requests, rows };
}

/** @param {number} events */
async function measure(events) {
  const directory = mkdtempSync(join(tmpdir(), 'eventdb-opening-'));
  const chromium = await startBrowser();
  const stores = STORES.filter(([, hasFeed]) => hasFeed).map(([layout, , options]) => {
    const file = join(directory, `${layout}.db`);
    const words = [file, ...options, '--many', String(events)];
    return { layout, file, written: promisify(execFile)(DEMO_STORE, words) };
  });
  try {
    await Promise.all(stores.map(({ written }) => written));
    console.log(
      '| table | events | requests of the page | requests to DynamoDB | rows | read units | shown after |',
    );
    console.log('|---|---:|---:|---:|---:|---:|---:|');
    for (const { layout, file } of stores) {
      const served = await serve(file);
      const page = await chromium.browser.newPage();
      const started = performance.now();
      await page.goto(served.address);
      const opening = await openingOf(page);
      const milliseconds = Math.round(performance.now() - started);
      await page.close();
      await served.close();
      const { pageRequests, requests, rows, readUnits } = opening;
      console.log(
        `| ${layout} | ${events.toLocaleString('en')} | ${pageRequests.length} | ${requests} | ${rows} | ${readUnits} | ${milliseconds} ms |`,
      );
      if (
        pageRequests.length > MOST_PAGE_REQUESTS ||
        rows > MOST_ROWS ||
        requests !== STORE_REQUESTS[layout]
      ) {
        throw new Error(`opening takes more than it may: ${JSON.stringify(opening)}`);
      }
    }
  } finally {
    await chromium.close();
    rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
  }
}

if (process.argv[1] === import.meta.filename) {
  const programs = '--bins --example demo_store';
  const build = `build --quiet --workspace --all-features --locked ${programs}`;
  execFileSync('cargo', build.split(' '), { cwd: REPOSITORY, stdio: 'inherit' });
  await measure(Number(process.argv[2] ?? 1_000_000));
}
