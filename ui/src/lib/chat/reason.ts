/** Why an answer ended before the model was done, in words. */

import type { Message } from '../api';
import { number } from '../i18n/format';
import { t } from '../i18n/index.svelte';
import { errorText } from '../state/toasts.svelte';

export interface Ending {
  text: string;
  failed: boolean;
}

/** `null` where the model ended the answer by itself, or is still at it. */
export function ending(message: Message): Ending | null {
  const answer = message.answer;
  if (message.state === 'interrupted') return { text: t('reason.interrupted'), failed: false };
  if (!answer) return message.state === 'failed' ? { text: t('reason.failed'), failed: true } : null;
  switch (answer.reason) {
    case 'stop':
      return null;
    case 'max_tokens':
      return { text: t('reason.max_tokens', { n: number(answer.new_tokens) }), failed: false };
    case 'context_full':
      return { text: t('reason.context_full', { n: number(answer.context) }), failed: false };
    case 'cancelled':
      return { text: t('reason.cancelled'), failed: false };
    case 'interrupted':
      return { text: t('reason.interrupted'), failed: false };
    case 'failed':
      return { text: answer.error ? errorText(answer.error) : t('reason.failed'), failed: true };
  }
}
