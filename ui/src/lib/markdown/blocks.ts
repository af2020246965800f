/**
 * Cuts Markdown that is still being written into blocks, so that only its end is rendered anew.
 *
 * Text only grows at its end, and all but its last two blocks cannot change any more (two, since a paragraph that says
 * "2" may yet become the next item of the list above). Blocks that grow without end are cut, or each new word would cost
 * more than the last. Where blocks begin depends on the text alone, not on the pieces it came in.
 */

import { Lexer, type Token, type Tokens } from 'marked';

import { markdown } from './parser';

/** Characters after which a paragraph or a list is cut. */
const LONG = 6000;

export class BlockStream {
  #text = '';
  /** Where the open blocks begin. */
  #open = 0;
  #settled: string[] = [];

  /** Blocks that change no more. */
  get settled(): readonly string[] {
    return this.#settled;
  }

  /**
   * Takes the whole text as it is now, and gives its open blocks.
   *
   * A text that does not continue the last one begins anew.
   */
  update(text: string): string[] {
    const source = text.replaceAll('\r', '');
    if (!source.startsWith(this.#text)) {
      this.#open = 0;
      this.#settled = [];
    }
    this.#text = source;
    for (;;) {
      const tokens = blockTokens(source.slice(this.#open));
      const cut = this.#settleLong(tokens);
      if (!cut) return this.#settle(tokens);
    }
  }

  /** Settles everything up to the first block that is too long, and that block's first part. */
  #settleLong(tokens: Token[]): boolean {
    const index = tokens.findIndex((token) => longPart(token) !== null);
    const long = tokens[index];
    if (!long) return false;
    for (const token of tokens.slice(0, index)) this.#take(token);
    const part = longPart(long) ?? long.raw;
    this.#settled.push(part);
    this.#open += part.length;
    // A cut paragraph goes on with a word, not with spaces that would mean something.
    const rest = this.#text.slice(this.#open);
    if (long.type === 'paragraph') this.#open += rest.length - rest.replace(/^[ \t]+/, '').length;
    return true;
  }

  /** Settles all but the last two blocks. */
  #settle(tokens: Token[]): string[] {
    const blocks = tokens.filter((token) => token.type !== 'space');
    const open = blocks.slice(-2);
    for (const token of tokens) {
      if (token === open[0]) break;
      this.#take(token);
    }
    return open.map((token) => token.raw);
  }

  #take(token: Token): void {
    if (token.type !== 'space') this.#settled.push(token.raw);
    this.#open += token.raw.length;
  }
}

function blockTokens(source: string): Token[] {
  return new Lexer(markdown.defaults).blockTokens(source);
}

/** The first part of a block that is too long, where it can be cut. */
function longPart(token: Token): string | null {
  if (token.raw.length <= LONG) return null;
  if (token.type === 'paragraph') {
    const space = token.raw.slice(LONG).search(/\s\S/);
    return space < 0 ? null : token.raw.slice(0, LONG + space + 1);
  }
  if (token.type === 'list') {
    let end = 0;
    const { items } = token as Tokens.List;
    for (const item of items.slice(0, -1)) {
      end += item.raw.length;
      if (end > LONG) return token.raw.slice(0, end);
    }
  }
  return null;
}
