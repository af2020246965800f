/** The only door to the backend. */

import { Channel, invoke } from '@tauri-apps/api/core';

import type { CommandName, Commands } from './commands';
import type { AppError } from './types';

export type * from './types';
export type { CommandName, Commands } from './commands';

type Args<K extends CommandName> = Commands[K]['args'] extends Record<string, never> ? [] : [Commands[K]['args']];

/**
 * Calls a command of the backend.
 *
 * @throws an {@link AppError} when the backend refuses, whatever it threw.
 */
export async function call<K extends CommandName>(name: K, ...[args]: Args<K>): Promise<Commands[K]['result']> {
  try {
    return await invoke<Commands[K]['result']>(name, args as Record<string, unknown>);
  } catch (thrown) {
    throw asAppError(thrown);
  }
}

/** A channel on which the backend sends events of type `T`, in order. */
export function channel<T>(each: (event: T) => void): Channel<T> {
  const made = new Channel<T>();
  made.onmessage = each;
  return made;
}

/** What was thrown, as an error that can be shown. */
export function asAppError(thrown: unknown): AppError {
  if (isAppError(thrown)) return thrown;
  const detail = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  return { code: 'internal', message: 'Something went wrong inside the app.', detail };
}

function isAppError(thrown: unknown): thrown is AppError {
  return typeof thrown === 'object' && thrown !== null && 'code' in thrown && 'message' in thrown && 'detail' in thrown;
}
