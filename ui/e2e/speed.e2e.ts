/** How quick the pages are where there is much to show. What is measured is printed; the limits are those of the issue. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { ANSWER } from '../mock/texts';

import { launch, open } from './app';

/** Milliseconds that nothing may take. */
const LIMIT = 100;
const TOKENS = 20_000;
const CHARACTERS = 4;

const MUCH = { max_tokens: 100_000, system_prompt: '', temperature: 0.6, top_k: 50, top_p: 1, min_p: 0, repetition_penalty: 1, seed: null };

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

function fill(piece: string): string {
  return piece.repeat(Math.ceil((TOKENS * CHARACTERS) / piece.length)).slice(0, TOKENS * CHARACTERS);
}

/** Median and greatest of some numbers, in words. */
function summary(numbers: number[]): { median: number; max: number; words: string } {
  const sorted = [...numbers].sort((a, b) => a - b);
  const [median, max] = [sorted[Math.floor(sorted.length / 2)] ?? 0, sorted.at(-1) ?? 0];
  return { median, max, words: `median ${median.toFixed(1)} ms, greatest ${max.toFixed(1)} ms of ${String(numbers.length)}` };
}

interface Task {
  name: string;
  /** Microseconds: on the clock, and of the processor. */
  dur?: number;
  tdur?: number;
}

/**
 * Watches the page while `work` is done: the time between frames as a person sees it, and the longest task of the page's
 * thread in time of the processor. Where others use the machine too only the second says something about the page.
 */
async function watch(page: Page, work: () => Promise<void>): Promise<{ gaps: ReturnType<typeof summary>; longestTask: number }> {
  const tracing = await page.context().newCDPSession(page);
  const tasks: Task[] = [];
  tracing.on('Tracing.dataCollected', ({ value }) => tasks.push(...(value as unknown as Task[]).filter(({ name }) => name === 'RunTask')));
  await tracing.send('Tracing.start', {
    transferMode: 'ReportEvents',
    traceConfig: { includedCategories: ['disabled-by-default-devtools.timeline', 'devtools.timeline'] },
  });
  await page.evaluate(() => {
    const gaps: number[] = [];
    Object.assign(window, { gaps });
    let last = performance.now();
    const frame = (now: number) => {
      gaps.push(now - last);
      last = now;
      requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
  });
  await work();
  const gaps = await page.evaluate(() => (window as unknown as { gaps: number[] }).gaps);
  const ended = new Promise((resolve) => tracing.once('Tracing.tracingComplete', resolve));
  await tracing.send('Tracing.end');
  await ended;
  return { gaps: summary(gaps), longestTask: tasks.reduce((longest, { tdur }) => Math.max(longest, (tdur ?? 0) / 1000), 0) };
}

describe('an answer of 20,000 tokens', () => {
  it.each([
    ['in Markdown', fill(ANSWER)],
    ['in one paragraph', fill('a word and another one, ')],
    ['in one block of code', `\`\`\`python\n${fill('value = compute(value, 42)  # once more\n')}`],
    ['in one list', fill('- an item of a list that does not end\n')],
  ])('streams without a pause %s', async (name, answer) => {
    const settings = { defaults: MUCH };
    const { page, problems, close } = await open(browser, { answer, settings, pace: { characters: CHARACTERS, tokens: 24, every: 16 } });
    await page.locator('[data-composer]').fill('Go on');
    await page.waitForTimeout(300);
    const seen = await watch(page, async () => {
      await page.keyboard.press('Enter');
      await page.locator('button.stop').waitFor();
      // Asked seldom and cheaply: looking for roles in a page this long would itself hold up its frames.
      await page.waitForFunction(() => document.querySelector('button.stop') === null, undefined, { polling: 1000, timeout: 110_000 });
      await page.waitForTimeout(300);
    });
    const [shown, atEnd] = await page
      .locator('[role="log"]')
      .evaluate((log) => [log.textContent?.length ?? 0, log.scrollHeight - log.scrollTop - log.clientHeight] as const);
    console.log(
      `${String(TOKENS)} tokens ${name}: frames ${seen.gaps.words}; longest task ${seen.longestTask.toFixed(0)} ms of the processor`,
    );
    expect(shown).toBeGreaterThan(TOKENS * CHARACTERS * 0.7);
    expect(atEnd).toBeLessThan(4);
    expect(seen.longestTask).toBeGreaterThan(0);
    expect(seen.longestTask).toBeLessThan(LIMIT);
    expect(problems).toEqual([]);
    await close();
  });
});

describe('a thousand conversations of ten messages', () => {
  it('open, scroll and are searched at once', async () => {
    const { page, problems, close } = await open(browser, { conversations: 1000, messagesEach: 10 });
    await page.locator('[data-row="5"]').waitFor();

    const begun = await page.evaluate(() => performance.now());
    expect(await page.locator('[data-row]').count()).toBeLessThan(80);

    const scrolled = await page.evaluate(async () => {
      const list = document.querySelector('nav [role="list"]') as HTMLElement;
      const frame = () => new Promise((resolve) => requestAnimationFrame(resolve));
      const times: number[] = [];
      for (let step = 0; step < 40; step += 1) {
        const from = performance.now();
        list.scrollTop = ((step * 7919) % 1000) * (list.scrollHeight / 1000);
        await frame();
        await frame();
        const box = list.getBoundingClientRect();
        const middle = box.top + box.height / 2;
        const shown = [...list.querySelectorAll('[data-row]')].some(
          (row) => Math.abs(row.getBoundingClientRect().top - middle) < 60 && getComputedStyle(row).visibility === 'visible',
        );
        if (!shown) throw new Error(`an empty place at ${String(list.scrollTop)}`);
        times.push(performance.now() - from);
      }
      list.scrollTop = 0;
      return times;
    });

    /** From the key to the frame that shows what it found. */
    const searched: number[] = [];
    for (const word of ['garden', 'lighthouse', 'residual', 'spell', 'machine', 'rust', 'europe', 'haiku']) {
      await page.locator('[data-search]').fill('');
      await page.waitForTimeout(60);
      searched.push(
        await page.evaluate(async (query) => {
          const input = document.querySelector('[data-search]') as HTMLInputElement;
          const from = performance.now();
          input.value = query;
          input.dispatchEvent(new Event('input', { bubbles: true }));
          for (;;) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            const mark = document.querySelector('mark');
            if (mark?.textContent?.toLowerCase() === query) return performance.now() - from;
            if (performance.now() - from > 3000) throw new Error('nothing was found');
          }
        }, word),
      );
    }
    await page.locator('[data-search]').fill('');

    const opened: number[] = [];
    for (let row = 3; row < 13; row += 1) {
      opened.push(
        await page.evaluate(async (index) => {
          const from = performance.now();
          const button = document.querySelector(`[data-row="${String(index)}"]`) as HTMLElement;
          button.click();
          for (;;) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            if (button.getAttribute('aria-current') && document.querySelectorAll('article').length === 10) return performance.now() - from;
            if (performance.now() - from > 3000) throw new Error('it did not open');
          }
        }, row),
      );
    }

    const results = { scrolling: summary(scrolled), searching: summary(searched), opening: summary(opened) };
    for (const [what, { words }] of Object.entries(results)) console.log(`1,000 conversations, ${what}: ${words}`);
    console.log(`1,000 conversations: usable ${begun.toFixed(0)} ms after navigation`);
    for (const { median } of Object.values(results)) expect(median).toBeLessThan(LIMIT);
    expect(problems).toEqual([]);
    await close();
  });
});
