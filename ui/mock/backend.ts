/**
 * A backend in memory that speaks the contract: for tests, and for looking at the pages in a browser. It is loaded before
 * the page and is no part of it.
 */

import type {
  Answer,
  AnswerEvent,
  AppEvent,
  AppSettings,
  CommandName,
  Commands,
  Conversation,
  ConversationSummary,
  ImportEvent,
  LoadState,
  Message,
  Part,
  Recovered,
  SearchHit,
  SortKey,
  Started,
  TrainRequest,
} from '../src/lib/api';

import { error, refuse } from './errors';
import { formats, inMemory } from './formats';
import { CHAT, GPUS, LIMITS, MODELS, model } from './fixtures';
import { ANSWER, SHORT, TITLES } from './texts';
import { Training, type Send } from './training';

/** How the mock behaves. */
export interface Options {
  /** Conversations that are there at the start. */
  conversations?: number;
  messagesEach?: number;
  /** The first run: no model, and no conversation unless their number is given. */
  empty?: boolean;
  settings?: Partial<AppSettings>;
  /** Characters of each token, tokens of each event, milliseconds between events. */
  pace?: { characters: number; tokens: number; every: number };
  /** What every answer says, instead of what fits the question. */
  answer?: string;
  /** What was done about a damaged database. */
  recovered?: Recovered;
  /** Milliseconds that loading a model takes. */
  loading?: number;
}

type Handlers = { [K in CommandName]: (args: Commands[K]['args']) => Commands[K]['result'] | Promise<Commands[K]['result']> };
type Tree = Conversation & { hidden: boolean };

