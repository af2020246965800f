/** Markdown to nodes that can be put into the page. */

import { t } from '../i18n/index.svelte';

import { mendFormulas } from './formulas';
import { highlight, languageOf } from './highlight';
import { toHtml } from './parser';
import { sanitize } from './sanitize';

/** Nodes of one block of Markdown, with the buttons that copy its code and addresses. */
export function renderBlock(source: string): DocumentFragment {
  const fragment = sanitize(toHtml(source));
  mendFormulas(fragment);
  for (const head of fragment.querySelectorAll('.md-code-head')) head.append(copyButton(t('copy.code')));
  for (const address of fragment.querySelectorAll('.md-link')) address.append(copyButton(t('copy.address')));
  for (const wide of fragment.querySelectorAll('pre, .md-table, .md-math')) wide.setAttribute('tabindex', '0');
  return fragment;
}

/** Lines of code as coloured nodes; `null` in a language that is not known, or before the highlighter is loaded. */
export function colour(code: string, info: string): DocumentFragment | null {
  const html = highlight(code, languageOf(info));
  return html === undefined ? null : sanitize(html);
}

/** The frame of a block of code that is still being written, and the text node that grows. */
export function openCode(name: string): { frame: HTMLElement; text: Text } {
  const frame = element('div', 'md-code');
  const head = element('div', 'md-code-head');
  const language = element('span', '');
  language.textContent = name;
  head.append(language, copyButton(t('copy.code')));
  const pre = element('pre', '');
  pre.tabIndex = 0;
  const code = element('code', 'hljs');
  const text = document.createTextNode('');
  code.append(text);
  pre.append(code);
  frame.append(head, pre);
  return { frame, text };
}

/** What a copy button copies: the code of its block, or the address of its link. */
export function copiedBy(button: Element): string | null {
  const frame = button.closest('.md-code, .md-link');
  return frame?.querySelector('pre > code, .md-address')?.textContent ?? null;
}

function copyButton(label: string): HTMLButtonElement {
  const button = document.createElement('button');
  button.type = 'button';
  button.className = 'md-copy';
  button.textContent = label;
  return button;
}

function element(tag: 'div' | 'span' | 'pre' | 'code', className: string): HTMLElement {
  const made = document.createElement(tag);
  if (className) made.className = className;
  return made;
}
