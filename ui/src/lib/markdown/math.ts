/** Mathematics in Markdown, `$…$`, `$$…$$`, `\(…\)` and `\[…\]`, as MathML. */

import type { TokenizerAndRendererExtension } from 'marked';

type Katex = typeof import('katex').default;
let katex: Katex | undefined;

/** Loads the renderer, once. Until then formulas are shown as they are written. */
export async function loadMath(): Promise<void> {
  katex ??= (await import('katex')).default;
}

const BLOCK = /^ {0,3}(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/;
// A dollar sign before a digit or after a space is money: "$5 and $6".
const INLINE = /^(?:\$\$([^\n$]+?)\$\$|\$(?!\s)((?:\\.|[^\\$\n])+?)(?<!\s)\$(?!\d)|\\\(([^\n]+?)\\\))/;

export const mathExtensions: TokenizerAndRendererExtension[] = [
  {
    name: 'mathBlock',
    level: 'block',
    start: (source) => source.match(/(?:^|\n) {0,3}(?:\$\$|\\\[)/)?.index,
    tokenizer(source) {
      const match = BLOCK.exec(source);
      const tex = match?.[1] ?? match?.[2];
      return match && tex?.trim() ? { type: 'mathBlock', raw: match[0], tex } : undefined;
    },
    renderer: (token) => `<div class="md-math">${toMathMl(String(token.tex), true, token.raw)}</div>`,
  },
  {
    name: 'mathInline',
    level: 'inline',
    start: (source) => source.match(/\$|\\\(/)?.index,
    tokenizer(source) {
      const match = INLINE.exec(source);
      const tex = match?.[1] ?? match?.[2] ?? match?.[3];
      return match && tex?.trim() ? { type: 'mathInline', raw: match[0], tex } : undefined;
    },
    renderer: (token) => toMathMl(String(token.tex), false, token.raw),
  },
];

function toMathMl(tex: string, display: boolean, raw: string): string {
  try {
    if (katex) {
      return katex.renderToString(tex, {
        output: 'mathml',
        displayMode: display,
        trust: false,
        strict: 'ignore',
        maxSize: 20,
        maxExpand: 200,
      });
    }
  } catch {
    // Not a formula, or one that is not whole yet: shown as it is written.
  }
  return `<code>${raw.trim().replace(/[&<>"]/g, (character) => `&#${String(character.charCodeAt(0))};`)}</code>`;
}
