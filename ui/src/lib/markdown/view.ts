/** Markdown in the page that may still grow: each block is an element, and only open ones are rendered anew. */

import { BlockStream } from './blocks';
import { colour, openCode, renderBlock } from './render';

interface Shown {
  raw: string;
  element: HTMLElement;
  /** The growing text where the block is code without its end. */
  code: { text: Text; shown: number; coloured: number } | null;
}

/** Characters of growing code up to which its lines are coloured as they end: all of them anew each time. */
const COLOURED = 6_000;

/** First line of a fence, as far as it is written. */
const FENCE = /^ {0,3}(`{3,}|~{3,})([^\n`]*)\n/;

export class MarkdownView {
  #stream = new BlockStream();
  #blocks: Shown[] = [];
  /** Blocks at the front that are rendered for good. */
  #final = 0;

  constructor(private readonly container: HTMLElement) {}

  /** Shows `text`. While it is `live` more of it is to come, and code is coloured line by line. */
  update(text: string, live: boolean): void {
    const open = this.#stream.update(text);
    const { settled } = this.#stream;
    if (this.#final > settled.length) this.#final = 0;
    const total = settled.length + open.length;
    for (let index = this.#final; index < total; index += 1) {
      const raw = settled[index] ?? open[index - settled.length] ?? '';
      this.#show(index, raw, live && index === total - 1);
    }
    for (const { element } of this.#blocks.splice(total)) element.remove();
    this.#final = settled.length;
  }

  /** Renders everything anew: the language changed, or a renderer was loaded. */
  refresh(): void {
    for (const block of this.#blocks) {
      block.code = null;
      block.element.replaceChildren(renderBlock(block.raw));
    }
  }

  #show(index: number, raw: string, live: boolean): void {
    let block = this.#blocks[index];
    const fence = live ? unclosedFence(raw) : null;
    if (block && block.raw === raw && (fence !== null) === (block.code !== null)) return;
    if (!block) {
      block = { raw: '', element: document.createElement('div'), code: null };
      block.element.className = 'md-block';
      this.container.append(block.element);
      this.#blocks.push(block);
    }
    if (fence) grow(block, raw, fence);
    else {
      block.code = null;
      block.element.replaceChildren(renderBlock(raw));
    }
    block.raw = raw;
  }
}

interface Fence {
  name: string;
  /** Where the code begins. */
  start: number;
}

/** The opening of a fenced block that does not end with its closing fence. */
function unclosedFence(raw: string): Fence | null {
  const match = FENCE.exec(raw);
  if (!match) return null;
  const lastLine = raw
    .trimEnd()
    .slice(raw.trimEnd().lastIndexOf('\n') + 1)
    .trim();
  const closed = raw.trimEnd().length > match[0].length && lastLine.startsWith(match[1] ?? '```') && /^(?:`+|~+)$/.test(lastLine);
  return closed ? null : { name: match[2]?.trim().split(/\s+/)[0] ?? '', start: match[0].length };
}

/** Appends to a block of code what is new, and colours the lines that have ended. */
function grow(block: Shown, raw: string, fence: Fence): void {
  if (!block.code || !raw.startsWith(block.raw)) {
    const { frame, text } = openCode(fence.name);
    block.element.replaceChildren(frame);
    block.code = { text, shown: fence.start, coloured: fence.start };
  }
  const { code } = block;
  code.text.appendData(raw.slice(code.shown));
  code.shown = raw.length;
  const end = raw.lastIndexOf('\n') + 1;
  if (end <= code.coloured || end - fence.start > COLOURED) return;
  const lines = colour(raw.slice(fence.start, end), fence.name);
  if (!lines) return;
  code.coloured = end;
  const rest = document.createTextNode(raw.slice(end));
  code.text.parentElement?.replaceChildren(lines, rest);
  code.text = rest;
}
