/** Short notices at the edge of the window, some with one thing to do about them. */

import { asAppError, type AppError, type ErrorCode } from '../api';
import { currentLanguage, t } from '../i18n/index.svelte';

export interface Toast {
  id: number;
  kind: 'note' | 'error';
  text: string;
  action: { label: string; run: () => void } | null;
  /** What to copy for a bug report. */
  detail: string | null;
}

/** How long a notice stays; those with something to do stay longer. */
const STAY = 4_000;
const STAY_WITH_ACTION = 9_000;

class Toasts {
  list = $state.raw<Toast[]>([]);
  #next = 1;
  #timers = new Map<number, ReturnType<typeof setTimeout>>();

  note(text: string, action: Toast['action'] = null): void {
    this.#show({ kind: 'note', text, action, detail: null }, action ? STAY_WITH_ACTION : STAY);
  }

  /** Shows what one should not miss: it stays until it is dismissed. */
  keep(text: string, detail: string | null = null): void {
    this.#show({ kind: 'note', text, action: null, detail }, null);
  }

  /** Shows what was thrown. Errors stay until they are dismissed. */
  error(thrown: unknown): void {
    const error = asAppError(thrown);
    if (error.code === 'cancelled') return;
    this.#show({ kind: 'error', text: errorText(error), action: null, detail: errorDetail(error) }, null);
  }

  dismiss(id: number): void {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.list = this.list.filter((toast) => toast.id !== id);
  }

  #show(toast: Omit<Toast, 'id'>, stay: number | null): void {
    const id = this.#next++;
    this.list = [...this.list.slice(-3), { id, ...toast }];
    if (stay !== null)
      this.#timers.set(
        id,
        setTimeout(() => this.dismiss(id), stay),
      );
  }
}

export const toasts = new Toasts();

/** An error in words: the backend's own sentence, which is English, after one in the language that is spoken. */
export function errorText(error: AppError): string {
  const kinds: Record<ErrorCode, () => string> = {
    bad_input: () => t('error.bad_input'),
    not_found: () => t('error.not_found'),
    busy: () => t('error.busy'),
    no_model: () => t('error.no_model'),
    no_gpu: () => t('error.no_gpu'),
    out_of_memory: () => t('error.out_of_memory'),
    damaged: () => t('error.damaged'),
    io: () => t('error.io'),
    cancelled: () => t('error.cancelled'),
    unsupported: () => t('error.unsupported'),
    internal: () => t('error.internal'),
  };
  const kind = kinds[error.code]();
  if (currentLanguage() === 'en') return error.message || kind;
  return error.message ? `${kind} (${error.message})` : kind;
}

/** An error as text for a bug report. */
export function errorDetail(error: AppError): string {
  return [`${error.code}: ${error.message}`, error.detail].filter(Boolean).join('\n');
}

/** Runs `task` and shows what it throws; `undefined` then. */
export async function attempt<T>(task: () => Promise<T>): Promise<T | undefined> {
  try {
    return await task();
  } catch (thrown) {
    toasts.error(thrown);
    return undefined;
  }
}
