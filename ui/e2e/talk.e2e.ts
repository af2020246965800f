/** What a person does, by mouse and by keyboard, and what a hostile model might try. */

import { readFile, readdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { CHAT } from '../mock/fixtures';
import { HOSTILE } from '../tests/hostile';

import { launch, mock, open } from './app';

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

it('goes from the first run to branches without a mouse', async () => {
  const { page, problems, close } = await open(browser, { empty: true, pace: { characters: 4, tokens: 2, every: 25 } });
  await page.getByRole('button', { name: 'Use this one' }).press('Enter');
  const composer = page.locator('[data-composer]');
  await composer.waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('Who are you?');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  await page.waitForTimeout(300);
  await page.keyboard.press('Escape');
  await page.getByText('You stopped this answer.').waitFor();

  await page.keyboard.press('Control+Shift+R');
  await page.getByText('2/2').waitFor();
  await page.getByRole('article').getByText('sums with a calculator.').waitFor();
  await page.keyboard.press('Alt+ArrowLeft');
  await page.getByText('1/2').waitFor();
  await page.getByText('You stopped this answer.').waitFor();
  await page.keyboard.press('Alt+ArrowRight');
  await page.getByText('2/2').waitFor();

  // Another conversation, by the palette, and back by search.
  await page.keyboard.press('Control+k');
  await page.keyboard.type('new conv');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: /^Ask spell-d4/ }).waitFor();
  await page.keyboard.press('Control+f');
  await page.keyboard.type('who are');
  await page.locator('mark').first().waitFor();
  await page.keyboard.press('Tab');
  while ((await page.evaluate(() => document.activeElement?.getAttribute('data-row'))) === null) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByText('2/2').waitFor();
  expect(problems).toEqual([]);
  await close();
});

it('hides no conversation where there is no model', async () => {
  const { page, problems, close } = await open(browser, { empty: true, conversations: 3 });
  await page.locator('[data-row="2"]').click();
  await page.getByRole('article').first().waitFor();
  expect(await page.getByRole('button', { name: 'Use this one' }).count()).toBe(0);
  expect(problems).toEqual([]);
  await close();
});

it('says once that the conversations were damaged, and where they are', async () => {
  const { page, problems, close } = await open(browser, { recovered: { moved_to: '/home/me/aside.db', problem: 'page 2 is torn' } });
  const notice = page.getByRole('region', { name: 'Notices' }).getByText('/home/me/aside.db');
  await notice.waitFor();
  await page.waitForTimeout(500);
  expect(await notice.count()).toBe(1);
  await page.getByRole('button', { name: 'Copy details' }).click();
  await page.getByRole('button', { name: 'Dismiss' }).first().click();
  await notice.waitFor({ state: 'detached' });
  expect(problems).toEqual([]);
  await close();
});

it('pins, exports and deletes the open conversation from the palette', async () => {
  const { page, problems, close } = await open(browser);
  const command = async (words: string) => {
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox').waitFor();
    await page.keyboard.type(words);
    await page.keyboard.press('Enter');
  };
  await page.locator('[data-row="5"]').press('Enter');
  const title = (await page.locator('[data-row="5"] .title').textContent()) ?? '';
  const row = page.locator('[data-row]', { hasText: title });
  await page.locator('[data-row="5"][aria-current="page"]').waitFor();
  await command('pin this');
  await row.getByLabel('pinned').waitFor();
  await command('unpin');
  await row.getByLabel('pinned').waitFor({ state: 'detached' });
  await command('export this markdown');
  await page.getByText(/^Exported to /).waitFor();
  await command('delete this');
  await row.waitFor({ state: 'detached' });
  await page.getByRole('heading', { name: /^Ask / }).waitFor();
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.locator('[data-row][aria-current="page"]', { hasText: title }).waitFor();
  expect(problems).toEqual([]);
  await close();
});

