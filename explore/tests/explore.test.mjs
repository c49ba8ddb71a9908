// @ts-check
/** The page in a real browser, on stores in files. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { AxeBuilder } from '@axe-core/playwright';
import { startBrowser } from './browser.mjs';
import { MOST_ROWS, openingOf, STORE_REQUESTS, STORES } from './opening.mjs';
import { serve, serveLibrary, tool, writeStore } from './served.mjs';

/**
 * @typedef {import('playwright-core').Page} Page
 * @typedef {import('playwright-core').BrowserContext} BrowserContext
 * @typedef {import('./served.mjs').Served} Served
 */

/** Where the pictures of the guide are, if they are to be renewed. */
const PICTURES = process.env['EVENTDB_PICTURES'];
const DIRECTORY = mkdtempSync(join(tmpdir(), 'eventdb-explore-'));

/** @type {Awaited<ReturnType<typeof startBrowser>>} */
let chromium;
/** @type {Served[]} */
const all = [];

/** Stores that several tests read. @type {Record<string, string>} */
const stores = {};

before(async () => {
  chromium = await startBrowser();
  for (const [layout, options] of perLayout('--damaged')) {
    stores[layout] = store(layout, ...options);
  }
});

after(async () => {
  await Promise.all(all.map((served) => served.close()));
  await chromium?.close();
  rmSync(DIRECTORY, { recursive: true, force: true, maxRetries: 10 });
});

/**
 * A served store, and a browser that has opened it.
 *
 * @param {Promise<Served>} serving
 * @param {import('playwright-core').BrowserContextOptions} options
 */
async function opened(serving, options = {}) {
  const served = await serving;
  all.push(served);
  const context = await chromium.browser.newContext({
    viewport: { width: 1100, height: 760 },
    timezoneId: 'UTC',
    ...options,
  });
  context.setDefaultTimeout(30_000);
  const page = await context.newPage();
  /** @type {string[]} */
  const problems = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') {
      problems.push(message.text());
    }
  });
  page.on('request', (sent) => {
    if (!sent.url().startsWith(served.origin)) {
      problems.push(`a request to ${sent.url()}`);
    }
  });
  await page.goto(served.address);
  await page.getByRole('heading', { level: 1 }).waitFor();
  return { served, context, page, problems };
}

/**
 * @param {string} name
 * @param {string[]} options
 */
function store(name, ...options) {
  const file = join(DIRECTORY, `${name}.db`);
  writeStore(file, ...options);
  return file;
}

/** @param {Page} page */
function links(page) {
  return page.locator('.list li a');
}

/**
 * @param {Page} page
 * @param {string} hash
 */
async function go(page, hash) {
  await page.evaluate((to) => {
    location.hash = to;
  }, hash);
}

/**
 * @param {Page} page
 * @param {string} name
 */
async function picture(page, name) {
  if (PICTURES !== undefined) {
    mkdirSync(PICTURES, { recursive: true });
    await page.screenshot({ path: join(PICTURES, `${name}.png`) });
  }
}

/** @param {string[]} options */
function perLayout(...options) {
  return /** @type {const} */ ([
    ['by time', options],
    ['by revision', ['--by-revision', ...options]],
  ]);
}

