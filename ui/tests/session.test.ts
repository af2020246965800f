import { mockIPC } from '@tauri-apps/api/mocks';
import { beforeEach, describe, expect, it, vi } from 'vitest';

import { call } from '../src/lib/api';
import { session } from '../src/lib/chat/session.svelte';
import { textOf } from '../src/lib/chat/tree';
import { app } from '../src/lib/state/app.svelte';
import { conversations } from '../src/lib/state/conversations.svelte';
import { toasts } from '../src/lib/state/toasts.svelte';
import { train } from '../src/lib/train/train.svelte';
import { backend, type Options } from '../mock/backend';

const QUICK = { characters: 8, tokens: 2, every: 1 };

/** A backend of its own for each test, and the app as it stands after the first call. */
async function begin(options: Options = {}): Promise<void> {
  const counts = new Map<number, number>();
  const answer = backend({ conversations: 6, pace: QUICK, loading: 5, ...options }, (channel, message) => {
    const { id } = channel as { id: number };
    const index = counts.get(id) ?? 0;
    counts.set(id, index + 1);
    (window as unknown as { __TAURI_INTERNALS__: { runCallback: (id: number, data: unknown) => void } }).__TAURI_INTERNALS__.runCallback(
      id,
      { index, message },
    );
  });
  mockIPC((name, args) => answer(name, (args ?? {}) as Record<string, unknown>));
  const start = await call('app_start');
  conversations.list = start.conversations;
  conversations.search('');
  app.begin(start);
  session.blank();
  session.draft = '';
}

const done = () => vi.waitFor(() => expect(session.live).toBeNull(), { timeout: 5000 });
const last = () => session.messages.at(-1);

beforeEach(async () => {
  await vi.waitFor(() => expect(session.live).toBeNull());
  for (const toast of toasts.list) toasts.dismiss(toast.id);
});

describe('an answer', () => {
  it('is streamed into a new conversation, and then whole', async () => {
    await begin();
    expect(await session.send('Who are you?')).toBe(true);
    expect(session.writing).toBe(true);
    expect(session.messages.map(({ role }) => role)).toEqual(['user', 'assistant']);
    expect(session.conversation?.title).toBe('Who are you?');
    const stages = new Set<string>();
    await vi.waitFor(
      () => {
        if (session.live) stages.add(session.live.stage);
        expect(session.live).toBeNull();
      },
      { timeout: 5000, interval: 1 },
    );
    expect(stages).toContain('writing');
    expect(last()?.answer?.reason).toBe('stop');
    expect(last() && textOf(last()!)).toContain('small language model');
    expect(conversations.list[0]?.pinned ? conversations.list[1]?.title : conversations.list[0]?.title).toBe('Who are you?');
  });

  it('shows calls and their results', async () => {
    await begin();
    await session.send('What is 12 * 7 + 5?');
    await done();
    expect(last()?.parts.map(({ type }) => type)).toEqual(['text', 'python', 'python_output', 'text']);
  });

  it('can be stopped, and keeps what was written', async () => {
    await begin({ answer: 'word '.repeat(400), settings: {} });
    await session.send('Go on');
    await vi.waitFor(() => expect(session.live?.tokens ?? 0).toBeGreaterThan(4));
    await session.stop();
    await done();
    expect(last()?.answer?.reason).toBe('cancelled');
    expect(last() && textOf(last()!)).toMatch(/^word /);
  });

  it('says that it reached its limit', async () => {
    await begin({ answer: 'word '.repeat(400) });
    await session.configure({ ...session.settings, max_tokens: 6 });
    await session.send('Go on');
    await done();
    expect(session.settings.max_tokens).toBe(6);
    expect(last()?.answer?.reason).toBe('max_tokens');
  });

  it('is asked for once at a time', async () => {
    await begin({ answer: 'word '.repeat(100) });
    await session.send('One');
    expect(await session.send('Two')).toBe(false);
    await session.stop();
    await done();
  });

  it('goes on in its own conversation while one reads another', async () => {
    await begin({ answer: 'word '.repeat(60) });
    await session.send('Go on');
    const id = session.conversation?.id ?? 0;
    const other = conversations.list.find((each) => each.id !== id)?.id ?? 0;
    await session.open(other);
    expect(session.writing).toBe(false);
    expect(session.busy).toBe(true);
    await done();
    await session.open(id);
    expect(last()?.answer?.reason).toBe('stop');
  });

  it('is taken up where the page was loaded in the midst of it', async () => {
    await begin({ answer: 'word '.repeat(120) });
    await session.send('Go on');
    const [conversation, message] = [session.conversation?.id ?? 0, session.live?.message ?? 0];
    session.live = null;
    await session.open(conversation);
    await session.attach(message);
    expect(session.live).not.toBeNull();
    await done();
    expect(last() && textOf(last()!).length).toBe(600);
  });
});

