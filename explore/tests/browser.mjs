// @ts-check
/** A Chromium that comes with an npm package, so that tests need nothing from elsewhere. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** @typedef {import('playwright-core').Browser} Browser */

/**
 * Starts the browser. What it needs is unpacked into a new directory, which is removed at the end.
 *
 * @returns {Promise<{ browser: Browser, close: () => Promise<void> }>}
 */
export async function startBrowser() {
  const directory = mkdtempSync(join(tmpdir(), 'eventdb-browser-'));
  const before = { TMPDIR: process.env['TMPDIR'], runtime: process.env['AWS_LAMBDA_JS_RUNTIME'] };
  process.env['TMPDIR'] = directory;
  // So the package also unpacks the libraries that a small machine lacks, such as NSS.
  process.env['AWS_LAMBDA_JS_RUNTIME'] = 'nodejs20.x';
  const { default: chromium } = await import('@sparticuz/chromium');
  const executablePath = await chromium.executablePath();
  restore('TMPDIR', before.TMPDIR);
  restore('AWS_LAMBDA_JS_RUNTIME', before.runtime);
  const { chromium: playwright } = await import('playwright-core');
  const browser = await playwright.launch({
    executablePath,
    // Not the package's own arguments: they switch off what is tested here, such as the same-origin
    // policy.
    args: ['--no-sandbox', '--no-zygote', '--disable-gpu', '--font-render-hinting=none'],
    env: {
      ...process.env,
      HOME: directory,
      LD_LIBRARY_PATH: [process.env['LD_LIBRARY_PATH'], join(directory, 'al2023', 'lib')]
        .filter(Boolean)
        .join(':'),
      FONTCONFIG_PATH: join(directory, 'fonts'),
    },
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(directory, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

/**
 * @param {string} name
 * @param {string | undefined} value
 */
function restore(name, value) {
  if (value === undefined) {
    delete process.env[name];
  } else {
    process.env[name] = value;
  }
}
