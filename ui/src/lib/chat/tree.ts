/** A conversation as a tree: every alternative is kept, and a path through it is what one reads. */

import type { Message } from '../api';

export type Tree = ReadonlyMap<number, Message>;

/** The tree of `messages`. */
export function treeOf(messages: readonly Message[]): Tree {
  return new Map(messages.map((message) => [message.id, message]));
}

/** `tree` with `message` added or replaced, its siblings told of it. */
export function withMessage(tree: Tree, message: Message): Tree {
  const next = new Map(tree);
  next.set(message.id, message);
  for (const id of message.siblings) {
    const sibling = next.get(id);
    if (sibling && sibling.siblings.length !== message.siblings.length) next.set(id, { ...sibling, siblings: message.siblings });
  }
  return next;
}

/** The messages of `path`, first to last; those that the tree lacks are left out. */
export function messagesOf(tree: Tree, path: readonly number[]): Message[] {
  return path.map((id) => tree.get(id)).filter((message) => message !== undefined);
}

/** Where a message stands among its alternatives, counted from 1. */
export function place(message: Message): { index: number; count: number } {
  return { index: message.siblings.indexOf(message.id) + 1, count: message.siblings.length };
}

/** The alternative that is `steps` further on; `null` past either end. */
export function alternative(message: Message, steps: number): number | null {
  return message.siblings[message.siblings.indexOf(message.id) + steps] ?? null;
}

/** The last message of `path` that has alternatives, for walking by keyboard. */
export function lastFork(tree: Tree, path: readonly number[]): Message | null {
  return messagesOf(tree, path).findLast((message) => message.siblings.length > 1) ?? null;
}

/** What a message says, without its tool calls. */
export function textOf(message: Message): string {
  return message.parts
    .filter((part) => part.type === 'text')
    .map((part) => part.text)
    .join('');
}