describe('each view on an embedded store', () => {
  for (const [layout] of perLayout()) {
    test(`of a table ${layout}`, async () => {
      const { page, problems, context } = await opened(serve(stores[layout] ?? ''));
      // The token isn't in the address, nor one step back.
      assert.match(page.url(), /\/#\/events$/);
      await links(page).first().waitFor();
      assert.ok((await links(page).first().innerText()).includes('book.borrowed'));
      assert.ok((await links(page).count()) < 40, 'only what is seen is in the document');
      await picture(page, `events-${layout.replace(' ', '-')}`);

      await page.getByRole('link', { name: 'Rate', exact: true }).click();
      await page.getByRole('img', { name: /events from/ }).waitFor();
      assert.ok((await page.locator('svg.plot rect').count()) > 10);
      await page.getByRole('link', { name: 'Last week' }).click();
      await page.getByText('360 events', { exact: true }).waitFor();
      await picture(page, `rate-${layout.replace(' ', '-')}`);

      await go(page, '#/subject/book%3Adune');
      await page.getByText('Revision 4 is missing').waitFor();
      await page.getByText('isn’t an event').waitFor();
      await page.getByText('snapshot book').waitFor();
      await page
        .getByText(/\d (min|h|s|ms) later/)
        .first()
        .waitFor();
      await picture(page, `subject-${layout.replace(' ', '-')}`);

      await links(page).first().click();
      await page.getByRole('heading', { name: 'Event', exact: true }).waitFor();
      await page.getByText('The data are hidden.').waitFor();

      await go(page, '#/event/evt-40');
      await page.getByRole('button', { name: 'Find it in the feed' }).click();
      await page.getByText(/^Partition \d of 4, offset \d+: adopted/).waitFor();
      await page.getByRole('button', { name: 'Show data in this tab' }).click();
      await page.getByRole('region', { name: 'Data' }).waitFor();
      await page.getByText('Message as published').click();
      await page.getByRole('region', { name: 'Body' }).waitFor();
      await page.getByText('Row in the table').click();
      assert.match(await page.getByRole('region', { name: 'Row' }).innerText(), /"S": "evt-40"/);
      await picture(page, `event-${layout.replace(' ', '-')}`);

      await page.getByRole('link', { name: 'What caused what' }).click();
      const mailed = links(page).filter({ hasText: 'mail.sent' });
      assert.match(String(await mailed.textContent()), /^Level 3: /);
      assert.equal(await links(page).count(), 3);
      assert.match(await links(page).first().innerText(), /book\.(borrowed|returned)/);
      await picture(page, `caused-${layout.replace(' ', '-')}`);

      await page.getByRole('link', { name: 'Subjects', exact: true }).click();
      await page.getByLabel('Begin with').fill('book:');
      await page.getByRole('button', { name: 'List' }).click();
      await page.getByText('12 subjects').waitFor();
      // Which views a file has is said.
      await page.getByRole('link', { name: 'Failures' }).click();
      await page.getByText('A store in a file or in memory has no').waitFor();
      await page.getByRole('link', { name: 'Read models' }).click();
      await page.getByText('--positions').waitFor();
      assert.deepEqual(problems, []);
      await context.close();
    });
  }
});

test('the read models, and what they lack', async () => {
  const file = store('read-models');
  const { page, problems, context } = await opened(serve(file, '--positions', 'LibraryReadModels'));
  await page.getByRole('link', { name: 'Read models' }).click();
  const row = page.getByRole('row').filter({ hasText: 'loans' });
  await row.getByText('30 events').waitFor();
  await row.getByText(' ago, ').waitFor();
  await picture(page, 'read-models');
  assert.deepEqual(problems, []);
  await context.close();
});

test('the state after each event, in the page of a team’s own program', async () => {
  const { page, problems, context } = await opened(serveLibrary());
  await page.getByLabel('Show data').check();
  await page
    .getByRole('link', { name: /book\.borrowed/ })
    .first()
    .waitFor();
  const listed = await links(page).first().innerText();
  const run = /book:(\d+)-/.exec(listed)?.[1];
  await go(page, `#/subject/book%3A${run}-dune`);
  await page.getByRole('link', { name: 'State of Book' }).click();
  await page.getByText('state.borrower').waitFor();
  assert.match(await page.locator('.changes').innerText(), /user:\d+-ada/);
  await go(page, (await page.evaluate(() => location.hash)).replace('-dune', '-worn'));
  await page.getByText(/After event \d+ of 980/).waitFor();
  await page.getByRole('button', { name: 'Before' }).click();
  await page.getByText(/After event \d+ of 980/).waitFor();
  await picture(page, 'state');
  assert.deepEqual(problems, []);
  await context.close();
});

test('new events appear by themselves', async () => {
  const file = store('live', '--by-revision');
  const { page, problems, context } = await opened(serve(file));
  await links(page).first().waitFor();
  const source = 'https://library.example.com';
  tool(file, 'append', 'book:new', 'book.bought', '--source', source, '--yes');
  await page.getByRole('link', { name: /book\.bought/ }).waitFor();
  assert.match(await links(page).first().innerText(), /book\.bought/);
  await page.getByText('1 new event', { exact: true }).waitFor({ state: 'attached' });
  await page.getByRole('button', { name: 'Live' }).click();
  await page.getByRole('button', { name: 'Paused' }).waitFor();
  assert.deepEqual(problems, []);
  await context.close();
});

test('causes and effects are read on, and what isn’t there is said', async () => {
  const file = store('caused', '--by-revision');
  const source = 'https://library.example.com';
  const append = ['append', 'bill:1', 'bill.sent', '--source', source, '--yes'];
  const extensions = ['causationid=command-7', 'correlationid=loan-40'];
  tool(file, ...append, '--id', 'bill', ...extensions.flatMap((one) => ['--extension', one]));
  const { page, problems, context } = await opened(serve(file));
  await go(page, '#/caused/evt-40-noted?limit=1');
  await page.getByText('Only the events until').waitFor();
  assert.equal(await links(page).count(), 2, 'the event and its cause');
  await page.getByRole('link', { name: 'Read up to 10 events' }).click();
  await page.getByText('mail.sent').waitFor();
  assert.match(await page.locator('.list [aria-current]').innerText(), /user\.gave-book-back/);
  await go(page, '#/caused/evt-40?within=10080&limit=20000');
  await page.getByText('bill.sent').waitFor();
  await page.getByText('not an event of this store').waitFor();
  assert.equal(await page.getByRole('link', { name: /Read up to/ }).count(), 0);
  assert.deepEqual(problems, []);
  await context.close();
});

test('hostile text is only text, in every view', async () => {
  for (const [layout, options] of perLayout('--hostile')) {
    const file = store(`hostile-${layout}`, ...options);
    const { page, problems, context } = await opened(serve(file));
    await page.getByLabel('Show data').check();
    const hostile = page.getByText('<img src=x onerror=').first();
    await hostile.waitFor();
    await links(page).first().click();
    await page.getByRole('region', { name: 'Data' }).waitFor();
    await page.getByText('Message as published').click();
    await page.getByText('Row in the table').click();
    const event = page.url();
    await page.getByRole('link', { name: 'What caused what' }).click();
    await links(page).first().waitFor();
    await page.goto(event);
    await page.locator('dd a').first().click();
    await hostile.waitFor();
    for (const hash of ['#/rate', '#/subjects?prefix=%3C', '#/subject/%3Cscript%3E', '#/%3Cb%3E']) {
      await go(page, hash);
      await page.getByRole('heading', { level: 1 }).waitFor();
    }
    await go(page, '#/rate');
    await page.locator('table bdi', { hasText: '<img src=x onerror=' }).waitFor();
    assert.doesNotMatch(await page.title(), /owned/);
    assert.equal(await page.locator('img:not([src="/icon.svg"])').count(), 0);
    assert.equal(await page.locator('script').count(), 1);
    assert.deepEqual(problems, []);
    await context.close();
  }
});

test('data are hidden until asked for, in each tab', async () => {
  const file = stores['by time'] ?? '';
  const { page, context, served } = await opened(serve(file));
  await go(page, '#/event/evt-40');
  await page.getByText('The data are hidden.').waitFor();
  const hidden = await page.evaluate(async () => (await fetch('/api/event?id=evt-40')).text());
  assert.doesNotMatch(hidden, /userId/, 'they aren’t even sent');
  await page.getByRole('button', { name: 'Show data in this tab' }).click();
  await page.getByText('userId').first().waitFor();
  await page.reload();
  await page.getByText('userId').first().waitFor();
  // Another tab of the same browser has access, but hides them.
  const other = await context.newPage();
  await other.goto(`${served.origin}/#/event/evt-40`);
  await other.getByText('The data are hidden.').waitFor();
  await context.close();
});

test('an address leads to the same view, also after a reload and in another tab', async () => {
  const file = stores['by revision'] ?? '';
  const { page, context } = await opened(serve(file));
  await page.getByLabel('Type').fill('mail.sent');
  await page.getByLabel('Subject begins with').fill('mail:a');
  await page.getByRole('button', { name: 'Choose' }).click();
  await page.waitForURL(/type=mail\.sent&prefix=mail%3Aa/);
  await page.waitForFunction(() => {
    const texts = [...document.querySelectorAll('.list li a')].map((link) => link.textContent);
    const isChosen = (/** @type {string | null} */ text) =>
      text?.includes('mail.sent') && text.includes('mail:ada');
    return texts.length > 0 && texts.every(isChosen);
  });
  await page.reload();
  await links(page).first().waitFor();
  assert.equal(await page.getByLabel('Type').inputValue(), 'mail.sent');
  const other = await context.newPage();
  await other.goto(page.url());
  await links(other).first().waitFor();
  assert.match(await links(other).first().innerText(), /mail:ada/);
  await page.goBack();
  await page
    .getByRole('link', { name: /book\.borrowed/ })
    .first()
    .waitFor();
  await context.close();
});

test('everything can be reached by keyboard', async () => {
  const file = stores['by time'] ?? '';
  const { page, context } = await opened(serve(file));
  await links(page).first().waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement?.id === 'main');
  await links(page).first().focus();
  /** The focus follows the next drawing of the list. */
  const isAt = (/** @type {string} */ selector) =>
    page.waitForFunction(
      (wanted) => document.activeElement?.closest('li')?.matches(wanted),
      selector,
    );
  await page.keyboard.press('ArrowDown');
  await isAt('[aria-posinset="2"]');
  await page.keyboard.press('End');
  const last = await links(page)
    .last()
    .evaluate((link) => link.closest('li')?.ariaSetSize);
  assert.ok(Number(last) > 100);
  await isAt(`[aria-posinset="${last}"]`);
  await page.keyboard.press('Home');
  await isAt('[aria-posinset="1"]');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Event', exact: true }).waitFor();
  await page.waitForFunction(() => document.activeElement?.id === 'main');
  await context.close();
});

