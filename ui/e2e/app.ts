/** Opens the built pages in chromium. Nothing is served: every request is answered from `dist`, and any other fails. */

import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { extname } from 'node:path';
import { fileURLToPath } from 'node:url';

import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';

import type { Options } from '../mock/backend';

const ORIGIN = 'https://nanochat.test';
const DIST = fileURLToPath(new URL('../dist', import.meta.url));
const MOCK = fileURLToPath(new URL('../mock/dist/mock.js', import.meta.url));

/** As in `tauri.conf.json`. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src ipc:; base-uri 'none'; form-action 'none'; " +
  "frame-ancestors 'none'; object-src 'none'; require-trusted-types-for 'script'; trusted-types svelte-trusted-html dompurify";

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.woff2': 'font/woff2',
  '.svg': 'image/svg+xml',
};

/** Where systems keep it; `scripts/setup.sh` looks in the same places. */
const BROWSERS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

export async function launch(): Promise<Browser> {
  const browser = process.env.CHROMIUM ?? BROWSERS.find((path) => existsSync(path));
  if (!browser) throw new Error('There is no chromium: install it, or name its executable in CHROMIUM.');
  return chromium.launch({
    executablePath: browser,
    args: ['--no-sandbox', '--disable-gpu', '--force-color-profile=srgb'],
  });
}

export interface Opened {
  page: Page;
  /** What went wrong in the page: refused by the policy, thrown, or asked of a network. */
  problems: string[];
  close: () => Promise<void>;
}

export async function open(browser: Browser, options: Options = {}, look: BrowserContextOptions = {}, before = ''): Promise<Opened> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 820 }, locale: 'en-US', reducedMotion: 'reduce', ...look });
  const page = await context.newPage();
  const problems: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' || message.text().includes('Content Security Policy')) problems.push(message.text());
  });
  page.on('pageerror', (error) => problems.push(String(error)));
  await page.route('**/*', async (route) => {
    const url = new URL(route.request().url());
    if (url.origin !== ORIGIN) {
      problems.push(`asked for ${url.href}`);
      return route.abort();
    }
    const path = url.pathname === '/' ? '/index.html' : url.pathname;
    const body = await readFile(DIST + path).catch(() => null);
    if (!body) return route.fulfill({ status: 404 });
    return route.fulfill({
      body,
      headers: { 'content-type': TYPES[extname(path)] ?? 'application/octet-stream', 'content-security-policy': POLICY },
    });
  });
  // As `freezePrototype` of `tauri.conf.json` does.
  await page.addInitScript('Object.freeze(Object.prototype);');
  if (before) await page.addInitScript(before);
  await page.addInitScript(`window.mockOptions = ${JSON.stringify(options)};`);
  await page.addInitScript({ path: MOCK });
  await page.goto(ORIGIN);
  await page.waitForSelector('main');
  return { page, problems, close: () => context.close() };
}

/** Asks the mock backend itself, as the outside world would. */
export function mock(page: Page, name: string, args: Record<string, unknown> = {}): Promise<unknown> {
  return page.evaluate(
    ([command, given]) => (window as unknown as { mockCall: (name: string, args: unknown) => Promise<unknown> }).mockCall(command, given),
    [name, args] as const,
  );
}
