/** How quick the pages are where there is much to show. What is measured is printed, and must keep within the limits. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { CHAT } from '../mock/fixtures';
import { ANSWER } from '../mock/texts';

import { launch, open } from './app';

/** Milliseconds that nothing may take. */
const LIMIT = 100;
const TOKENS = 20_000;
const CHARACTERS = 4;

const MUCH = { ...CHAT, max_tokens: 100_000 };

let browser: Browser;
beforeAll(async () => {
  browser = await launch();
});
afterAll(() => browser.close());

function fill(piece: string): string {
  return piece.repeat(Math.ceil((TOKENS * CHARACTERS) / piece.length)).slice(0, TOKENS * CHARACTERS);
}

/** Median and greatest of some numbers, in words. */
function summary(numbers: number[]): { count: number; median: number; max: number; words: string } {
  const sorted = [...numbers].sort((a, b) => a - b);
  const [median, max] = [sorted[Math.floor(sorted.length / 2)] ?? 0, sorted.at(-1) ?? 0];
  return {
    count: sorted.length,
    median,
    max,
    words: `median ${median.toFixed(1)} ms, greatest ${max.toFixed(1)} ms of ${String(numbers.length)}`,
  };
}

interface TraceEvent {
  name: string;
  pid: number;
  tid: number;
  /** Microseconds: the beginning, and how long of the clock and of the processor. */
  ts: number;
  dur?: number;
  tdur?: number;
}

/**
 * What the page's thread did for each frame, in milliseconds of the processor: all its tasks up to and with the one that
 * draws. Where others use the machine too this says something about the page, and the clock does not.
 */
function work(events: TraceEvent[]): number[] {
  const drawn = events.filter(({ name }) => name === 'FireAnimationFrame').sort((a, b) => a.ts - b.ts);
  const { pid, tid } = drawn[0] ?? { pid: 0, tid: 0 };
  const tasks = events.filter((event) => event.name === 'RunTask' && event.pid === pid && event.tid === tid).sort((a, b) => a.ts - b.ts);
  const frames: number[] = [];
  let [spent, next] = [0, 0];
  for (const task of tasks) {
    spent += (task.tdur ?? 0) / 1000;
    const before = next;
    while ((drawn[next]?.ts ?? Infinity) < task.ts + (task.dur ?? 0)) next += 1;
    if (next === before) continue;
    frames.push(spent);
    spent = 0;
  }
  return frames;
}

interface Watched {
  /** From frame to frame, on the clock. */
  gaps: ReturnType<typeof summary>;
  late: number;
  /** See {@link work}. */
  frames: ReturnType<typeof summary>;
}

/** Watches the frames of the page while `act` is done. */
async function watch(page: Page, act: () => Promise<void>): Promise<Watched> {
  const tracing = await page.context().newCDPSession(page);
  const events: TraceEvent[] = [];
  const kept = new Set(['RunTask', 'FireAnimationFrame']);
  tracing.on('Tracing.dataCollected', ({ value }) =>
    events.push(...(value as unknown as TraceEvent[]).filter(({ name }) => kept.has(name))),
  );
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
  await act();
  const gaps = await page.evaluate(() => (window as unknown as { gaps: number[] }).gaps);
  const ended = new Promise((resolve) => tracing.once('Tracing.tracingComplete', resolve));
  await tracing.send('Tracing.end');
  await ended;
  return { gaps: summary(gaps), late: gaps.filter((gap) => gap > LIMIT).length, frames: summary(work(events)) };
}

/** Jumps about in the list: from each jump to the frame that shows the rows. */
function scroll(page: Page): Promise<number[]> {
  return page.evaluate(async () => {
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
}

/** From the key to the end of the frame that shows what it found. */
async function search(page: Page): Promise<number[]> {
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
          if (mark?.textContent?.toLowerCase() === query) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            return performance.now() - from;
          }
          if (performance.now() - from > 3000) throw new Error('nothing was found');
        }
      }, word),
    );
  }
  await page.locator('[data-search]').fill('');
  return searched;
}

/** From the press on a row to the end of the frame that shows its messages. */
async function openRows(page: Page): Promise<number[]> {
  const opened: number[] = [];
  for (let row = 3; row < 13; row += 1) {
    opened.push(
      await page.evaluate(async (index) => {
        const from = performance.now();
        const button = document.querySelector(`[data-row="${String(index)}"]`) as HTMLElement;
        // So that what was open before cannot be taken for it.
        for (const old of document.querySelectorAll('article')) old.setAttribute('data-old', '');
        button.click();
        for (;;) {
          await new Promise((resolve) => requestAnimationFrame(resolve));
          if (button.getAttribute('aria-current') && document.querySelectorAll('article:not([data-old])').length === 10) {
            await new Promise((resolve) => requestAnimationFrame(resolve));
            return performance.now() - from;
          }
          if (performance.now() - from > 3000) throw new Error('it did not open');
        }
      }, row),
    );
  }
  return opened;
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
      `${String(TOKENS)} tokens ${name}: work for a frame ${seen.frames.words}; ` +
        `on the clock from frame to frame ${seen.gaps.words}, ${String(seen.late)} over ${String(LIMIT)} ms`,
    );
    expect(shown).toBeGreaterThan(TOKENS * CHARACTERS * 0.7);
    expect(atEnd).toBeLessThan(4);
    expect(seen.frames.count).toBeGreaterThan(100);
    expect(seen.frames.max).toBeLessThan(LIMIT);
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

    let scrolled: number[] = [];
    let searched: number[] = [];
    let opened: number[] = [];
    const scrolling = await watch(page, async () => {
      scrolled = await scroll(page);
    });
    const searching = await watch(page, async () => {
      searched = await search(page);
    });
    const opening = await watch(page, async () => {
      opened = await openRows(page);
    });
    const results = { scrolling: [scrolled, scrolling], searching: [searched, searching], opening: [opened, opening] } as const;
    for (const [what, [times, { frames }]] of Object.entries(results))
      console.log(`1,000 conversations, ${what}: ${summary(times).words}; work for a frame ${frames.words}`);
    console.log(`1,000 conversations: usable ${begun.toFixed(0)} ms after navigation`);
    for (const [times] of Object.values(results)) expect(summary(times).median).toBeLessThan(LIMIT);
    expect(problems).toEqual([]);
    await close();
  });
});
