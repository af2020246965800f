/** Streamed text as whole sentences, for people who hear it: word by word a screen reader would stumble over itself. */

const END = /[.!?…:](?=["')\]”’]*\s)["')\]”’]*\s+|\n+/g;

export class Sentences {
  #said = 0;

  /** The sentences of `text` that are whole and were not given yet, as plain words. */
  take(text: string, ended: boolean): string {
    let end = this.#said;
    if (ended) end = text.length;
    else for (const match of text.slice(this.#said).matchAll(END)) end = this.#said + match.index + match[0].length;
    const sentences = text.slice(this.#said, end);
    this.#said = end;
    return plain(sentences);
  }
}

/** Markdown without its marks. */
export function plain(markdown: string): string {
  return markdown
    .replace(/^ {0,3}(?:`{3,}|~{3,}).*$/gm, '')
    .replace(/^ {0,3}(?:#{1,6}|>|[-*+]) +/gm, '')
    .replace(/[*_`|]+/g, ' ')
    .replace(/\s+/g, ' ')
    .trim();
}
