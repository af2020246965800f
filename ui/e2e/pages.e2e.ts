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
  editing: async (page) => {
    await page.getByRole('button', { name: 'Why is the sky blue?' }).first().click();
    await page.getByRole('button', { name: 'Edit', exact: true }).click();
  },
  renaming: async (page) => {
    await page.locator('[data-row="3"]').focus();
    await page.keyboard.press('F2');
  },
  'a menu': async (page) => {
    await page.getByRole('button', { name: /^Model: garden-chat/ }).click();
    await page.getByRole('menu').waitFor();
  },
  'a stopped answer': async (page) => {
    await page.locator('[data-composer]').fill('Give me a tour');
    await page.keyboard.press('Enter');
    await page.getByText('Here is a short').waitFor();
    await page.keyboard.press('Escape');
    await page.getByText('You stopped this answer.').waitFor();
  },
  'a model that does not load': async (page) => {
    const error = { code: 'out_of_memory', message: 'There is too little memory.', detail: 'wanted 3 GB' };
    const state = { state: 'failed', model: 'garden-chat', gpu: null, weights: null, memory_bytes: 0, load_ms: null, error };
    await mock(page, 'mock_event', { event: { type: 'load_state', state } });
    await page.getByText('There is too little memory.').waitFor();
  },
  'something to drop': async (page) => {
    await mock(page, 'mock_event', { event: { type: 'drag', over: true } });
    await page.getByText('Drop a model').waitFor();
  },
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
  importing: async (page) => {
    await page.keyboard.press('Control+2');
    await page.getByRole('button', { name: 'Import a file' }).click();
    await page.getByRole('button', { name: 'Import', exact: true }).click();
    await page.getByRole('progressbar').waitFor();
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
  'a run that does not fit': async (page) => {
    await page.keyboard.press('Control+3');
    await page.getByLabel('Depth').fill('32');
    await page.keyboard.press('Tab');
    await page.getByText('This run needs more memory').waitFor();
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
  licences: async (page) => {
    await page.keyboard.press('Control+,');
    await page.getByRole('button', { name: 'Licences' }).click();
    await page.getByRole('dialog').waitFor();
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

it('would be told of what shuts people out', async () => {
  const { page, close } = await open(browser);
  await page.evaluate(() => {
    const faint = document.createElement('p');
    faint.textContent = 'Hardly to be read';
    faint.style.cssText = 'color: #999; background: #aaa; position: fixed; inset: 0 auto auto 0; z-index: 99';
    const nameless = document.createElement('button');
    document.querySelector('main')?.append(faint, nameless);
  });
  const found = (await violations(page)).map((each) => each.split(':')[0]);
  expect(found).toContain('color-contrast');
  expect(found).toContain('button-name');
  await close();
});

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

/** What reaches out of the window sideways and cannot be scrolled to. */
function outside(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const tooWide = [...document.querySelectorAll('main *, dialog *')].filter((element) => {
      const box = element.getBoundingClientRect();
      const clipped = element.closest('.sr-only, .plot, pre, .md-table, .md-math, .list, [aria-hidden="true"]');
      return box.width > 0 && !clipped && (box.right > innerWidth + 1 || box.left < -1);
    });
    return tooWide.map((element) => element.outerHTML.slice(0, 120));
  });
}

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
      expect(await outside(page)).toEqual([]);
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

it.each(['en', 'de'])('keeps large text in a small window: %s', async (language) => {
  for (const keys of ['Control+1', 'Control+2', 'Control+3', 'Control+,']) {
    const { page, close } = await open(browser, { settings: { font_size: 24, language } }, { viewport: { width: 800, height: 600 } });
    await page.locator('[data-row="1"]').click();
    await page.keyboard.press(keys);
    await page.waitForTimeout(300);
    expect(await outside(page)).toEqual([]);
    await close();
  }
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
