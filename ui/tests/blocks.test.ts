import { describe, expect, it } from 'vitest';

import { BlockStream } from '../src/lib/markdown/blocks';
import { MarkdownView } from '../src/lib/markdown/view';
import { ANSWER } from '../mock/texts';

/** Numbers from 0 to 1 that are the same each time. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const LONG = [
  ANSWER,
  Array.from({ length: 40 }, (_, index) => `Paragraph ${String(index)} says a little.\n\n- one\n- two\n\n1. first\n\n2. second\n`).join(
    '\n',
  ),
  'word '.repeat(6000),
  Array.from({ length: 900 }, (_, index) => `- item ${String(index)} of a list that does not end`).join('\n'),
  `\`\`\`rust\n${'let x = 1;\n'.repeat(200)}\n\`\`\`\n\nAfter the code.`,
  'A line\r\nand another\r\n\r\nand a third.',
];

function blocks(stream: BlockStream, text: string): string[] {
  const open = stream.update(text);
  return [...stream.settled, ...open];
}

describe('blocks', () => {
  it.each(LONG.map((text, index) => [index, text] as const))('are the same however the text came: %i', (_, text) => {
    const whole = blocks(new BlockStream(), text);
    for (let seed = 1; seed <= 8; seed += 1) {
      const draw = random(seed);
      const stream = new BlockStream();
      for (let end = 0; end < text.length; end += 1 + Math.floor(draw() * 400)) stream.update(text.slice(0, end));
      expect(blocks(stream, text)).toEqual(whole);
    }
  });

  it.each(LONG.map((text, index) => [index, text] as const))('lose nothing of it: %i', (_, text) => {
    const words = (each: string) => each.replace(/\s+/g, '');
    expect(words(blocks(new BlockStream(), text).join(''))).toBe(words(text));
  });

  it('are never much longer than the longest allowed, where they can be cut', () => {
    for (const text of LONG.slice(2, 4)) for (const block of blocks(new BlockStream(), text)) expect(block.length).toBeLessThan(6200);
  });

  it('begin anew with another text', () => {
    const stream = new BlockStream();
    stream.update('one\n\ntwo\n\nthree\n\nfour');
    expect(blocks(stream, 'other')).toEqual(['other']);
  });
});

describe('a view', () => {
  it('renders anew only what is still open', () => {
    const host = document.createElement('div');
    const view = new MarkdownView(host);
    view.update('one\n\ntwo\n\nthree\n\nfo', true);
    const before = [...host.children].map((block) => block.firstChild);
    view.update('one\n\ntwo\n\nthree\n\nfour', true);
    const after = [...host.children].map((block) => block.firstChild);
    expect(after.slice(0, 3)).toEqual(before.slice(0, 3));
    expect(after[3]).not.toBe(before[3]);
    expect(host.textContent).toContain('four');
  });

  it('lets open code grow in place, and colours it when its fence closes', () => {
    const host = document.createElement('div');
    const view = new MarkdownView(host);
    view.update('```js\nconst a', true);
    const node = host.querySelector('code')?.firstChild;
    view.update('```js\nconst a = 1;\n', true);
    expect(host.querySelector('code')?.firstChild).toBe(node);
    expect(node?.textContent).toBe('const a = 1;\n');
    view.update('```js\nconst a = 1;\n```', true);
    expect(host.querySelector('pre')?.textContent).toBe('const a = 1;');
  });

  it('ends as one that saw the text at once', () => {
    const [slow, quick] = [document.createElement('div'), document.createElement('div')];
    const view = new MarkdownView(slow);
    for (let end = 0; end < ANSWER.length; end += 3) view.update(ANSWER.slice(0, end), true);
    view.update(ANSWER, false);
    new MarkdownView(quick).update(ANSWER, false);
    expect(slow.innerHTML).toBe(quick.innerHTML);
  });

  it('shows less when the text is another', () => {
    const host = document.createElement('div');
    const view = new MarkdownView(host);
    view.update('one\n\ntwo\n\nthree\n\nfour', false);
    view.update('other', false);
    expect(host.textContent?.trim()).toBe('other');
  });
});
