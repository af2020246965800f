/**
 * What MathML leaves to whoever writes it, and KaTeX leaves out of its own: letters of other alphabets as the characters
 * that they are, for browsers know no `mathvariant` any more; and the spaces of TeX, none within indices and a thin one
 * beside the name of a function.
 */

/** Where an alphabet begins in Unicode: at its capitals, its small letters, its digits. */
type Alphabet = readonly [capitals: number, small: number, digits: number | null];

const ALPHABETS: Record<string, Alphabet> = {
  bold: [0x1d400, 0x1d41a, 0x1d7ce],
  italic: [0x1d434, 0x1d44e, null],
  'bold-italic': [0x1d468, 0x1d482, null],
  script: [0x1d49c, 0x1d4b6, null],
  'bold-script': [0x1d4d0, 0x1d4ea, null],
  fraktur: [0x1d504, 0x1d51e, null],
  'double-struck': [0x1d538, 0x1d552, 0x1d7d8],
  'bold-fraktur': [0x1d56c, 0x1d586, null],
  'sans-serif': [0x1d5a0, 0x1d5ba, 0x1d7e2],
  'bold-sans-serif': [0x1d5d4, 0x1d5ee, 0x1d7ec],
  'sans-serif-italic': [0x1d608, 0x1d622, null],
  'sans-serif-bold-italic': [0x1d63c, 0x1d656, null],
  monospace: [0x1d670, 0x1d68a, 0x1d7f6],
};

/** Greek letters: capitals from Α, small ones from α to ω. */
const GREEK: Record<string, readonly [capitals: number, small: number]> = {
  bold: [0x1d6a8, 0x1d6c2],
  'bold-italic': [0x1d71c, 0x1d736],
};

/** Letters that Unicode had before it took in whole alphabets. */
const ELSEWHERE: Record<string, string> = {
  italic: 'h\u210e',
  script: 'B\u212cE\u2130F\u2131H\u210bI\u2110L\u2112M\u2133R\u211be\u212fg\u210ao\u2134',
  fraktur: 'C\u212dH\u210cI\u2111R\u211cZ\u2128',
  'double-struck': 'C\u2102H\u210dN\u2115P\u2119Q\u211aR\u211dZ\u2124',
};

/** `character` of the alphabet `variant`; `null` where that has none. */
export function letter(character: string, variant: string): string | null {
  const elsewhere = ELSEWHERE[variant] ?? '';
  const at = elsewhere.indexOf(character);
  if (at >= 0 && at % 2 === 0) return elsewhere.charAt(at + 1);
  const alphabet = ALPHABETS[variant];
  const code = character.codePointAt(0);
  if (!alphabet || code === undefined) return null;
  const [capitals, small, digits] = alphabet;
  if (/^[A-Z]$/.test(character)) return String.fromCodePoint(capitals + code - 0x41);
  if (/^[a-z]$/.test(character)) return String.fromCodePoint(small + code - 0x61);
  if (/^[0-9]$/.test(character)) return digits === null ? null : String.fromCodePoint(digits + code - 0x30);
  const greek = GREEK[variant];
  if (greek && /^[Α-ΡΣ-Ω]$/.test(character)) return String.fromCodePoint(greek[0] + code - 0x391);
  if (greek && /^[α-ω]$/.test(character)) return String.fromCodePoint(greek[1] + code - 0x3b1);
  return null;
}

/** Mends the formulas below `root`. They were sanitised before. */
export function mendFormulas(root: ParentNode): void {
  for (const formula of root.querySelectorAll('math')) mend(formula);
}

function mend(root: Element): void {
  for (const element of root.querySelectorAll('[mathvariant]')) {
    const variant = element.getAttribute('mathvariant') ?? '';
    const letters = [...(element.textContent ?? '')].map((character) => letter(character, variant));
    if (letters.length === 0 || letters.includes(null)) continue;
    element.textContent = letters.join('');
    element.removeAttribute('mathvariant');
  }
  for (const raised of root.querySelectorAll('msub > *, msup > *, msubsup > *, munder > *, mover > *, munderover > *')) {
    if (raised === raised.parentElement?.firstElementChild) continue;
    for (const sign of raised.localName === 'mo' ? [raised] : raised.querySelectorAll('mo')) {
      sign.setAttribute('lspace', '0');
      sign.setAttribute('rspace', '0');
    }
  }
  for (const sign of root.querySelectorAll('mo')) if (sign.textContent === APPLICATION) space(sign);
}

/** What stands, unseen, between the name of a function and what it is applied to. */
const APPLICATION = '\u2061';
const THIN = '0.1667em';

/** Thin spaces beside the name of a function, but none before a bracket or beside a sign, which has its own. */
function space(application: Element): void {
  const name = application.previousElementSibling;
  const [before, after] = [name?.previousElementSibling, application.nextElementSibling];
  application.setAttribute('lspace', '0');
  application.setAttribute('rspace', after && !sign(after) ? THIN : '0');
  if (!name || !before || sign(before) || before.localName === 'mspace') return;
  const gap = document.createElementNS(name.namespaceURI, 'mspace');
  gap.setAttribute('width', THIN);
  name.before(gap);
}

/** Whether an element is an operator, or begins with one: a bracket, a sum with its bounds. */
function sign(element: Element): boolean {
  for (let at: Element | null = element; at; at = at.firstElementChild) if (at.localName === 'mo') return true;
  return false;
}
