/** Puts the mock backend where the page looks for the real one. Options come from `window.mockOptions`, if it is set. */

import { mockIPC } from '@tauri-apps/api/mocks';

import { backend, type Options } from './backend';

declare global {
  interface Window {
    mockOptions?: Options;
    /** For tests: calls the backend as the page would. */
    mockCall?: (name: string, args?: Record<string, unknown>) => Promise<unknown>;
    __TAURI_INTERNALS__: { runCallback: (id: number, data: unknown) => void };
  }
}

const counts = new Map<number, number>();

/** Events of a channel carry their number, by which the page puts them in order. */
function send(channel: unknown, message: unknown): void {
  const { id } = channel as { id: number };
  const index = counts.get(id) ?? 0;
  counts.set(id, index + 1);
  window.__TAURI_INTERNALS__.runCallback(id, { index, message });
}

const options: Options = window.mockOptions ?? (location.search.includes('empty') ? { empty: true } : {});
const answer = backend(options, send);
mockIPC((name, args) => answer(name, (args ?? {}) as Record<string, unknown>));
window.mockCall = (name, args = {}) => answer(name, args);
