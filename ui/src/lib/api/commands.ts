import type { Channel } from '@tauri-apps/api/core';

import type {
  About,
  AnswerEvent,
  AppEvent,
  AppSettings,
  AppStart,
  ChatSettings,
  Conversation,
  ConversationSummary,
  Exported,
  ExportFormat,
  Format,
  GpuInfo,
  ImportEvent,
  Imported,
  ImportPlan,
  Licence,
  Limits,
  LoadState,
  Message,
  ModelInfo,
  PickedFile,
  SearchHit,
  ShippedModel,
  SortKey,
  Started,
  TrainEvent,
  TrainHistory,
  TrainPlan,
  TrainRequest,
  TrainRun,
} from './types';

/** A command: what it is given, what it gives back. */
interface Command<Args, Result> {
  args: Args;
  result: Result;
}
type None = Record<string, never>;

/** Every command that the backend answers to. There are no others. */
export interface Commands {
  app_start: Command<None, AppStart>;
  app_events: Command<{ channel: Channel<AppEvent> }, null>;
  settings_get: Command<None, AppSettings>;
  settings_set: Command<{ patch: Partial<AppSettings> }, AppSettings>;
  limits: Command<None, Limits>;
  about: Command<None, About>;
  licences: Command<None, Licence[]>;
  app_close: Command<{ training: 'stop' | 'keep' }, null>;

  conversations_list: Command<{ sort: SortKey }, ConversationSummary[]>;
  conversations_search: Command<{ query: string }, SearchHit[]>;
  conversation_create: Command<{ title: string | null; settings: ChatSettings | null }, Conversation>;
  conversation_get: Command<{ id: number }, Conversation>;
  conversation_rename: Command<{ id: number; title: string }, ConversationSummary>;
  conversation_pin: Command<{ id: number; pinned: boolean }, ConversationSummary>;
  conversation_settings: Command<{ id: number; settings: ChatSettings }, ChatSettings>;
  conversation_delete: Command<{ id: number }, null>;
  conversation_undelete: Command<{ id: number }, ConversationSummary>;
  conversation_export: Command<{ ids: number[]; format: ExportFormat; all_branches: boolean }, Exported | null>;
  conversations_import: Command<{ token: string | null }, Imported | null>;

  message_send: Command<
    { conversation: number; parent: number | null; text: string; model: string; channel: Channel<AnswerEvent> },
    Started
  >;
  message_regenerate: Command<{ message: number; model: string; channel: Channel<AnswerEvent> }, Started>;
  message_edit: Command<{ message: number; text: string; model: string; channel: Channel<AnswerEvent> }, Started>;
  message_choose: Command<{ message: number }, number[]>;
  message_attach: Command<{ message: number; channel: Channel<AnswerEvent> }, Message>;
  message_stop: Command<{ message: number }, null>;

  models_list: Command<None, ModelInfo[]>;
  model_load: Command<{ name: string }, LoadState>;
  model_unload: Command<None, null>;
  model_format_set: Command<{ name: string; format: Format | null }, ModelInfo>;
  model_delete: Command<{ name: string }, null>;
  model_pick: Command<{ folder: boolean }, PickedFile | null>;
  model_inspect: Command<{ token: string }, ImportPlan>;
  model_import: Command<{ token: string; name: string; channel: Channel<ImportEvent> }, ModelInfo>;
  import_cancel: Command<None, null>;
  model_install_shipped: Command<None, ModelInfo>;
  shipped_model: Command<None, ShippedModel | null>;
  gpus_list: Command<None, GpuInfo[]>;
  gpu_choose: Command<{ name: string | null }, GpuInfo[]>;

  train_pick_data: Command<{ folder: boolean }, PickedFile | null>;
  train_plan: Command<{ request: TrainRequest }, TrainPlan>;
  train_start: Command<{ request: TrainRequest }, TrainRun>;
  train_watch: Command<{ channel: Channel<TrainEvent> }, TrainRun | null>;
  train_pause: Command<None, TrainRun>;
  train_resume: Command<{ name: string | null }, TrainRun>;
  train_stop: Command<None, TrainRun>;
  train_runs: Command<None, TrainRun[]>;
  train_history: Command<{ name: string }, TrainHistory>;
}

export type CommandName = keyof Commands;
