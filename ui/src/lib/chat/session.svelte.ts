/** The conversation that is open, and the answer that is being written into it. */

import { call, channel, type AnswerEvent, type ChatSettings, type Conversation, type Message, type Part, type Started } from '../api';
import { app } from '../state/app.svelte';
import { conversations } from '../state/conversations.svelte';
import { attempt, toasts } from '../state/toasts.svelte';

import { FrameBatch } from './frames';
import { append } from './parts';
import { alternative, messagesOf, treeOf, withMessage, type Tree } from './tree';

/** An answer while it is written. */
export interface Live {
  message: number;
  conversation: number;
  stage: 'starting' | 'loading' | 'reading' | 'writing' | 'stopping';
  parts: Part[];
  tokens: number;
  tokensPerSecond: number;
  contextUsed: number | null;
  /** Oldest messages that were left out. */
  cut: number;
}

class Session {
  /** `null` before the first message of a new conversation. */
  conversation = $state.raw<Conversation | null>(null);
  tree = $state.raw<Tree>(new Map());
  path = $state.raw<number[]>([]);
  live = $state.raw<Live | null>(null);
  /** What the composer holds; kept while one looks at other pages. */
  draft = $state('');
  /** The message that was searched for, to be scrolled to. */
  target = $state<number | null>(null);
  /** Settings of a conversation that has no row yet. */
  #unsaved = $state.raw<ChatSettings | null>(null);
  #drafts = new Map<number | null, string>();
  #opening = 0;

  messages = $derived(messagesOf(this.tree, this.path));
  /** Whether the answer being written belongs to what is on the page. */
  writing = $derived(this.live !== null && this.live.conversation === this.conversation?.id);
  busy = $derived(this.live !== null);

  get settings(): ChatSettings {
    return this.conversation?.settings ?? this.#unsaved ?? app.settings.defaults;
  }

  /** The last answer that is whole. */
  get lastAnswer(): Message | null {
    return this.messages.findLast((message) => message.role === 'assistant' && message.answer !== null) ?? null;
  }

  /** A new conversation; it is stored with its first message. */
  blank(): void {
    this.#leave();
    this.conversation = null;
    this.#unsaved = null;
    this.tree = new Map();
    this.path = [];
    this.target = null;
    this.draft = this.#drafts.get(null) ?? '';
    void app.change({ last_conversation: null });
  }

