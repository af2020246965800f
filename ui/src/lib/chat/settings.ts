/** The numbers that decide how an answer is drawn, in the order in which they are shown. */

import type { ChatNumber, ChatSettings, Limits, Range } from '../api';

export const NUMBERS = [
  'temperature',
  'top_k',
  'top_p',
  'min_p',
  'repetition_penalty',
  'max_tokens',
  'seed',
] as const satisfies readonly ChatNumber[];

/** `value` as `range` allows it; `null` where it is no number. */
export function clamp(value: number, range: Range): number | null {
  if (!Number.isFinite(value)) return null;
  const within = Math.min(range.max, Math.max(range.min, value));
  return range.whole ? Math.round(within) : within;
}

/** Whether a slider is of use: not over a range of which most is never wanted. */
export function slides(range: Range): boolean {
  return (range.max - range.min) / range.step <= 200;
}

/** Settings as they come with the app. */
export function fresh(limits: Limits): ChatSettings {
  const { temperature, top_k, top_p, min_p, repetition_penalty, max_tokens } = limits.chat;
  return {
    system_prompt: '',
    temperature: temperature.default,
    top_k: top_k.default,
    top_p: top_p.default,
    min_p: min_p.default,
    repetition_penalty: repetition_penalty.default,
    seed: null,
    max_tokens: max_tokens.default,
  };
}
