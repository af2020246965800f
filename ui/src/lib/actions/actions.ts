/** Everything that can be done from the keyboard: one list for the shortcuts, the palette and the page that explains them. */

import type { ConversationSummary, ExportFormat } from '../api';
import { session } from '../chat/session.svelte';
import { lastFork, textOf } from '../chat/tree';
import { t } from '../i18n/index.svelte';
import { imports } from '../models/imports.svelte';
import { app, type Page } from '../state/app.svelte';
import { conversations } from '../state/conversations.svelte';
import { dialogs } from '../state/dialogs.svelte';
import { layout } from '../state/layout.svelte';
import { copy } from '../ui/clipboard';

export interface Action {
  id: string;
  group: 'chat' | 'go' | 'app';
  label: () => string;
  /** As `tinykeys` writes it; `$mod` is Ctrl, on a Mac Command. */
  keys: string | null;
  run: () => void;
  /** Whether there is anything to do now. */
  possible?: () => boolean;
}

const go = (page: Page) => () => {
  app.page = page;
  layout.chosen();
};

/** Puts the focus on the first element of `selector`, once it is there. */
function focus(selector: string): void {
  requestAnimationFrame(() => document.querySelector<HTMLElement>(selector)?.focus());
}

function walk(steps: number): void {
  const fork = lastFork(session.tree, session.path);
  if (fork) void session.walk(fork, steps);
}

const current = (): ConversationSummary | null => conversations.list.find((each) => each.id === session.conversation?.id) ?? null;

/** Does something with the open conversation. */
const withCurrent = (run: (conversation: ConversationSummary) => unknown) => () => {
  const conversation = current();
  if (conversation) run(conversation);
};

const inChat = () => app.page === 'chat';
const open = () => inChat() && current() !== null;

const exportAs = (format: ExportFormat, label: () => string): Action => ({
  id: `export_${format}`,
  group: 'chat',
  label,
  keys: null,
  run: withCurrent(({ id }) => conversations.export([id], format)),
  possible: open,
});

const answered = () => inChat() && session.lastAnswer !== null;
const forked = () => inChat() && !session.writing && lastFork(session.tree, session.path) !== null;

export const ACTIONS: readonly Action[] = [
  {
    id: 'new',
    group: 'chat',
    label: () => t('action.new'),
    keys: '$mod+n',
    run: () => {
      go('chat')();
      session.blank();
      focus('[data-composer]');
    },
  },
  {
    id: 'stop',
    group: 'chat',
    label: () => t('action.stop'),
    keys: 'Escape',
    run: () => void session.stop(),
    possible: () => inChat() && session.writing,
  },
  {
    id: 'regenerate',
    group: 'chat',
    label: () => t('action.regenerate'),
    keys: '$mod+Shift+r',
    run: () => session.lastAnswer && void session.regenerate(session.lastAnswer.id),
    possible: () => answered() && !session.busy,
  },
  {
    id: 'copy',
    group: 'chat',
    label: () => t('action.copy'),
    keys: '$mod+Shift+c',
    run: () => session.lastAnswer && void copy(textOf(session.lastAnswer)),
    possible: answered,
  },
  { id: 'previous', group: 'chat', label: () => t('action.branch_previous'), keys: 'Alt+ArrowLeft', run: () => walk(-1), possible: forked },
  { id: 'next', group: 'chat', label: () => t('action.branch_next'), keys: 'Alt+ArrowRight', run: () => walk(1), possible: forked },
  {
    id: 'settings_of_chat',
    group: 'chat',
    label: () => t('action.chat_settings'),
    keys: '$mod+.',
    run: () => (layout.drawer = !layout.drawer),
    possible: inChat,
  },
  {
    id: 'pin',
    group: 'chat',
    label: () => (current()?.pinned ? t('action.unpin') : t('action.pin')),
    keys: null,
    run: withCurrent(({ id, pinned }) => conversations.pin(id, !pinned)),
    possible: open,
  },
  exportAs('markdown', () => t('action.export_markdown')),
  exportAs('json', () => t('action.export_json')),
  exportAs('jsonl', () => t('action.export_jsonl')),
  {
    id: 'delete',
    group: 'chat',
    label: () => t('action.delete_conversation'),
    keys: null,
    run: withCurrent(({ id }) => session.remove(id)),
    possible: open,
  },
  {
    id: 'message',
    group: 'chat',
    label: () => t('action.message'),
    keys: '/',
    run: () => {
      go('chat')();
      focus('[data-composer]');
    },
  },
  {
    id: 'search',
    group: 'go',
    label: () => t('action.search'),
    keys: '$mod+f',
    run: () => {
      if (!layout.sidebarShown) layout.toggleSidebar();
      focus('[data-search]');
    },
  },
  { id: 'go_chat', group: 'go', label: () => t('action.go_chat'), keys: '$mod+1', run: go('chat') },
  { id: 'go_models', group: 'go', label: () => t('action.go_models'), keys: '$mod+2', run: go('models') },
  { id: 'go_train', group: 'go', label: () => t('action.go_train'), keys: '$mod+3', run: go('train') },
  { id: 'go_settings', group: 'go', label: () => t('action.go_settings'), keys: '$mod+,', run: go('settings') },
  { id: 'palette', group: 'app', label: () => t('action.palette'), keys: '$mod+k', run: () => dialogs.toggle('palette') },
  { id: 'shortcuts', group: 'app', label: () => t('action.shortcuts'), keys: '?', run: () => dialogs.toggle('shortcuts') },
  { id: 'sidebar', group: 'app', label: () => t('action.sidebar'), keys: '$mod+b', run: () => layout.toggleSidebar() },
  {
    id: 'theme',
    group: 'app',
    label: () => t('action.theme'),
    keys: '$mod+Shift+l',
    run: () => {
      const dark = app.settings.theme === 'dark' || (app.settings.theme === 'system' && matchMedia('(prefers-color-scheme: dark)').matches);
      void app.change({ theme: dark ? 'light' : 'dark' });
    },
  },
  { id: 'larger', group: 'app', label: () => t('action.larger'), keys: '$mod+Equal', run: () => resize(1) },
  { id: 'smaller', group: 'app', label: () => t('action.smaller'), keys: '$mod+Minus', run: () => resize(-1) },
  { id: 'import_model', group: 'app', label: () => t('action.import_model'), keys: null, run: () => void imports.pick(false) },
  {
    id: 'import_talks',
    group: 'app',
    label: () => t('action.import_conversations'),
    keys: null,
    run: () => void conversations.import(null),
  },
];

function resize(step: number): void {
  const { min, max } = app.limits.font_size;
  void app.change({ font_size: Math.min(max, Math.max(min, app.settings.font_size + step)) });
}
