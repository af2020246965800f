import { beforeAll, describe, expect, it, vi } from 'vitest';

import { loadHighlighter } from '../src/lib/markdown/highlight';
import { loadMath } from '../src/lib/markdown/math';
import { copiedBy, renderBlock } from '../src/lib/markdown/render';
import { sanitize } from '../src/lib/markdown/sanitize';
import { MarkdownView } from '../src/lib/markdown/view';

import { HOSTILE } from './hostile';

const ELEMENTS =
  /^(blockquote|br|button|code|del|div|em|h[1-6]|hr|li|ol|p|pre|span|strong|table|tbody|td|th|thead|tr|ul|math|menclose|mfrac|mi|mn|mo|mover|mpadded|mphantom|mroot|mrow|mspace|msqrt|mstyle|msub|msubsup|msup|mtable|mtd|mtext|mtr|munder|munderover|semantics)$/;
const DANGEROUS =
  /^(on|href|src|srcset|style|id|name|action|formaction|data|poster|background|ping|target|xlink|xmlns:|is|slot|part|popover|autofocus|contenteditable)/;
const CLASSES = /^(hljs|md|katex|language)[\w-]*$|^(function|class|inherited|escape|constant|invoke|self|this)_+$/;

const pwn = vi.fn();

beforeAll(async () => {
  Object.assign(window, { pwn });
  await Promise.all([loadHighlighter(), loadMath()]);
});