it('renames in place, deletes, and takes it back', async () => {
  const { page, problems, close } = await open(browser);
  await page.locator('[data-row="2"]').focus();
  const title = (await page.locator('[data-row="2"] .title').textContent()) ?? '';
  await page.keyboard.press('F2');
  await page.keyboard.type('A name of its own');
  await page.keyboard.press('Enter');
  await page.getByText('A name of its own').waitFor();
  expect(await page.getByText(title, { exact: true }).count()).toBe(0);
  await page.getByRole('button', { name: 'A name of its own' }).first().focus();
  await page.keyboard.press('Delete');
  await page.locator('[data-row]', { hasText: 'A name of its own' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Undo' }).click();
  await page.locator('[data-row]', { hasText: 'A name of its own' }).waitFor();
  expect(problems).toEqual([]);
  await close();
});

it('keeps the focus where one was at work', async () => {
  const { page, close } = await open(browser);
  const focused = () =>
    page.evaluate(() => document.activeElement?.getAttribute('data-row') ?? document.activeElement?.outerHTML.slice(0, 80));
  for (const key of ['Enter', 'Escape']) {
    await page.locator('[data-row="4"]').focus();
    await page.keyboard.press('F2');
    await page.locator('.rename').waitFor();
    await page.keyboard.press(key);
    await expect.poll(focused).toBe('4');
  }
  await page.keyboard.press('Delete');
  await page.getByRole('button', { name: 'Undo' }).waitFor();
  await expect.poll(focused).toBe('4');

  await page.getByRole('button', { name: 'Why is the sky blue?' }).first().click();
  await page.getByRole('button', { name: 'Edit', exact: true }).press('Enter');
  await page.keyboard.press('Escape');
  await expect.poll(() => page.evaluate(() => document.activeElement?.getAttribute('aria-label'))).toBe('Edit');
  await page.keyboard.press('Control+.');
  await page.getByLabel('Temperature', { exact: true }).focus();
  await page.keyboard.press('Escape');
  await expect.poll(() => page.evaluate(() => document.activeElement?.hasAttribute('data-composer'))).toBe(true);
  await close();
});

it('walks a long list by keyboard, and finds the place again', async () => {
  const { page, close } = await open(browser, { conversations: 300 });
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('data-row'));
  await page.locator('[data-row="0"]').focus();
  for (let step = 0; step < 40; step += 1) await page.keyboard.press('ArrowDown');
  expect(await focused()).toBe('40');
  expect(await page.locator('[data-row="40"]').evaluate((row) => row.getBoundingClientRect().bottom < innerHeight)).toBe(true);
  await page.keyboard.press('End');
  await expect.poll(focused).toBe('299');
  await page.locator('[data-search]').focus();
  await page.locator('nav [role="list"]').evaluate((list) => list.scrollTo(0, 0));
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('299');
  await close();
});

it('knows the keys of other keyboards', async () => {
  const { page, close } = await open(browser);
  // As a German keyboard sends them: the slash with Shift, plus and minus on keys of their own.
  const press = (init: { key: string; code: string; shiftKey?: boolean; ctrlKey?: boolean }) =>
    page.evaluate(
      (given) => document.body.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, cancelable: true, ...given })),
      init,
    );
  const size = () => page.evaluate(() => document.documentElement.style.fontSize);
  await page.keyboard.press('Control+2');
  await press({ key: '/', code: 'Digit7', shiftKey: true });
  await expect.poll(() => page.evaluate(() => document.activeElement?.hasAttribute('data-composer'))).toBe(true);
  await press({ key: '+', code: 'BracketRight', ctrlKey: true });
  expect(await size()).toBe('16px');
  await press({ key: '-', code: 'Slash', ctrlKey: true });
  await press({ key: '-', code: 'NumpadSubtract', ctrlKey: true });
  expect(await size()).toBe('14px');
  await page.keyboard.press('Control+Equal');
  expect(await size()).toBe('15px');
  await close();
});

