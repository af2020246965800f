/** Promises that are kept by what the source does not say. */

import { describe, expect, it } from 'vitest';

import { lines } from '../src/lib/train/curves';
import { goodName } from '../src/lib/models/imports.svelte';
import { matches } from '../src/lib/actions/match';

const sources = import.meta.glob<string>('../src/**/*.{ts,svelte,html}', { query: '?raw', import: 'default', eager: true });

describe.each(Object.entries(sources))('%s', (_, source) => {
  it.each([
    ['puts strings into the page as markup', /\{@html|innerHTML|outerHTML|insertAdjacentHTML|document\.write/],
    ['runs strings', /\beval\(|new Function\(|set(?:Timeout|Interval)\(['"`]/],
    ['asks a network', /\bfetch\(|XMLHttpRequest|WebSocket|EventSource|sendBeacon|https?:\/\//],
    ['keeps things where the app does not know of them', /localStorage|sessionStorage|indexedDB|document\.cookie/],
    ['logs', /console\.(?:log|info|debug|warn|error)/],
    ['writes style attributes, which the policy refuses', /<[a-z][^>]*\sstyle="/],
  ])('never %s', (_what, pattern) => expect(source).not.toMatch(pattern));
});

describe('curves', () => {
  it('share their steps, and have gaps where nothing was measured', () => {
    const point = (step: number) => ({
      step,
      loss: 2,
      smooth_loss: 3,
      bpb: 1,
      tokens: 1,
      tokens_per_second: 1,
      memory_bytes: 1,
      seconds: 1,
    });
    const drawn = lines(
      [point(1), point(2), point(4)],
      [
        { step: 2, bpb: 1.5 },
        { step: 3, bpb: 1.4 },
      ],
    );
    expect(drawn.steps).toEqual([1, 2, 3, 4]);
    expect(drawn.smooth).toEqual([3, 3, null, 3]);
    expect(drawn.validation).toEqual([null, 1.5, 1.4, null]);
  });
});

describe('names of models', () => {
  it.each(['a', 'my-model_2.1', 'X'.repeat(64)])('may be %s', (name) => expect(goodName(name, 64)).toBe(true));
  it.each(['', '.hidden', 'a b', '../up', 'ü', 'X'.repeat(65)])('may not be %j', (name) => expect(goodName(name, 64)).toBe(false));
});

describe('the palette', () => {
  it.each([
    ['', 'New conversation', true],
    ['new con', 'New conversation', true],
    ['con new', 'New conversation', true],
    ['uber', 'Über nanochat', true],
    ['xyz', 'New conversation', false],
  ])('finds %j in %j: %j', (query, label, found) => expect(matches(query, label)).toBe(found));
});