  /** Opens a conversation, at `message` where one is given. */
  async open(id: number, message: number | null = null): Promise<void> {
    const asked = ++this.#opening;
    const conversation = await attempt(() => call('conversation_get', { id }));
    if (!conversation || asked !== this.#opening) return;
    this.#leave();
    this.draft = this.#drafts.get(id) ?? '';
    this.#show(conversation);
    if (message !== null && !conversation.path.includes(message)) await this.choose(message);
    this.target = message;
    if (app.settings.last_conversation !== id) void app.change({ last_conversation: id });
  }

  /** Takes up an answer that was being written when the page was loaded. */
  async attach(message: number): Promise<void> {
    const conversation = this.conversation;
    if (!conversation || !this.tree.has(message)) return;
    const events = this.#listen(conversation.id);
    const soFar = await attempt(() => call('message_attach', { message, channel: events.channel }));
    if (!soFar) return;
    this.live = { ...idle(message, conversation.id), stage: 'writing', parts: soFar.parts };
    events.begin();
  }

  async send(text: string): Promise<boolean> {
    const model = app.model;
    if (!model || this.busy) return false;
    const sent = await attempt(async () => {
      const conversation = this.conversation ?? (await this.#create());
      const parent = this.path.at(-1) ?? null;
      return this.#start(conversation.id, (events) =>
        call('message_send', { conversation: conversation.id, parent, text, model: model.name, channel: events }),
      );
    });
    return sent ?? false;
  }

  /** Writes one more alternative to an answer, or the answer to a message that has none. */
  async regenerate(message: number): Promise<void> {
    const [model, id] = [app.model, this.conversation?.id];
    if (!model || id === undefined || this.busy) return;
    await attempt(() => this.#start(id, (events) => call('message_regenerate', { message, model: model.name, channel: events })));
  }

  /** Says a message otherwise: a new branch, with its answer. */
  async edit(message: number, text: string): Promise<void> {
    const [model, id] = [app.model, this.conversation?.id];
    if (!model || id === undefined || this.busy) return;
    await attempt(() => this.#start(id, (events) => call('message_edit', { message, text, model: model.name, channel: events })));
  }

  async stop(): Promise<void> {
    const live = this.live;
    if (!live) return;
    this.live = { ...live, stage: 'stopping' };
    await attempt(() => call('message_stop', { message: live.message }));
  }

  /** Goes to another branch: the one through `message`. */
  async choose(message: number): Promise<void> {
    const path = await attempt(() => call('message_choose', { message }));
    if (path) this.path = path;
  }

  /** Goes to the alternative that is `steps` beside `message`. */
  async walk(message: Message, steps: number): Promise<void> {
    const next = alternative(message, steps);
    if (next !== null && !this.writing) await this.choose(next);
  }

  async configure(settings: ChatSettings): Promise<void> {
    const conversation = this.conversation;
    if (!conversation) {
      this.#unsaved = settings;
      return;
    }
    this.conversation = { ...conversation, settings };
    const stored = await attempt(() => call('conversation_settings', { id: conversation.id, settings }));
    if (stored && this.conversation.id === conversation.id) this.conversation = { ...this.conversation, settings: stored };
  }

  /** Deletes a conversation, with a notice that takes it back. If it is the open one, a blank page takes its place. */
  async remove(id: number): Promise<boolean> {
    const wasOpen = this.conversation?.id === id;
    const removed = await conversations.remove(id, () => {
      if (wasOpen) void this.open(id);
    });
    if (removed && wasOpen) this.blank();
    return removed;
  }

  #leave(): void {
    this.#opening += 1;
    this.#drafts.set(this.conversation?.id ?? null, this.draft);
  }

  #show(conversation: Conversation): void {
    this.conversation = conversation;
    this.tree = treeOf(conversation.tree);
    this.path = conversation.path;
  }

  async #create(): Promise<Conversation> {
    const conversation = await call('conversation_create', { title: null, settings: this.#unsaved });
    this.#drafts.delete(null);
    this.#show(conversation);
    conversations.put(conversation);
    void app.change({ last_conversation: conversation.id });
    return conversation;
  }

  async #start(conversation: number, ask: (events: ReturnType<typeof channel<AnswerEvent>>) => Promise<Started>): Promise<boolean> {
    const events = this.#listen(conversation);
    const started = await ask(events.channel);
    const message = started.assistant.id;
    this.live = idle(message, conversation);
    if (this.conversation?.id === conversation) {
      let tree = this.tree;
      if (started.user) tree = withMessage(tree, started.user);
      this.tree = withMessage(tree, started.assistant);
      this.path = started.path;
      this.conversation = { ...this.conversation, ...started.conversation };
    }
    conversations.put(started.conversation);
    // Whoever has answered answers on: another model may turn up meanwhile that nobody chose.
    const model = started.assistant.answer?.model;
    if (model && model !== app.settings.last_model) void app.change({ last_model: model });
    events.begin();
    return true;
  }

  /** A channel whose events wait until `begin`, and then come once a frame. */
  #listen(conversation: number): { channel: ReturnType<typeof channel<AnswerEvent>>; begin: () => void } {
    const early: AnswerEvent[] = [];
    let begun = false;
    const batch = new FrameBatch<AnswerEvent>((events) => this.#hear(events, conversation));
    return {
      channel: channel<AnswerEvent>((event) => (begun ? batch.push(event) : void early.push(event))),
      begin: () => {
        begun = true;
        for (const event of early) batch.push(event);
      },
    };
  }

  #hear(events: AnswerEvent[], conversation: number): void {
    let live = this.live;
    for (const event of events) {
      if (event.type === 'done') {
        this.#finish(event, conversation);
        return;
      }
      if (!live) return;
      const stopping = live.stage === 'stopping';
      switch (event.type) {
        case 'loading':
        case 'reading':
          live = { ...live, stage: stopping ? 'stopping' : event.type };
          break;
        case 'cut':
          live = { ...live, cut: event.messages };
          break;
        case 'delta':
          live = {
            ...live,
            stage: stopping ? 'stopping' : 'writing',
            parts: append(live.parts, event.parts),
            tokens: event.tokens,
            tokensPerSecond: event.tokens_per_second,
            contextUsed: event.context_used ?? live.contextUsed,
          };
          break;
      }
    }
    this.live = live;
  }

  #finish(event: Extract<AnswerEvent, { type: 'done' }>, conversation: number): void {
    this.live = null;
    conversations.put(event.conversation);
    if (this.conversation?.id === conversation) {
      this.tree = withMessage(this.tree, event.message);
      this.conversation = { ...this.conversation, ...event.conversation };
    } else if (event.message.answer?.error) toasts.error(event.message.answer.error);
  }
}

function idle(message: number, conversation: number): Live {
  return { message, conversation, stage: 'starting', parts: [], tokens: 0, tokensPerSecond: 0, contextUsed: null, cut: 0 };
}

export const session = new Session();
