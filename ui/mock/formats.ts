/** What the mock's models take in each format of weights, and which one fits its GPU. */

import type { Fit, Format, FormatFit, ModelInfo } from '../src/lib/api';

/** With the scales of blocks. Widest first. */
const BITS: Record<Format, number> = { f32: 32, bf16: 16, f16: 16, q8: 8.5, q4: 4.5 };
const ALL = Object.keys(BITS) as Format[];

export const GPU_BYTES = 8_573_000_000;

function fit(bytes: number): Fit {
  return bytes <= 0.7 * GPU_BYTES ? 'fits' : bytes <= 0.95 * GPU_BYTES ? 'tight' : 'too_large';
}

/** All that weights can be kept in which are `own` in their file, and `besides` is what else chatting takes. */
export function formats(own: Format, parameters: number, besides: number): FormatFit[] {
  return ALL.slice(ALL.indexOf(own)).map((format) => {
    const memory = Math.round((parameters * BITS[format]) / 8 + besides);
    return { format, memory_bytes: memory, fit: fit(memory) };
  });
}

type InMemory = Pick<ModelInfo, 'weights' | 'weights_choice' | 'memory_bytes' | 'fit' | 'formats'>;

/** What a model takes in the format that was chosen, or else in the widest that fits. */
export function inMemory(all: FormatFit[], choice: Format | null): InMemory {
  const tried = all.filter((each, index) => index === 0 || each.format !== 'f16');
  const used = all.find((each) => each.format === choice) ?? tried.find((each) => each.fit === 'fits') ?? tried.at(-1);
  if (!used) throw new Error('a model has a format');
  return { weights: used.format, weights_choice: choice, memory_bytes: used.memory_bytes, fit: used.fit, formats: all };
}
