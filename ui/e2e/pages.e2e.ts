/** Every page in both themes: nothing that shuts people out, nothing that the policy refuses, nothing that falls out of the window. */

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { launch, mock, open } from './app';

const AXE = createRequire(import.meta.url).resolve('axe-core/axe.min.js');

let browser: Browser;
let axe: string;
beforeAll(async () => {
  [browser, axe] = await Promise.all([launch(), readFile(AXE, 'utf8')]);
});
afterAll(() => browser.close());

/** The ways to each page, dialog and state. */
const STATES: Record<string, (page: Page) => Promise<unknown>> = {
  greeting: (page) => page.getByRole('heading', { name: /Ask garden-chat/ }).waitFor(),
  chat: async (page) => {
    await page.getByRole('button', { name: 'How a tokenizer splits words' }).first().click();
    await page.locator('math').first().waitFor();
  },
  branches: (page) => page.getByRole('button', { name: 'What 12 * 7 + 5 makes' }).first().click(),
  'chat settings': (page) => page.keyboard.press('Control+.'),
  search: async (page) => {
    await page.keyboard.press('Control+f');
    await page.keyboard.type('sky');
    await page.locator('mark').first().waitFor();
  },
  models: async (page) => {
    await page.keyboard.press('Control+2');
    await page.getByText('Radeon').first().waitFor({ state: 'attached' });
  },
  'how a model learnt': async (page) => {
    await page.keyboard.press('Control+2');
    await page.getByRole('button', { name: 'How garden-chat learnt' }).click();
    await page.locator('canvas').waitFor();
  },
  import: async (page) => {
    await page.keyboard.press('Control+2');
    await page.getByRole('button', { name: 'Import a file' }).click();
    await page.getByRole('textbox', { name: 'Name' }).waitFor();
  },
  'delete a model': async (page) => {
    await page.keyboard.press('Control+2');
    await page.getByRole('button', { name: 'Delete garden-chat' }).click();
    await page.getByRole('alertdialog').waitFor();
  },
  train: async (page) => {
    await page.keyboard.press('Control+3');
    await page.getByText('Fits: takes').waitFor();
  },
  'a run': async (page) => {
    await mock(page, 'mock_history', { steps: 300 });
    await page.keyboard.press('Control+3');
    await page.locator('canvas').first().waitFor();
  },
  'a crash': async (page) => {
    await mock(page, 'mock_history', { steps: 300 });
    await mock(page, 'mock_crash');
    await page.keyboard.press('Control+3');
    await page.getByText('The run crashed').waitFor();
  },
  settings: async (page) => {
    await page.keyboard.press('Control+,');
    await page.getByText('WebKitGTK').waitFor();
  },
  palette: (page) => page.keyboard.press('Control+k'),
  shortcuts: async (page) => {
    await page.getByRole('button', { name: 'New conversation' }).focus();
    await page.keyboard.press('Shift+?');
    await page.getByRole('dialog').waitFor();
  },
  'a notice': async (page) => {
    await page.locator('[data-row="3"]').focus();
    await page.keyboard.press('Delete');
    await page.getByRole('button', { name: 'Undo' }).waitFor();
  },
  'closing while training': async (page) => {
    await mock(page, 'mock_history', { steps: 10 });
    await mock(page, 'mock_event', { event: { type: 'close_requested', run: null } });
    await page.getByRole('alertdialog').waitFor();
  },
};

interface Violation {
  id: string;
  impact: string | null;
  nodes: { html: string; failureSummary: string }[];
}

async function violations(page: Page): Promise<string[]> {
  // Through the debugger, for the policy lets no script in.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations: all } = await (
      window as unknown as { axe: { run: (options: object) => Promise<{ violations: Violation[] }> } }
    ).axe.run({ resultTypes: ['violations'] });
    return all;
  });
  return found
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.html.slice(0, 160)} ${node.failureSummary}`));
}

describe.each(['light', 'dark'] as const)('%s', (colorScheme) => {
  it.each(Object.entries(STATES))('%s shuts nobody out', async (_, go) => {
    const { page, problems, close } = await open(browser, {}, { colorScheme });
    await go(page);
    await page.waitForTimeout(150);
    expect(await violations(page)).toEqual([]);
    expect(problems).toEqual([]);
    await close();
  });

  it('the first run shuts nobody out', async () => {
    const { page, problems, close } = await open(browser, { empty: true }, { colorScheme });
    await page.getByRole('button', { name: 'Use this one' }).waitFor();
    expect(await violations(page)).toEqual([]);
    expect(problems).toEqual([]);
    await close();
  });
});

describe.each([
  [360, 560],
  [620, 800],
  [900, 640],
  [1920, 1080],
])('%d by %d', (width, height) => {
  it.each([...Object.keys(STATES).filter((name) => /^(greeting|chat settings|models|train|settings|palette|a run)$/.test(name))])(
    '%s stays in the window',
    async (name) => {
      const { page, close } = await open(browser, {}, { viewport: { width, height } });
      await STATES[name]?.(page);
      await page.waitForTimeout(150);
      const wide = await page.evaluate(() => {
        const tooWide = [...document.querySelectorAll('main *, dialog *')].filter((element) => {
          const box = element.getBoundingClientRect();
          const clipped = element.closest('.sr-only, .plot, pre, .md-table, .list, [aria-hidden="true"]');
          return box.width > 0 && !clipped && (box.right > innerWidth + 1 || box.left < -1);
        });
        return tooWide.map((element) => element.outerHTML.slice(0, 120));
      });
      expect(wide).toEqual([]);
      await close();
    },
  );

  it('has its sidebar where it can be found', async () => {
    const { page, close } = await open(browser, {}, { viewport: { width, height } });
    const sidebar = page.getByRole('navigation');
    if (width < 760) {
      expect(await sidebar.count()).toBe(0);
      await page.getByRole('button', { name: 'Show sidebar' }).click();
    }
    await sidebar.waitFor();
    await page.getByRole('button', { name: 'Train' }).click();
    await page.getByRole('heading', { name: 'Train', exact: true }).waitFor();
    expect(await sidebar.count()).toBe(width < 760 ? 0 : 1);
    await close();
  });
});

it('speaks German, all of it', async () => {
  const { page, problems, close } = await open(browser, { settings: { language: 'de' } });
  expect(await page.locator('html').getAttribute('lang')).toBe('de');
  await page.getByRole('button', { name: 'Einstellungen', exact: true }).click();
  await page.getByRole('heading', { name: 'Privatsphäre' }).waitFor();
  await page.getByLabel('Sprache', { exact: true }).selectOption('en');
  await page.getByRole('heading', { name: 'Privacy' }).waitFor();
  expect(problems).toEqual([]);
  await close();
});

it('starts where the system has no language', async () => {
  const { page, problems, close } = await open(
    browser,
    { settings: { language: '' } },
    {},
    "Object.defineProperty(Navigator.prototype, 'language', { get: () => 'C', configurable: true });",
  );
  await page.keyboard.press('Control+3');
  await page.getByText('Fits: takes').waitFor();
  expect(problems).toEqual([]);
  await close();
});
