import { describe, expect, it } from 'vitest';

import type { Message, Part } from '../src/lib/api';
import { FrameBatch } from '../src/lib/chat/frames';
import { append, shown } from '../src/lib/chat/parts';
import { plain, Sentences } from '../src/lib/chat/sentences';
import { clamp, slides } from '../src/lib/chat/settings';
import { alternative, lastFork, messagesOf, place, textOf, treeOf, withMessage } from '../src/lib/chat/tree';

const text = (words: string): Part => ({ type: 'text', text: words });

function message(id: number, parent: number | null, siblings = [id], role: Message['role'] = 'user'): Message {
  return { id, parent, role, parts: [text(`message ${String(id)}`)], created_at: 0, siblings, state: 'whole', answer: null };
}

describe('a tree', () => {
  // 1 ─ 2 ─ 3 and 1 ─ 4, two answers to the same question.
  const tree = treeOf([message(1, null), message(2, 1, [2, 4]), message(3, 2), message(4, 1, [2, 4])]);

  it('is read along a path', () => {
    expect(messagesOf(tree, [1, 2, 3]).map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(messagesOf(tree, [1, 9]).map(({ id }) => id)).toEqual([1]);
  });

  it('says which alternative one reads, and which are beside it', () => {
    const four = message(4, 1, [2, 4]);
    expect(place(four)).toEqual({ index: 2, count: 2 });
    expect(alternative(four, -1)).toBe(2);
    expect(alternative(four, 1)).toBeNull();
    expect(alternative(message(2, 1, [2, 4]), -1)).toBeNull();
  });

  it('finds the last place where one can turn', () => {
    expect(lastFork(tree, [1, 2, 3])?.id).toBe(2);
    expect(lastFork(tree, [1])).toBeNull();
  });

  it('tells alternatives of a new one, and leaves the old tree as it was', () => {
    const grown = withMessage(tree, message(5, 1, [2, 4, 5]));
    expect(grown.get(2)?.siblings).toEqual([2, 4, 5]);
    expect(tree.get(2)?.siblings).toEqual([2, 4]);
    expect(tree.has(5)).toBe(false);
  });

  it('gives the words of a message without its calls', () => {
    expect(
      textOf({ ...message(1, null), parts: [text('a'), { type: 'python', text: '1+1' }, { type: 'python_output', text: '2' }, text('b')] }),
    ).toBe('ab');
  });
});

describe('parts', () => {
  it('grow by text and begin with anything else', () => {
    const first = [text('a')];
    expect(append(first, [text('b'), { type: 'python', text: '1+1' }, text('c'), text('d')])).toEqual([
      text('ab'),
      { type: 'python', text: '1+1' },
      text('cd'),
    ]);
    expect(first).toEqual([text('a')]);
  });

  it('show a call with its result, and one without', () => {
    expect(
      shown([{ type: 'python', text: '1+1' }, { type: 'python_output', text: '2' }, { type: 'python', text: '1/0' }, text('x')]),
    ).toEqual([{ type: 'tool', expression: '1+1', result: '2' }, { type: 'tool', expression: '1/0', result: null }, text('x')]);
  });
});

describe('a batch', () => {
  it('is handed over once a frame, in order', () => {
    const frames: (() => void)[] = [];
    const seen: number[][] = [];
    const batch = new FrameBatch<number>(
      (items) => seen.push(items),
      (flush) => frames.push(flush),
    );
    [1, 2, 3].forEach((item) => batch.push(item));
    expect(frames.length).toBe(1);
    expect(seen).toEqual([]);
    frames[0]?.();
    expect(seen).toEqual([[1, 2, 3]]);
    batch.push(4);
    expect(frames.length).toBe(2);
    frames[1]?.();
    expect(seen).toEqual([[1, 2, 3], [4]]);
  });

  it('may be asked for early', () => {
    const seen: number[][] = [];
    const batch = new FrameBatch<number>(
      (items) => seen.push(items),
      () => undefined,
    );
    batch.push(1);
    batch.flush();
    batch.flush();
    expect(seen).toEqual([[1]]);
  });
});

describe('sentences', () => {
  it('are said when they are whole, once, and the rest at the end', () => {
    const sentences = new Sentences();
    expect(sentences.take('It rains', false)).toBe('');
    expect(sentences.take('It rains. The str', false)).toBe('It rains.');
    expect(sentences.take('It rains. The street is wet', false)).toBe('');
    expect(sentences.take('It rains. The street is wet', true)).toBe('The street is wet');
  });

  it('are not broken by decimals', () => {
    expect(new Sentences().take('It is 3.14 or so', false)).toBe('');
  });

  it('are said without the marks of Markdown', () => {
    expect(plain('## A **bold** `word`\n\n- one\n```js\nlet x\n```')).toBe('A bold word one let x');
  });
});

describe('settings', () => {
  const whole = { min: 1, max: 10, default: 5, step: 1, whole: true };

  it('stay within their limits', () => {
    expect(clamp(99, whole)).toBe(10);
    expect(clamp(-1, whole)).toBe(1);
    expect(clamp(4.6, whole)).toBe(5);
    expect(clamp(Number.NaN, whole)).toBeNull();
    expect(clamp(0.333, { ...whole, min: 0, max: 1, whole: false })).toBe(0.333);
  });

  it('have a slider only where that is of use', () => {
    expect(slides(whole)).toBe(true);
    expect(slides({ ...whole, max: 100_000 })).toBe(false);
  });
});