it('edits a message into a branch', async () => {
  const { page, close } = await open(browser);
  await page.getByRole('button', { name: 'Why is the sky blue?' }).first().click();
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await page.keyboard.press('Control+a');
  await page.keyboard.type('Why is the sea blue?');
  await page.keyboard.press('Enter');
  await page.getByText('2/2').waitFor();
  await page.getByRole('button', { name: 'Previous version' }).click();
  await page.locator('.said', { hasText: 'Why is the sky blue?' }).waitFor();
  await close();
});

it('copies code and addresses, and says so', async () => {
  const { page, close } = await open(browser, {}, { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.getByRole('button', { name: 'How a tokenizer splits words' }).first().click();
  await page.getByRole('button', { name: 'Copy address' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe('https://github.com/karpathy/nanochat');
  await page.locator('.md-code .md-copy').click();
  await page.getByText('Copied').first().waitFor();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toContain('def bits_per_byte');
  await close();
});

it('gives the focus back where a dialog took it, and keeps it inside meanwhile', async () => {
  const { page, close } = await open(browser);
  await page.getByRole('button', { name: 'Settings', exact: true }).focus();
  await page.keyboard.press('Shift+?');
  await page.getByRole('dialog').waitFor();
  for (let step = 0; step < 4; step += 1) {
    await page.keyboard.press('Tab');
    expect(
      await page.evaluate(
        () => document.activeElement === document.body || document.querySelector('dialog')?.contains(document.activeElement),
      ),
    ).toBe(true);
  }
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  expect(await page.evaluate(() => document.activeElement?.textContent?.trim())).toBe('Settings');
  await close();
});

it('says what is written, in sentences', async () => {
  const { page, close } = await open(browser, { pace: { characters: 4, tokens: 2, every: 20 } });
  const said: string[] = [];
  await page.exposeFunction('heard', (words: string) => said.push(words));
  await page.evaluate(() => {
    const region = document.querySelector('[aria-live="polite"][aria-atomic="true"]');
    if (region)
      new MutationObserver(() => (window as unknown as { heard: (words: string) => void }).heard(region.textContent ?? '')).observe(
        region,
        { childList: true, characterData: true, subtree: true },
      );
  });
  await page.locator('[data-composer]').fill('Who are you?');
  await page.keyboard.press('Enter');
  await expect.poll(() => said.join(' '), { timeout: 15_000 }).toContain('The answer is complete.');
  expect(said.join(' ')).toContain('I am a small language model that runs on this machine.');
  expect(said.length).toBeLessThan(8);
  await close();
});

it('imports a model that is dropped, and gives up when asked', async () => {
  const { page, problems, close } = await open(browser);
  await mock(page, 'mock_event', { event: { type: 'drag', over: true } });
  await page.getByText('Drop a model or conversations here').waitFor();
  await mock(page, 'mock_event', { event: { type: 'dropped', files: [{ token: 't', name: 'model.pt', bytes: 10, folder: false }] } });
  await page.getByRole('button', { name: 'Import', exact: true }).click();
  await page.getByRole('progressbar').waitFor();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  expect(problems).toEqual([]);
  await close();
});

it('trains, pauses and goes on', async () => {
  const { page, problems, close } = await open(browser);
  await page.keyboard.press('Control+3');
  await page.getByRole('button', { name: 'Start training' }).click();
  await page.getByText(/step \d+ of/).waitFor();
  await page.locator('canvas').first().waitFor();
  await page.getByRole('button', { name: 'Pause' }).click();
  await page.getByRole('button', { name: 'Resume' }).click();
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByRole('button', { name: 'Train another' }).waitFor();
  expect(problems).toEqual([]);
  await close();
});

it('keeps two hundred hostile texts inert, at each step of being written', async () => {
  const { page, problems, close } = await open(browser, {
    answer: HOSTILE.join('\n\n'),
    pace: { characters: 3, tokens: 3, every: 0 },
    settings: {
      defaults: { ...CHAT, max_tokens: 100_000 },
    },
  });
  await page.evaluate(() => {
    const bad: string[] = [];
    Object.assign(window, { bad, pwn: () => bad.push('pwn was called') });
    const allowed =
      /^(?:DIV|P|SPAN|CODE|PRE|BUTTON|H[1-6]|UL|OL|LI|BLOCKQUOTE|EM|STRONG|DEL|HR|BR|TABLE|THEAD|TBODY|TR|TH|TD|math|semantics|m[a-z]+)$/;
    const attributes =
      /^(?:class|type|tabindex|start|display|displaystyle|mathvariant|stretchy|fence|separator|lspace|rspace|width|height|minsize|maxsize|accent|accentunder|linethickness|columnalign|columnspacing|rowspacing|scriptlevel|voffset|notation|xmlns)$/;
    new MutationObserver((records) => {
      for (const { target, attributeName, addedNodes } of records) {
        if (attributeName && target instanceof Element && target.closest('.md') && !attributes.test(attributeName)) bad.push(attributeName);
        for (const node of addedNodes) {
          if (!(node instanceof Element) || !node.closest('.md')) continue;
          for (const element of [node, ...node.querySelectorAll('*')]) {
            if (!allowed.test(element.tagName)) bad.push(element.tagName);
            for (const { name } of element.attributes) if (!attributes.test(name)) bad.push(`${element.tagName} ${name}`);
          }
        }
      }
    }).observe(document.body, { childList: true, subtree: true, attributes: true });
  });
  await page.locator('[data-composer]').fill('Go on');
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Stop' }).waitFor();
  await page.getByRole('button', { name: 'Send' }).waitFor({ timeout: 110_000 });
  expect(await page.evaluate(() => (window as unknown as { bad: string[] }).bad)).toEqual([]);
  expect(await page.locator('.md').last().textContent()).toContain('<script>pwn()</script>');
  // What was looked for would have been seen.
  const noticed = await page.evaluate(async () => {
    const link = document.createElement('a');
    document.querySelector('.md')?.append(link);
    link.setAttribute('href', 'https://evil.example');
    await new Promise(requestAnimationFrame);
    return (window as unknown as { bad: string[] }).bad;
  });
  expect(noticed).toEqual(expect.arrayContaining(['A', 'href']));
  expect(problems).toEqual([]);
  await close();
});

it('ships no mock', async () => {
  const folder = fileURLToPath(new URL('../dist/assets/', import.meta.url));
  for (const name of await readdir(folder)) {
    if (name.endsWith('.js')) expect(await readFile(folder + name, 'utf8')).not.toMatch(/mockOptions|garden-chat|Radeon RX/);
  }
  expect(await readFile(fileURLToPath(new URL('../dist/index.html', import.meta.url)), 'utf8')).not.toMatch(/mock|style=|<script>/);
});

it('changes what a model is kept in by keyboard, and says why', async () => {
  const { page, problems, close } = await open(browser, { loading: 50 });
  await page.keyboard.press('Control+2');
  const large = page.getByRole('article', { name: 'nanochat-d34' });
  await large.getByText('16 bits, because 32 bits would not fit.').waitFor();
  const card = page.getByRole('article', { name: 'garden-chat', exact: true });
  await card.getByText('32 bits, as in its file.').waitFor();
  const select = card.getByLabel('Loads in');
  await select.focus();
  await page.keyboard.press('ArrowDown');
  await card.getByText('32 bits, because you chose so.').waitFor();
  expect(await select.evaluate((element) => element === document.activeElement)).toBe(true);

  await card.getByRole('button', { name: 'Chat', exact: true }).click();
  await page.keyboard.press('Control+2');
  const loaded = card.getByLabel('Loaded in');
  await loaded.waitFor();
  await loaded.selectOption('q8');
  await card.getByText('8 bits, because you chose so.').waitFor();
  expect(await loaded.inputValue()).toBe('q8');
  await loaded.selectOption('');
  await card.getByText('32 bits, as in its file.').waitFor();
  expect(problems).toEqual([]);
  await close();
});
