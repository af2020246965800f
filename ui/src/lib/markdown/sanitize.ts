/**
 * The last gate before model text reaches the page: only the elements that `parser.ts` makes, only the attributes that
 * they need, classes only from our own vocabulary. No address of any kind survives, so nothing can be loaded or followed.
 */

import DOMPurify, { type Config } from 'dompurify';

const HTML = [
  'blockquote',
  'br',
  'code',
  'del',
  'div',
  'em',
  'h1',
  'h2',
  'h3',
  'h4',
  'h5',
  'h6',
  'hr',
  'li',
  'ol',
  'p',
  'pre',
  'span',
  'strong',
  'table',
  'tbody',
  'td',
  'th',
  'thead',
  'tr',
  'ul',
];

const MATHML = [
  'math',
  'menclose',
  'mfrac',
  'mi',
  'mn',
  'mo',
  'mover',
  'mpadded',
  'mphantom',
  'mroot',
  'mrow',
  'mspace',
  'msqrt',
  'mstyle',
  'msub',
  'msubsup',
  'msup',
  'mtable',
  'mtd',
  'mtext',
  'mtr',
  'munder',
  'munderover',
  'semantics',
];

const ATTRIBUTES = [
  'class',
  'start',
  'accent',
  'accentunder',
  'columnalign',
  'columnspacing',
  'display',
  'displaystyle',
  'fence',
  'height',
  'linethickness',
  'lspace',
  'mathvariant',
  'maxsize',
  'minsize',
  'notation',
  'rowspacing',
  'rspace',
  'scriptlevel',
  'separator',
  'stretchy',
  'voffset',
  'width',
];

const CONFIG: Config & { RETURN_DOM_FRAGMENT: true } = {
  ALLOWED_TAGS: [...HTML, ...MATHML, '#text'],
  ALLOWED_ATTR: ATTRIBUTES,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  // KaTeX repeats the source of a formula there.
  ADD_FORBID_CONTENTS: ['annotation'],
  RETURN_DOM_FRAGMENT: true,
};

/** Classes of the parser and of the highlighter. */
const CLASS = /^(?:(?:hljs|md|katex)[\w-]*_?|language-[\w-]+|function_|class_|inherited__|escape_|constant_|invoke__|self_|this_)$/;

DOMPurify.addHook('uponSanitizeAttribute', (_node, data) => {
  if (data.attrName === 'class') data.keepAttr = data.attrValue.split(/\s+/).every((name) => CLASS.test(name));
});

/** `html` as nodes that cannot do anything. */
export function sanitize(html: string): DocumentFragment {
  return DOMPurify.sanitize(html, CONFIG);
}
