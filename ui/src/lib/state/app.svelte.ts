/** What the whole app knows: settings, models, GPUs, the page that is open. */

import {
  call,
  channel,
  type AppEvent,
  type AppSettings,
  type AppStart,
  type GpuInfo,
  type Limits,
  type LoadState,
  type ModelInfo,
  type PickedFile,
  type ShippedModel,
  type TrainRun,
} from '../api';
import { setLanguage } from '../i18n/index.svelte';

import { attempt } from './toasts.svelte';

export type Page = 'chat' | 'models' | 'train' | 'settings';

type Listener<T extends AppEvent['type']> = (event: Extract<AppEvent, { type: T }>) => void;

class App {
  page = $state<Page>('chat');
  models = $state.raw<ModelInfo[]>([]);
  gpus = $state.raw<GpuInfo[] | null>(null);
  shipped = $state.raw<ShippedModel | null>(null);
  loaded = $state.raw<LoadState>({ state: 'none', model: null, gpu: null, weights: null, memory_bytes: 0, load_ms: null, error: null });
  training = $state.raw<TrainRun | null>(null);
  dragging = $state(false);
  version = $state('');
  #settings = $state.raw<AppSettings>();
  #limits = $state.raw<Limits>();
  #listeners = new Map<string, Set<(event: never) => void>>();

  /** Settings; only to be asked for after {@link start}. */
  get settings(): AppSettings {
    if (!this.#settings) throw new Error('settings before the start');
    return this.#settings;
  }

  get limits(): Limits {
    if (!this.#limits) throw new Error('limits before the start');
    return this.#limits;
  }

  get started(): boolean {
    return this.#settings !== undefined;
  }

  /** The model that the next answer is asked of: the last one chosen, if it is still there, else the newest that can talk. */
  get model(): ModelInfo | null {
    const usable = this.models.filter((model) => !model.problem && !model.training);
    return usable.find((model) => model.name === this.#settings?.last_model) ?? usable.find((model) => model.chat) ?? usable[0] ?? null;
  }

  /** Takes what the first call gave. */
  begin(start: AppStart): void {
    setLanguage(start.settings.language);
    this.#limits = start.limits;
    this.models = start.models;
    this.loaded = start.loaded;
    this.training = start.training;
    this.version = start.version;
    this.#settings = start.settings;
    void attempt(() => call('app_events', { channel: channel<AppEvent>((event) => this.#hear(event)) }));
  }

  /** Calls `each` for every event of a type. The result ends it. */
  on<T extends AppEvent['type']>(type: T, each: Listener<T>): () => void {
    const listeners = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, listeners.add(each as (event: never) => void));
    return () => listeners.delete(each as (event: never) => void);
  }

  /** Changes settings, here at once and then for good. */
  async change(patch: Partial<AppSettings>): Promise<void> {
    this.#settings = { ...this.settings, ...patch };
    if (patch.language !== undefined) setLanguage(patch.language);
    await attempt(() => call('settings_set', { patch }));
  }

  async refreshModels(): Promise<void> {
    const models = await attempt(() => call('models_list'));
    if (models) this.models = models;
  }

  async refreshGpus(): Promise<void> {
    const gpus = await attempt(() => call('gpus_list'));
    if (gpus) this.gpus = gpus;
  }

  async refreshShipped(): Promise<void> {
    const shipped = await attempt(() => call('shipped_model'));
    if (shipped !== undefined) this.shipped = shipped;
  }

  /** Makes `name` the model that answers, and loads it. */
  async use(name: string): Promise<void> {
    await this.change({ last_model: name });
    this.loaded = { ...this.loaded, state: 'loading', model: name, error: null };
    const state = await attempt(() => call('model_load', { name }));
    if (state) this.loaded = state;
    else if (this.loaded.state === 'loading' && this.loaded.model === name) this.loaded = { ...this.loaded, state: 'failed' };
  }

  /** Files that were dropped, for whoever takes them. */
  dropped = $state.raw<PickedFile[]>([]);

  #hear(event: AppEvent): void {
    switch (event.type) {
      case 'load_state':
        this.loaded = event.state;
        break;
      case 'models_changed':
        void this.refreshModels();
        break;
      case 'training':
        this.training = event.run;
        break;
      case 'drag':
        this.dragging = event.over;
        break;
      case 'dropped':
        this.dragging = false;
        this.dropped = event.files;
        break;
      case 'conversations_changed':
      case 'close_requested':
        break;
    }
    for (const listener of this.#listeners.get(event.type) ?? []) listener(event as never);
  }
}

export const app = new App();
