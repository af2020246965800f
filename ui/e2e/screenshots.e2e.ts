/**
 * Pictures of each main page in both themes, over the mock. They go to `$SHOTS`. Those of the README are of the real window:
 * see `src-tauri/tests/window/pictures.rs`.
 */

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { launch, mock, open } from './app';

const FOLDER = process.env.SHOTS ?? fileURLToPath(new URL('out', import.meta.url));

let browser: Browser;
beforeAll(async () => {
  await mkdir(FOLDER, { recursive: true });
  browser = await launch();
});
afterAll(() => browser.close());

describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
  /** With the pointer out of the way, so that nothing is hovered over. */
  const keep = async (page: Page, name: string) => {
    await page.mouse.move(1270, 400);
    await page.waitForTimeout(120);
    await page.screenshot({ path: `${FOLDER}/${name}-${colorScheme}.png` });
  };

  it('shows the first run', async () => {
    const { page, problems, close } = await open(browser, { empty: true }, { colorScheme });
    await page.getByRole('button', { name: 'Use this one' }).waitFor();
    await page.waitForTimeout(300);
    await keep(page, 'welcome');
    expect(problems).toEqual([]);
    await close();
  });

  it('shows the form of a run', async () => {
    const { page, problems, close } = await open(browser, {}, { colorScheme });
    await page.keyboard.press('Control+3');
    await page.getByText('Start training').waitFor();
    await page.waitForTimeout(400);
    await keep(page, 'train-form');
    expect(problems).toEqual([]);
    await close();
  });

  it('shows every page', async () => {
    const { page, problems, close } = await open(browser, {}, { colorScheme });
    await page.waitForTimeout(300);
    await keep(page, 'new');
    await page.getByRole('button', { name: 'How a tokenizer splits words' }).first().click();
    await page.waitForTimeout(500);
    await keep(page, 'chat');
    await page.keyboard.press('Control+.');
    await page.waitForTimeout(200);
    await keep(page, 'chat-settings');
    await page.keyboard.press('Control+.');
    await page.getByRole('button', { name: 'What 12 * 7 + 5 makes' }).first().click();
    await page.waitForTimeout(300);
    await keep(page, 'chat-tools');
    await page.keyboard.press('Control+2');
    await page.getByText('nanochat-d20').waitFor();
    await page.waitForTimeout(200);
    await keep(page, 'models');
    await page.keyboard.press('Control+,');
    await page.waitForTimeout(400);
    await keep(page, 'settings');
    await mock(page, 'mock_history', { steps: 1400 });
    await page.keyboard.press('Control+3');
    await page.waitForTimeout(600);
    await keep(page, 'train');
    await page.keyboard.press('Control+1');
    await page.keyboard.press('Control+k');
    await page.waitForTimeout(200);
    await keep(page, 'palette');
    expect(problems).toEqual([]);
    await close();
  });
});