test('axe finds nothing, in every view, in both themes, also at 360 pixels', async () => {
  const file = store('axe', '--damaged', '--hostile', '--by-revision');
  const { page, context, problems } = await opened(serve(file, '--positions', 'LibraryReadModels'));
  await page.getByLabel('Show data').check();
  const views = {
    '#/events': '.list a',
    '#/rate': 'svg rect',
    '#/subjects': '.list a',
    '#/search': 'form',
    '#/subject/book%3Adune': '.list a',
    '#/event/evt-40': '.json',
    '#/caused/evt-40': '.list a',
    '#/caused/evt-40-mailed?limit=1': '.below .button',
    '#/state/book%3Adune': '.note',
    '#/lag': 'tbody th',
    '#/failures': '.note',
    '#/event/none': '.failure',
  };
  for (const colorScheme of /** @type {const} */ (['light', 'dark'])) {
    await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
    for (const width of [1100, 360]) {
      await page.setViewportSize({ width, height: 760 });
      for (const [hash, part] of Object.entries(views)) {
        await go(page, hash);
        await page.locator(part).first().waitFor();
        const { violations } = await new AxeBuilder({ page }).analyze();
        const found = violations.map(
          ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`,
        );
        assert.deepEqual(found, [], `${hash} ${colorScheme} ${width}`);
        const overflow = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        assert.equal(overflow, 0, `${hash} is too wide at ${width}`);
        if (hash === '#/events') {
          await picture(page, `events-${colorScheme}-${width}`);
        }
      }
    }
  }
  assert.deepEqual(
    problems.filter((problem) => !problem.includes('404')),
    [],
  );
  await context.close();
});

test('opening takes few requests and rows, whatever the size of the store', async () => {
  for (const [layout, hasFeed, options] of STORES) {
    const file = store(`many-${layout}-${hasFeed}`, ...options, '--many', '600');
    const { page, context, problems } = await opened(serve(file));
    const opening = await openingOf(page);
    const said = JSON.stringify([layout, hasFeed, opening]);
    assert.deepEqual(opening.pageRequests, ['/api/session', '/api/store', '/api/events'], said);
    assert.equal(opening.requests, STORE_REQUESTS[layout], said);
    assert.ok(opening.rows > 100 && opening.rows <= MOST_ROWS, said);
    // Half a unit for each partition of the index by revision; by time, it has the data, too.
    assert.ok(opening.readUnits > 0 && opening.readUnits <= 8, said);
    const { times, keys, most } = await page.evaluate(everything);
    assert.equal(times.length, 961, 'going on leads to all events');
    assert.equal(new Set(keys).size, 961, 'each once');
    assert.deepEqual(times, times.toSorted().reverse(), 'the latest first');
    assert.ok(most <= 192, `a step reads ${most} rows`);
    // What comes by itself mustn't look like what was read on.
    await page.getByRole('button', { name: 'Live' }).click();
    const shown = page.locator('.below .quiet');
    const before = Number.parseInt(await shown.innerText(), 10);
    assert.ok(before >= 12, 'the latest of all partitions are shown');
    await page.getByRole('button', { name: 'Read older events' }).click();
    await page.waitForFunction(
      (count) =>
        Number.parseInt(document.querySelector('.below .quiet')?.textContent ?? '', 10) > count,
      before,
    );
    assert.deepEqual(problems, []);
    await context.close();
  }
});

/** Goes on from the latest events to the first one. It runs in the page. */
async function everything() {
  const times = [];
  const keys = [];
  let most = 0;
  let after = '';
  do {
    const query = after === '' ? '' : `?after=${encodeURIComponent(after)}`;
    const answer = await (await fetch(`/api/events${query}`)).json();
    for (const { time, subject, key } of answer.events) {
      times.push(time);
      keys.push(`${subject} ${key}`);
    }
    most = Math.max(most, answer.consumed.rows);
    after = answer.next ?? '';
  } while (after !== '');
  return { times, keys, most };
}

describe('who may ask', () => {
  /** @type {Served} */
  let served;
  before(async () => {
    served = await serve(stores['by time'] ?? '');
    all.push(served);
  });

  /**
   * @param {string} path
   * @param {Record<string, string>} headers
   * @param {string} [body]
   * @returns {Promise<{ status: number, headers: import('node:http').IncomingHttpHeaders }>}
   */
  const ask = (path, headers, body) =>
    new Promise((resolve, reject) => {
      const { port } = new URL(served.origin);
      const method = body === undefined ? 'GET' : 'POST';
      const sent = request({ host: '127.0.0.1', port, path, method, headers }, (answer) => {
        answer.resume();
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers });
      });
      sent.on('error', reject);
      sent.end(body);
    });

  test('only those who name 127.0.0.1, come from the page and have its cookie', async () => {
    const host = new URL(served.origin).host;
    assert.equal((await ask('/', { host: 'evil.example' })).status, 403, 'DNS rebinding');
    assert.equal((await ask('/', { host: `evil.example:${host.split(':')[1]}` })).status, 403);
    assert.equal((await ask('/', { host })).status, 200);
    assert.equal((await ask('/api/events', { host })).status, 401);
    const token = /token=(.*)/.exec(served.address)?.[1] ?? '';
    const json = { host, 'content-type': 'application/json' };
    const right = JSON.stringify({ token });
    const evil = { ...json, origin: 'https://evil.example' };
    assert.equal((await ask('/api/session', evil, right)).status, 403);
    assert.equal((await ask('/api/session', json, '{"token":"wrong"}')).status, 401);
    const answer = await ask('/api/session', json, right);
    assert.equal(answer.status, 204);
    assert.equal((await ask('/api/session', json, right)).status, 401, 'it works once');
    const [cookie = ''] = answer.headers['set-cookie'] ?? [];
    assert.match(cookie, /; Path=\/api; HttpOnly; SameSite=Strict$/);
    const own = { host, cookie: cookie.split(';')[0] ?? '' };
    const events = await ask('/api/events', own);
    assert.equal(events.status, 200);
    /** @type {Record<string, string>[]} */
    const others = [
      { origin: 'https://evil.example' },
      { origin: 'null' },
      { origin: 'http://127.0.0.1:1' },
      { 'sec-fetch-site': 'cross-site' },
      { 'sec-fetch-site': 'same-site' },
    ];
    for (const foreign of others) {
      assert.equal((await ask('/api/events', { ...own, ...foreign })).status, 403);
    }
    assert.equal(events.headers['access-control-allow-origin'], undefined);
    assert.match(String(events.headers['content-security-policy']), /default-src 'none'/);
    assert.equal(events.headers['cache-control'], 'no-store');
    assert.equal(events.headers['referrer-policy'], 'no-referrer');
  });
});
