/** Colours for code, by class names only. */

import type { HLJSApi } from 'highlight.js';

let hljs: HLJSApi | undefined;

/** Loads the highlighter and the languages it knows, once. Until then code is plain. */
export async function loadHighlighter(): Promise<void> {
  hljs ??= (await import('./languages')).hljs;
}

/** Characters of the longest code that is highlighted. */
const LONGEST = 30_000;

/** The language that an info string like `python title=x` names, if it is known. */
export function languageOf(info: string | undefined): string | undefined {
  const name = info
    ?.trim()
    .split(/[\s{:,]/)[0]
    ?.toLowerCase();
  return name && hljs?.getLanguage(name) ? name : undefined;
}

/** `code` as HTML with classes; `undefined` where it stays plain. */
export function highlight(code: string, language: string | undefined): string | undefined {
  if (!hljs || !language || code.length > LONGEST) return undefined;
  return hljs.highlight(code, { language, ignoreIllegals: true }).value;
}
