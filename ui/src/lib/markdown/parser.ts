/**
 * Markdown to HTML. Nothing that the text says becomes markup by itself: HTML in it is shown as it is written, a link is
 * words and an address, an image its description and address. What comes out is sanitised all the same (`sanitize.ts`).
 */

import { Marked, type RendererObject, type Tokens } from 'marked';

import { highlight, languageOf } from './highlight';
import { mathExtensions } from './math';

const renderer: RendererObject = {
  html({ text }) {
    return escape(text);
  },
  link({ href, text, tokens }) {
    return address(this.parser.parseInline(tokens), text, href);
  },
  image({ href, text }) {
    return address(escape(text), text, href);
  },
  code({ text, lang }: Tokens.Code) {
    const language = languageOf(lang);
    const name = (lang ?? '').trim().split(/\s+/)[0] ?? '';
    return codeBlock(name, `<code class="hljs">${highlight(text, language) ?? escape(text)}</code>`);
  },
  codespan({ text }) {
    return `<code>${escape(text)}</code>`;
  },
  table(token: Tokens.Table) {
    const cell = (tag: 'th' | 'td', { tokens, align }: Tokens.TableCell) =>
      `<${tag}${align ? ` class="md-${align}"` : ''}>${this.parser.parseInline(tokens)}</${tag}>`;
    const head = token.header.map((each) => cell('th', each)).join('');
    const rows = token.rows.map((row) => `<tr>${row.map((each) => cell('td', each)).join('')}</tr>`).join('');
    return `<div class="md-table"><table><thead><tr>${head}</tr></thead><tbody>${rows}</tbody></table></div>`;
  },
  checkbox({ checked }) {
    return `<span class="md-check">${checked ? '☑' : '☐'}</span> `;
  },
};

/** The parser, with its extensions. */
export const markdown = new Marked({ gfm: true, breaks: false, async: false, renderer, extensions: mathExtensions });

/** HTML of `source`, not to be shown before it is sanitised. */
export function toHtml(source: string): string {
  return markdown.parse(source, { async: false });
}

/** The frame of a block of code, around its `<code>` element. */
function codeBlock(name: string, code: string): string {
  return `<div class="md-code"><div class="md-code-head"><span>${escape(name)}</span></div><pre>${code}</pre></div>`;
}

/** A link as words and address. */
function address(words: string, plain: string, href: string): string {
  const shown = href.replace(/^mailto:/, '');
  const label = plain === href || plain === shown || words === '' ? '' : `<span class="md-link-words">${words}</span> `;
  return `<span class="md-link">${label}<code class="md-address">${escape(href)}</code></span>`;
}

const ENTITIES: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** `text` as HTML that shows it. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ENTITIES[character] ?? character);
}