describe('branches', () => {
  it('are made by answering once more, and walked', async () => {
    await begin();
    await session.send('Who are you?');
    await done();
    const first = last()!;
    await session.regenerate(first.id);
    await done();
    const second = last()!;
    expect(second.id).not.toBe(first.id);
    expect(second.siblings).toEqual([first.id, second.id]);
    expect(session.tree.get(first.id)?.siblings).toEqual([first.id, second.id]);
    await session.walk(second, -1);
    expect(last()?.id).toBe(first.id);
    await session.walk(last()!, -1);
    expect(last()?.id).toBe(first.id);
    await session.walk(last()!, 1);
    expect(last()?.id).toBe(second.id);
  });

  it('are made by saying it otherwise, and nothing is lost', async () => {
    await begin();
    await session.send('Who are you?');
    await done();
    const [question, answer] = session.messages;
    await session.edit(question!.id, 'What are you?');
    await done();
    expect(session.messages.length).toBe(2);
    expect(textOf(session.messages[0]!)).toBe('What are you?');
    await session.walk(session.messages[0]!, -1);
    expect(session.path).toEqual([question!.id, answer!.id]);
  });

  it('are opened where a search found something in another', async () => {
    await begin({ conversations: 6 });
    const found = await call('conversations_search', { query: 'lighthouse' });
    const talk = found[0]!.conversation.id;
    await session.open(talk);
    const answer = last()!;
    await session.regenerate(answer.id);
    await done();
    await session.open(talk, answer.id);
    expect(session.path).toContain(answer.id);
    expect(session.target).toBe(answer.id);
  });
});

describe('conversations', () => {
  it('are renamed, pinned, deleted and taken back', async () => {
    await begin();
    const id = conversations.list.at(-1)!.id;
    await conversations.rename(id, '  A new name ');
    expect(conversations.list.find((each) => each.id === id)?.title).toBe('A new name');
    await conversations.rename(id, '   ');
    expect(conversations.list.find((each) => each.id === id)?.title).toBe('A new name');
    await conversations.pin(id, true);
    expect(conversations.list.slice(0, 2).map((each) => each.id)).toContain(id);
    const restored = vi.fn();
    await conversations.remove(id, restored);
    expect(conversations.list.some((each) => each.id === id)).toBe(false);
    toasts.list.at(-1)?.action?.run();
    await vi.waitFor(() => expect(restored).toHaveBeenCalled());
    expect(conversations.list.some((each) => each.id === id)).toBe(true);
  });

  it('are searched as one types, and the newest question wins', async () => {
    await begin();
    conversations.search('sky');
    conversations.search('lighthouse');
    await vi.waitFor(() => expect(conversations.hits).not.toBeNull());
    expect(conversations.hits?.every((hit) => hit.snippet.some((piece) => piece.match && piece.text.toLowerCase() === 'lighthouse'))).toBe(
      true,
    );
    conversations.search('');
    expect(conversations.hits).toBeNull();
  });

  it('are kept in the order that was asked for', async () => {
    await begin();
    await conversations.sortBy('title');
    const titles = conversations.list.filter((each) => !each.pinned).map((each) => each.title);
    expect(titles).toEqual([...titles].sort((a, b) => a.localeCompare(b)));
  });

  it('keep their drafts', async () => {
    await begin();
    session.draft = 'half a tho';
    await session.open(conversations.list[0]!.id);
    expect(session.draft).toBe('');
    session.blank();
    expect(session.draft).toBe('half a tho');
    session.draft = '';
  });
});

describe('a refusal', () => {
  it('is shown with its detail, and leaves things as they were', async () => {
    await begin();
    await conversations.rename(999_999, 'x');
    expect(toasts.list.at(-1)?.kind).toBe('error');
    expect(toasts.list.at(-1)?.detail).toContain('not_found');
  });
});

describe('a run', () => {
  it('is heard from its beginning, however late one listens', async () => {
    await begin();
    await call('train_start', {
      request: {
        name: 'mine',
        depth: 4,
        context: 256,
        chat: false,
        data: { type: 'shipped' },
        budget: { type: 'steps', steps: 400 },
        seed: 1,
      },
    });
    await vi.waitFor(async () => expect((await call('train_runs'))[0]?.step ?? 0).toBeGreaterThan(3), { timeout: 3000 });
    await train.watch();
    await vi.waitFor(() => expect(train.points.length).toBeGreaterThan(4));
    expect(train.points[0]?.step).toBe(1);
    const steps = train.points.map((point) => point.step);
    expect(new Set(steps).size).toBe(steps.length);
    await train.pause();
    expect(train.run?.state).toBe('paused');
    await train.resume(null);
    expect(train.active).toBe(true);
    await train.stop();
    expect(train.run?.state).toBe('stopped');
  });
});
