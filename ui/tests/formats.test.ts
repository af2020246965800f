/** Why a model's weights are kept as they are, in words. */

import { beforeEach, describe, expect, it } from 'vitest';

import type { Fit, Format } from '../src/lib/api';
import { setLanguage } from '../src/lib/i18n/index.svelte';
import { chosen, formatName, why, type Kept } from '../src/lib/models/formats';

const ALL: Format[] = ['f32', 'bf16', 'f16', 'q8', 'q4'];

/** A model whose file has `precision`, with how each format from there on fits. */
function kept(precision: Format, weights: Format, fits: Fit[], choice: Format | null = null): Kept {
  const formats = ALL.slice(ALL.indexOf(precision)).map((format, index) => ({ format, memory_bytes: 1, fit: fits[index] ?? 'fits' }));
  return { precision, weights, weights_choice: choice, formats };
}

beforeEach(() => setLanguage('en'));

describe('the reason of a format', () => {
  it.each<[string, Kept]>([
    ['32 bits, as in its file.', kept('f32', 'f32', ['fits'])],
    ['32 bits, as in its file.', kept('f32', 'f32', ['unknown'])],
    ['8 bits, as in its file.', kept('q8', 'q8', ['fits'])],
    ['4 bits, as in its file.', kept('q4', 'q4', ['too_large'])],
    ['16 bits, because 32 bits would not fit.', kept('f32', 'bf16', ['too_large'])],
    ['8 bits, because 32 bits would not fit.', kept('f32', 'q8', ['too_large', 'tight', 'tight'])],
    ['8 bits, because 16 bits would take nearly all the memory.', kept('bf16', 'q8', ['tight', 'tight'])],
    ['4 bits, because more would not fit.', kept('f32', 'q4', ['too_large', 'too_large', 'too_large', 'too_large', 'tight'])],
    ['4 bits, because more would not fit.', kept('q8', 'q4', ['too_large', 'too_large'])],
    ['8 bits, because you chose so.', kept('f32', 'q8', ['fits'], 'q8')],
    ['32 bits, because you chose so.', kept('f32', 'f32', ['too_large'], 'f32')],
    ['16 bits, as in its file.', kept('bf16', 'bf16', ['fits'], 'f32')],
  ])('is: %s', (words, model) => expect(why(model)).toBe(words));

  it('is said in German too', () => {
    setLanguage('de');
    expect(why(kept('f32', 'q8', ['too_large', 'tight', 'tight']))).toBe('8 Bit, weil 32 Bit nicht passen würden.');
  });

  it('is no choice that the file has become too narrow for', () => {
    expect(chosen(kept('q8', 'q8', [], 'f32'))).toBe(null);
    expect(chosen(kept('f32', 'q8', [], 'q8'))).toBe('q8');
    expect(chosen({ precision: 'f32', weights: 'f32', formats: [] })).toBe(null);
  });

  it('names every format apart', () => expect(new Set(ALL.map(formatName)).size).toBe(5));
});
