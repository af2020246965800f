/** The parts of an answer: text, and tool calls with what they gave. */

import type { Part } from '../api';

/** A part as it is shown: a call and its result are one thing. */
export type Shown = { type: 'text'; text: string } | { type: 'tool'; expression: string; result: string | null };

/** `parts` with `more` appended: text continues text, everything else begins a part. */
export function append(parts: readonly Part[], more: readonly Part[]): Part[] {
  const joined = [...parts];
  for (const part of more) {
    const last = joined.at(-1);
    if (part.type === 'text' && last?.type === 'text') joined[joined.length - 1] = { type: 'text', text: last.text + part.text };
    else joined.push(part);
  }
  return joined;
}

/** `parts` as they are shown. */
export function shown(parts: readonly Part[]): Shown[] {
  const list: Shown[] = [];
  for (const part of parts) {
    const last = list.at(-1);
    if (part.type === 'text') list.push({ type: 'text', text: part.text });
    else if (part.type === 'python') list.push({ type: 'tool', expression: part.text, result: null });
    else if (last?.type === 'tool' && last.result === null) last.result = part.text;
    else list.push({ type: 'tool', expression: '', result: part.text });
  }
  return list;
}
