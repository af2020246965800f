/** The list of conversations, and searching in it. */

import { call, type ConversationSummary, type ExportFormat, type Imported, type SearchHit, type SortKey } from '../api';
import { bytes } from '../i18n/format';
import { plural, t } from '../i18n/index.svelte';

import { app } from './app.svelte';
import { attempt, toasts } from './toasts.svelte';

class Conversations {
  list = $state.raw<ConversationSummary[]>([]);
  query = $state('');
  /** `null` while nothing is searched for. */
  hits = $state.raw<SearchHit[] | null>(null);
  #searching = false;

  async refresh(): Promise<void> {
    const list = await attempt(() => call('conversations_list', { sort: app.settings.sort }));
    if (list) this.list = list;
  }

  async sortBy(sort: SortKey): Promise<void> {
    await app.change({ sort });
    await this.refresh();
  }

  /** Searches as one types: at once, and while a search runs only for what is typed last. */
  search(query: string): void {
    this.query = query;
    if (query.trim() === '') this.hits = null;
    else if (!this.#searching) void this.#find();
  }

  async #find(): Promise<void> {
    this.#searching = true;
    let asked = '';
    while (this.query !== asked && this.query.trim() !== '') {
      asked = this.query;
      const query = asked.slice(0, app.limits.search_max_chars);
      const hits = await attempt(() => call('conversations_search', { query }));
      if (hits && this.query === asked) this.hits = hits;
    }
    this.#searching = false;
  }

  /** Puts a summary that the backend gave into its place. */
  put(summary: ConversationSummary): void {
    const rest = this.list.filter((each) => each.id !== summary.id);
    this.list = [...rest, summary].sort(order(app.settings.sort));
    this.hits = this.hits?.map((hit) => (hit.conversation.id === summary.id ? { ...hit, conversation: summary } : hit)) ?? null;
  }

  async rename(id: number, title: string): Promise<void> {
    const wanted = title.trim().slice(0, app.limits.title_max_chars);
    if (wanted === '') return;
    const summary = await attempt(() => call('conversation_rename', { id, title: wanted }));
    if (summary) this.put(summary);
  }

  async pin(id: number, pinned: boolean): Promise<void> {
    const summary = await attempt(() => call('conversation_pin', { id, pinned }));
    if (summary) this.put(summary);
  }

  /** Hides a conversation; the notice takes it back. `restored` is called when that happens. */
  async remove(id: number, restored: () => void): Promise<boolean> {
    const title = this.list.find((each) => each.id === id)?.title ?? '';
    const done = await attempt(async () => {
      await call('conversation_delete', { id });
      return true;
    });
    if (!done) return false;
    this.list = this.list.filter((each) => each.id !== id);
    this.hits = this.hits?.filter((hit) => hit.conversation.id !== id) ?? null;
    toasts.note(t('sidebar.deleted', { title: title || t('sidebar.untitled') }), {
      label: t('action.undo'),
      run: () => {
        void attempt(() => call('conversation_undelete', { id })).then((summary) => {
          if (!summary) return;
          this.put(summary);
          restored();
        });
      },
    });
    return true;
  }

  async export(ids: number[], format: ExportFormat): Promise<void> {
    const exported = await attempt(() => call('conversation_export', { ids, format, all_branches: format === 'json' }));
    if (exported) toasts.note(t('export.done', { name: exported.name, size: bytes(exported.bytes) }));
  }

  async import(token: string | null): Promise<Imported | null> {
    const imported = await attempt(() => call('conversations_import', { token }));
    if (!imported) return null;
    await this.refresh();
    const words = plural('import.conversations', imported.conversations.length);
    const { skipped } = imported;
    if (skipped.length === 0) toasts.note(words);
    else
      toasts.keep(
        `${words} ${plural('import.skipped', skipped.length)}`,
        skipped.map(({ line, problem }) => `${String(line)}: ${problem}`).join('\n'),
      );
    return imported;
  }
}

/** As the backend orders them: pinned first, then by `sort`. */
function order(sort: SortKey): (a: ConversationSummary, b: ConversationSummary) => number {
  const by: Record<SortKey, (a: ConversationSummary, b: ConversationSummary) => number> = {
    recent: (a, b) => b.updated_at - a.updated_at,
    created: (a, b) => b.created_at - a.created_at,
    title: (a, b) => a.title.localeCompare(b.title),
  };
  return (a, b) => Number(b.pinned) - Number(a.pinned) || by[sort](a, b) || b.id - a.id;
}

export const conversations = new Conversations();