/** Makes a backend; its result answers one call. */
export function backend(options: Options, send: Send): (name: string, args: Record<string, unknown>) => Promise<unknown> {
  const pace = options.pace ?? { characters: 4, tokens: 2, every: 30 };
  let settings: AppSettings = {
    theme: 'system',
    font_size: 15,
    language: 'en',
    last_model: options.empty ? null : 'garden-chat',
    last_conversation: null,
    gpu: null,
    sort: 'recent',
    sidebar_open: true,
    sidebar_width: 280,
    send_with: 'enter',
    onboarded: !options.empty,
    defaults: CHAT,
    ...options.settings,
  };
  let models = options.empty ? [] : MODELS.map((each) => ({ ...each }));
  let gpus = GPUS;
  let loaded: LoadState = { state: 'none', model: null, gpu: null, weights: null, memory_bytes: 0, load_ms: null, error: null };
  let events: unknown = null;
  let writing: { message: Message; stop: boolean; channel: unknown } | null = null;
  let training: Training | null = null;
  let importing: { cancel: boolean } | null = null;
  let next = 1;
  const talks = new Map<number, Tree>();
  const tell = (event: AppEvent) => events !== null && send(events, event);

  for (let index = 0; index < (options.conversations ?? (options.empty ? 0 : TITLES.length)); index += 1) seedTalk(index);

  function seedTalk(index: number): void {
    const title = TITLES[index % TITLES.length] ?? 'A talk';
    const at = Date.now() - index * 5.3e6 - 1e5;
    const talk = create(index < TITLES.length ? title : `${title} (${String(index)})`, at, true);
    talk.pinned = index === 2;
    let parent: number | null = null;
    for (let turn = 0; turn < (options.messagesEach ?? 2); turn += 1) {
      const user = turn % 2 === 0;
      const text = user ? title : index === 0 ? ANSWER : SHORT;
      const message = add(talk, parent, user ? 'user' : 'assistant', [{ type: 'text', text }]);
      if (!user) message.answer = ended('stop', 220);
      parent = message.id;
      talk.path.push(message.id);
    }
    talk.updated_at = at;
    if (index === 4 && parent !== null) branch(talk, parent);
  }

  /** A second answer with a tool call beside the first. */
  function branch(talk: Tree, answer: number): void {
    const first = talk.tree.find((message) => message.id === answer);
    if (!first) return;
    const second = add(talk, first.parent, 'assistant', [
      { type: 'text', text: 'Let me work that out. ' },
      { type: 'python', text: '12 * 7 + 5' },
      { type: 'python_output', text: '89' },
      { type: 'text', text: '12 times 7 is 84, and 5 more make **89**.' },
    ]);
    second.answer = ended('stop', 34);
    talk.path[talk.path.length - 1] = second.id;
  }

  function create(title: string, at: number, titled: boolean): Tree {
    const talk: Tree = {
      id: next++,
      title,
      titled,
      pinned: false,
      created_at: at,
      updated_at: at,
      messages: 0,
      model: settings.last_model,
      settings: settings.defaults,
      tree: [],
      path: [],
      hidden: false,
    };
    talks.set(talk.id, talk);
    return talk;
  }

  function add(talk: Tree, parent: number | null, role: Message['role'], parts: Part[]): Message {
    const message: Message = { id: next++, parent, role, parts, created_at: Date.now(), siblings: [], state: 'whole', answer: null };
    talk.tree.push(message);
    talk.messages = talk.tree.length;
    talk.updated_at = Date.now();
    const siblings = talk.tree.filter((each) => each.parent === parent && each.role === role);
    for (const each of siblings) each.siblings = siblings.map(({ id }) => id);
    return message;
  }

  function ended(reason: Answer['reason'], tokens: number): Answer {
    const known = models.find((each) => each.name === settings.last_model);
    return {
      model: settings.last_model ?? 'garden-chat',
      reason,
      error: null,
      seed: 42,
      prompt_tokens: 31,
      reused_tokens: 0,
      new_tokens: tokens,
      first_token_ms: 184,
      total_ms: 184 + tokens * 20,
      tokens_per_second: 48.7,
      context_used: Math.min(31 + tokens, known?.context ?? 1024),
      context: known?.context ?? 1024,
      dropped: 0,
    };
  }

  const summary = ({ id, title, titled, pinned, created_at, updated_at, messages, model: name }: Tree): ConversationSummary => ({
    id,
    title,
    titled,
    pinned,
    created_at,
    updated_at,
    messages,
    model: name,
  });
  const copy = <T>(value: T): T => structuredClone(value);
  const visible = () => [...talks.values()].filter((talk) => !talk.hidden);

  function list(sort: SortKey): ConversationSummary[] {
    const by = {
      recent: (a: Tree, b: Tree) => b.updated_at - a.updated_at,
      created: (a: Tree, b: Tree) => b.created_at - a.created_at,
      title: (a: Tree, b: Tree) => a.title.localeCompare(b.title),
    };
    return visible()
      .sort((a, b) => Number(b.pinned) - Number(a.pinned) || by[sort](a, b) || b.id - a.id)
      .map(summary);
  }

  function search(query: string): SearchHit[] {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const hits: SearchHit[] = [];
    for (const talk of visible()) {
      if (hits.length >= 100) break;
      const here = { conversation: summary(talk) };
      if (words.every((word) => talk.title.toLowerCase().includes(word)))
        hits.push({ ...here, message: null, role: null, snippet: pieces(talk.title, words) });
      for (const message of talk.tree) {
        const text = message.parts.map((part) => part.text).join(' ');
        if (words.every((word) => text.toLowerCase().includes(word)))
          hits.push({ ...here, message: message.id, role: message.role, snippet: pieces(text, words) });
      }
    }
    return hits.slice(0, 100);
  }

  function talk(id: number): Tree {
    return talks.get(id) ?? refuse('not_found', 'There is no such conversation.');
  }

  function owner(message: number): { talk: Tree; message: Message } {
    for (const each of talks.values()) {
      const found = each.tree.find(({ id }) => id === message);
      if (found) return { talk: each, message: found };
    }
    return refuse('not_found', 'There is no such message.');
  }

  /** From the root to `message`, and on by the newest child. */
  function pathThrough(tree: Tree, message: Message): number[] {
    const path: number[] = [];
    for (let at: Message | undefined = message; at; at = tree.tree.find(({ id }) => id === at?.parent)) path.unshift(at.id);
    for (;;) {
      const child = tree.tree.findLast(({ parent }) => parent === path.at(-1));
      if (!child) return path;
      path.push(child.id);
    }
  }

  function write(tree: Tree, user: Message | null, parent: number, name: string, channel: unknown): Started {
    if (writing) refuse('busy', 'Another answer is being written.');
    const message = add(tree, parent, 'assistant', []);
    message.state = 'writing';
    tree.path = pathThrough(tree, message);
    tree.model = name;
    writing = { message, stop: false, channel };
    void stream(tree, message, name);
    return copy({ user, assistant: message, path: tree.path, conversation: summary(tree) });
  }

  async function stream(tree: Tree, message: Message, name: string): Promise<void> {
    const event = (each: AnswerEvent) => send(writing?.channel, copy(each));
    await pause(1);
    if (loaded.model !== name) {
      event({ type: 'loading', model: name });
      await load(name);
    }
    event({ type: 'reading' });
    await pause(60);
    const question = tree.tree.find(({ id }) => id === message.parent)?.parts[0]?.text ?? '';
    const script = options.answer ?? (/\d\s*[*+/-]\s*\d/.test(question) ? null : /tour|everything/i.test(question) ? ANSWER : SHORT);
    const limit = tree.settings.max_tokens;
    const todo: Part[] = script === null ? sum(question) : tokens(script, pace.characters);
    let written = 0;
    while (written < todo.length && written < limit && !writing?.stop) {
      const parts = todo.slice(written, written + pace.tokens);
      written += parts.length;
      for (const part of parts) append(message.parts, part);
      event({ type: 'delta', parts, tokens: written, tokens_per_second: 48.7, context_used: Math.min(31 + written, 1024) });
      await pause(pace.every);
    }
    const reason = writing?.stop ? 'cancelled' : written >= limit && written < todo.length ? 'max_tokens' : 'stop';
    message.state = 'whole';
    message.answer = { ...ended(reason, written), model: name };
    tree.updated_at = Date.now();
    event({ type: 'done', message, conversation: summary(tree) });
    writing = null;
  }

  async function load(name: string): Promise<LoadState> {
    const known = models.find((each) => each.name === name) ?? refuse('not_found', 'There is no such model.');
    loaded = { state: 'loading', model: name, gpu: GPUS[0]?.name ?? null, weights: null, memory_bytes: 0, load_ms: null, error: null };
    tell({ type: 'load_state', state: loaded });
    await pause(options.loading ?? 250);
    loaded = { ...loaded, state: 'loaded', weights: known.weights, memory_bytes: known.memory_bytes, load_ms: options.loading ?? 250 };
    tell({ type: 'load_state', state: loaded });
    return loaded;
  }

  function plan({ depth, context, budget }: TrainRequest): Commands['train_plan']['result'] {
    const width = depth * 64;
    const parameters = 12 * depth * width * width + 2 * 8192 * width;
    const perStep = 16_384;
    const steps = budget.type === 'steps' ? budget.steps : budget.type === 'tokens' ? Math.ceil(budget.tokens / perStep) : null;
    return {
      parameters,
      n_embd: width,
      n_head: Math.max(1, width / 128),
      vocab_size: 8192,
      tokens_per_step: perStep,
      steps,
      tokens: steps === null ? null : steps * perStep,
      memory_bytes: parameters * 16 + context * width * 400,
      fit: depth > 24 ? 'too_large' : depth > 18 ? 'tight' : 'fits',
      problem: depth > 24 ? error('out_of_memory', 'This run needs more memory than the GPU has. Choose a smaller depth.') : null,
      gpu: 'Radeon RX 6600',
    };
  }

  const handlers: Handlers = {
    app_start: () => ({
      settings,
      limits: LIMITS,
      conversations: list(settings.sort),
      models,
      loaded,
      training: training?.run ?? null,
      answering: writing?.message.id ?? null,
      recovered: options.recovered ?? null,
      version: '0.1.0',
    }),
    app_events: ({ channel }) => {
      events = channel;
      return null;
    },
    settings_get: () => settings,
    settings_set: ({ patch }) => (settings = { ...settings, ...patch }),
    limits: () => LIMITS,
    about: () => ({
      version: '0.1.0',
      nc_core: '0.1.0',
      tauri: '2.12.5',
      webview: 'WebKitGTK 2.50.1',
      os: 'Debian GNU/Linux 12',
      data_folder: '/home/robin/.local/share/nc-core/desktop',
      models_folder: '/home/robin/.local/share/nc-core/runs',
      database_bytes: 1_482_752,
    }),
    licences: () => [
      { name: 'tauri', version: '2.12.5', licence: 'MIT OR Apache-2.0', repository: null },
      { name: 'wgpu', version: '26.0.1', licence: 'MIT OR Apache-2.0', repository: null },
    ],
    app_close: ({ training: choice }) => (choice === 'keep' ? null : new Promise<null>(() => undefined)),

    conversations_list: ({ sort }) => list(sort),
    conversations_search: ({ query }) => search(query),
    conversation_create: ({ title, settings: own }) => {
      const made = create(title ?? '', Date.now(), title !== null);
      made.settings = own ?? settings.defaults;
      return copy(made);
    },
    conversation_get: ({ id }) => copy(talk(id)),
    conversation_rename: ({ id, title }) => summary(Object.assign(talk(id), { title, titled: true })),
    conversation_pin: ({ id, pinned }) => summary(Object.assign(talk(id), { pinned })),
    conversation_settings: ({ id, settings: own }) => (talk(id).settings = own),
    conversation_delete: ({ id }) => {
      talk(id).hidden = true;
      return null;
    },
    conversation_undelete: ({ id }) => summary(Object.assign(talk(id), { hidden: false })),
    conversation_export: ({ ids, format }) => ({
      name: `conversations.${format === 'markdown' ? 'md' : format}`,
      bytes: ids.length * 2048,
      conversations: ids.length,
    }),
    conversations_import: () => {
      const made = create('An imported talk', Date.now(), true);
      return { conversations: [made.id], skipped: [{ line: 3, problem: 'is not JSON' }] };
    },

    message_send: ({ conversation, parent, text, model: name, channel }) => {
      const tree = talk(conversation);
      if (writing) refuse('busy', 'Another answer is being written.');
      const user = add(tree, parent, 'user', [{ type: 'text', text }]);
      if (tree.title === '') tree.title = text.slice(0, 60);
      return write(tree, user, user.id, name, channel);
    },
    message_regenerate: ({ message, model: name, channel }) => {
      const { talk: tree, message: found } = owner(message);
      return write(tree, null, found.role === 'user' ? found.id : (found.parent ?? 0), name, channel);
    },
    message_edit: ({ message, text, model: name, channel }) => {
      const { talk: tree, message: found } = owner(message);
      const user = add(tree, found.parent, 'user', [{ type: 'text', text }]);
      return write(tree, user, user.id, name, channel);
    },
    message_choose: ({ message }) => {
      const { talk: tree, message: found } = owner(message);
      return copy((tree.path = pathThrough(tree, found)));
    },
    message_attach: ({ message, channel }) => {
      if (writing?.message.id !== message) refuse('not_found', 'That message is not being written.');
      if (writing) writing.channel = channel;
      return copy(owner(message).message);
    },
    message_stop: () => {
      if (writing) writing.stop = true;
      return null;
    },

    models_list: () => copy(models),
    model_load: ({ name }) => load(name),
    model_unload: () => {
      loaded = { state: 'none', model: null, gpu: null, weights: null, memory_bytes: 0, load_ms: null, error: null };
      tell({ type: 'load_state', state: loaded });
      return null;
    },
    model_format_set: async ({ name, format }) => {
      const known = models.find((each) => each.name === name) ?? refuse('not_found', 'There is no such model.');
      if (loaded.model === name && writing) refuse('busy', 'An answer is being written.');
      const changed = { ...known, ...inMemory(known.formats, format) };
      models = models.map((each) => (each.name === name ? changed : each));
      tell({ type: 'models_changed' });
      if (loaded.model === name && loaded.state === 'loaded' && loaded.weights !== changed.weights) await load(name);
      return copy(changed);
    },
    model_delete: ({ name }) => {
      models = models.filter((each) => each.name !== name);
      tell({ type: 'models_changed' });
      return null;
    },
    model_pick: ({ folder }) => ({ token: 'picked', name: folder ? 'my-llama' : 'model_000650.pt', bytes: 1_122_000_000, folder }),
    model_inspect: () => ({
      name: 'imported-d12',
      format: 'nanochat .pt',
      parameters: 185_597_952,
      depth: 12,
      context: 2048,
      vocab_size: 65_536,
      file_bytes: 742_391_808,
      precision: 'f32',
      ...inMemory(formats('f32', 185_597_952, 168_600_000), null),
      warnings: ['It brings no tokenizer; the one beside it is used.'],
    }),
    model_import: async ({ name, channel }) => {
      importing = { cancel: false };
      const total = 742_391_808;
      for (let done = 0; done <= total; done += total / 20) {
        if (importing.cancel) refuse('cancelled', 'The import was cancelled.');
        send(channel, { type: 'progress', stage: 'weights', done: Math.round(done), total } satisfies ImportEvent);
        await pause(40);
      }
      const made = model({ name, kind: 'imported', depth: 12, n_embd: 768, parameters: 185_597_952, source: 'model_000650.pt' });
      models = [made, ...models];
      return made;
    },
    import_cancel: () => {
      if (importing) importing.cancel = true;
      return null;
    },
    model_install_shipped: async () => {
      await pause(200);
      const made = model({ name: 'spell-d4', kind: 'chat', depth: 4, parameters: 11_500_000, shipped: true });
      models = [made, ...models];
      return made;
    },
    shipped_model: () => ({
      name: 'spell-d4',
      bytes: 18_400_000,
      parameters: 11_500_000,
      installed: models.some((each) => each.shipped),
      note: '',
    }),
    gpus_list: () => gpus,
    gpu_choose: ({ name }) => (gpus = gpus.map((gpu, index) => ({ ...gpu, chosen: name === null ? index === 0 : gpu.name === name }))),

    train_pick_data: ({ folder }) => ({
      token: `data-${String(next++)}`,
      name: folder ? 'letters' : 'diary.txt',
      bytes: 2_340_000,
      folder,
    }),
    train_plan: ({ request }) => plan(request),
    train_start: ({ request }) => {
      training = new Training(request.name, plan(request).steps ?? 600, send, (run) => tell({ type: 'training', run }));
      training.go();
      return copy(training.run);
    },
    train_watch: ({ channel }) => {
      training?.watch(channel);
      return training ? copy(training.run) : null;
    },
    train_pause: () => (training ?? refuse('not_found', 'Nothing is being trained.')).halt('paused'),
    train_stop: () => (training ?? refuse('not_found', 'Nothing is being trained.')).halt('stopped'),
    train_resume: () => (training ?? refuse('not_found', 'Nothing is being trained.')).go(),
    train_runs: () => (training && training.run.state !== 'finished' ? [copy(training.run)] : []),
    train_history: ({ name }) => {
      const past = new Training(
        name,
        2400,
        () => undefined,
        () => undefined,
      );
      past.advance(name === 'spell-d4' ? 0 : 1200);
      return past.history;
    },
  };

  // For tests: what the outside world does to the app.
  const outside: Record<string, (args: Record<string, unknown>) => unknown> = {
    mock_event: ({ event }) => tell(event as AppEvent),
    mock_crash: () => training?.crash(),
    mock_history: ({ steps }) => {
      training = new Training('evening-run', 3000, send, (run) => tell({ type: 'training', run }));
      training.advance(Number(steps));
      return null;
    },
  };

  return async (name, args) => {
    const handler = (handlers as Record<string, ((args: never) => unknown) | undefined>)[name] ?? outside[name];
    if (!handler) throw error('unsupported', `There is no command ${name}.`);
    return handler(args as never);
  };
}

function sum(question: string): Part[] {
  const expression = /\d[\d\s*+/.-]*\d/.exec(question)?.[0] ?? '1 + 1';
  return [
    ...tokens('Let me work that out. ', 4),
    { type: 'python', text: expression },
    { type: 'python_output', text: '89' },
    ...tokens('That makes **89**.', 4),
  ];
}

function tokens(text: string, characters: number): Part[] {
  const parts: Part[] = [];
  for (let at = 0; at < text.length; at += characters) parts.push({ type: 'text', text: text.slice(at, at + characters) });
  return parts;
}

function append(parts: Part[], part: Part): void {
  const last = parts.at(-1);
  if (part.type === 'text' && last?.type === 'text') last.text += part.text;
  else parts.push({ ...part });
}

function pieces(text: string, words: string[]): SearchHit['snippet'] {
  const first = Math.max(0, text.toLowerCase().indexOf(words[0] ?? '') - 30);
  const part = text.slice(first, first + 110);
  const pattern = new RegExp(`(${words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('|')})`, 'i');
  return part
    .split(pattern)
    .filter(Boolean)
    .map((piece) => ({ text: piece, match: words.includes(piece.toLowerCase()) }));
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