/** Fails if anything below `root` could do something. */
function expectInert(root: ParentNode): void {
  for (const element of root.querySelectorAll('*')) {
    const name = element.localName;
    expect(name).toMatch(ELEMENTS);
    if (name === 'button') expect(element.className).toBe('md-copy');
    for (const attribute of element.attributes) {
      expect(`${name} ${attribute.name}`).not.toMatch(new RegExp(` ${DANGEROUS.source.slice(1)}`));
      expect(attribute.value).not.toMatch(/javascript:|evil\.example|pwn\(/i);
    }
    for (const each of element.classList) expect(each).toMatch(CLASSES);
  }
}

function show(source: string): HTMLElement {
  const host = document.createElement('div');
  document.body.replaceChildren(host);
  host.append(renderBlock(source));
  return host;
}

describe('hostile text', () => {
  it('comes in at least two hundred kinds', () => {
    expect(new Set(HOSTILE).size).toBeGreaterThanOrEqual(200);
  });

  it.each(HOSTILE)('is inert: %j', (source) => {
    expectInert(show(source));
    expect(pwn).not.toHaveBeenCalled();
  });

  // Character by character is what the end-to-end tests do: a browser is a hundred times quicker at it than jsdom.
  it.each(HOSTILE)('is inert while it is written: %j', (source) => {
    const host = document.createElement('div');
    document.body.replaceChildren(host);
    const view = new MarkdownView(host);
    view.update(source.slice(0, Math.ceil(source.length * 0.6)), true);
    expectInert(host);
    view.update(source, false);
    expectInert(host);
    expect(pwn).not.toHaveBeenCalled();
  });

  it.each(HOSTILE)('does not pass the last gate even as markup: %j', (source) => {
    const host = document.createElement('div');
    document.body.replaceChildren(host);
    host.append(sanitize(source));
    expectInert(host);
    expect(host.querySelector('button')).toBeNull();
    expect(pwn).not.toHaveBeenCalled();
  });
});

describe('Markdown', () => {
  it('shows HTML as it is written', () => {
    expect(show('a <b>bold</b> word').textContent).toBe('a <b>bold</b> word\n');
  });

  it('shows a link as words and address, with something to copy and nothing to follow', () => {
    const host = show('see [the reference](https://github.com/karpathy/nanochat).');
    expect(host.querySelector('a')).toBeNull();
    expect(host.querySelector('.md-link-words')?.textContent).toBe('the reference');
    const button = host.querySelector('.md-copy');
    expect(button && copiedBy(button)).toBe('https://github.com/karpathy/nanochat');
  });

  it('shows an address alone once', () => {
    expect(show('https://example.org').querySelector('.md-link-words')).toBeNull();
  });

  it('colours code by classes, and copies it as it was', () => {
    const host = show('```python\nprint("a < b")\n```');
    expect(host.querySelector('.hljs-string')?.textContent).toBe('"a < b"');
    const button = host.querySelector('.md-code .md-copy');
    expect(button && copiedBy(button)).toBe('print("a < b")');
  });

  it('colours the lines of growing code as they end', () => {
    const host = document.createElement('div');
    const view = new MarkdownView(host);
    view.update('```python\nprint("a")', true);
    expect(host.querySelector('.hljs-string')).toBeNull();
    view.update('```python\nprint("a")\nx = "b', true);
    expect([...host.querySelectorAll('.hljs-string')].map((each) => each.textContent)).toEqual(['"a"']);
    expect(host.querySelector('code')?.textContent).toBe('print("a")\nx = "b');
    view.update('```python\nprint("a")\nx = "b"\ny', true);
    expect([...host.querySelectorAll('.hljs-string')].map((each) => each.textContent)).toEqual(['"a"', '"b"']);
    expect(host.querySelector('code')?.textContent).toBe('print("a")\nx = "b"\ny');
    const button = host.querySelector('.md-copy');
    expect(button && copiedBy(button)).toBe('print("a")\nx = "b"\ny');
  });

  it('shows tables with their alignment', () => {
    const host = show('| a | b |\n|--:|:-:|\n| 1 | 2 |');
    expect([...host.querySelectorAll('td')].map((cell) => cell.className)).toEqual(['md-right', 'md-center']);
  });

  it.each(['$x^2$', '\\(x^2\\)', '$$x^2$$', '\\[x^2\\]', 'a\n\n$$\nx^2\n$$'])('shows mathematics: %j', (source) => {
    const host = show(source);
    expect(host.querySelector('msup')).not.toBeNull();
    expect(host.querySelector('annotation')).toBeNull();
  });

  it.each(['It costs $5 and $6.', 'a $ b $ c', '\\$x\\$'])('knows money from mathematics: %j', (source) => {
    expect(show(source).querySelector('math')).toBeNull();
  });

  it.each([
    ['$\\mathcal{L}$', '\u2112'],
    ['$\\mathbb{R}$', '\u211d'],
    ['$\\mathbf{x}$', '\u{1d431}'],
    ['$\\boldsymbol{\\theta}$', '\u{1d73d}'],
    ['$\\mathfrak{g}$', '\u{1d524}'],
  ])('shows letters of other alphabets: %j', (source, character) => {
    const host = show(source);
    expect(host.querySelector('math')?.textContent).toBe(character);
    expect(host.querySelector('[mathvariant]')).toBeNull();
  });

  it('leaves an upright letter upright', () => {
    expect(show('$\\mathrm{d}x$').querySelector('mi')?.getAttribute('mathvariant')).toBe('normal');
  });

  it('sets formulas with the spaces of TeX', () => {
    const spaces = (host: HTMLElement) =>
      [...host.querySelectorAll('mo')].map((sign) => `${sign.textContent}${sign.getAttribute('rspace') ?? ''}`);
    expect(spaces(show('$x_{<t}$'))).toEqual(['<0']);
    expect(spaces(show('$\\log p$'))).toEqual(['\u20610.1667em']);
    expect(spaces(show('$\\log(p)$'))[0]).toBe('\u20610');
    expect(show('$y\\log p$').querySelectorAll('mspace')).toHaveLength(1);
    expect(show('$-\\log p$').querySelector('mspace')).toBeNull();
  });

  it('shows a formula that is none as it is written', () => {
    expect(show('$\\frac{1$').textContent).toContain('\\frac{1');
  });
});
