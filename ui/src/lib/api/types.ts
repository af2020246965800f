/**
 * What the backend and the pages say to each other. The backend's half lives in `src-tauri`; names and shapes here are
 * exactly those on the wire. Times are milliseconds since 1970, sizes are bytes.
 */

export type ErrorCode =
  | 'bad_input'
  | 'not_found'
  | 'busy'
  | 'no_model'
  | 'no_gpu'
  | 'out_of_memory'
  | 'damaged'
  | 'io'
  | 'cancelled'
  | 'unsupported'
  | 'internal';

/** Why a command failed: a sentence for people, and a detail worth copying. */
export interface AppError {
  code: ErrorCode;
  message: string;
  detail: string;
}

// The app

export interface AppStart {
  settings: AppSettings;
  limits: Limits;
  conversations: ConversationSummary[];
  models: ModelInfo[];
  loaded: LoadState;
  training: TrainRun | null;
  /** The message that is being written. */
  answering: number | null;
  recovered: Recovered | null;
  version: string;
}

/** A damaged database was set aside at this start. */
export interface Recovered {
  moved_to: string;
  problem: string;
}

export type AppEvent =
  | { type: 'load_state'; state: LoadState }
  | { type: 'models_changed' }
  | { type: 'conversations_changed' }
  | { type: 'training'; run: TrainRun }
  | { type: 'dropped'; files: PickedFile[] }
  | { type: 'drag'; over: boolean }
  | { type: 'close_requested'; run: TrainRun };

export type Theme = 'system' | 'light' | 'dark';
export type SortKey = 'recent' | 'created' | 'title';

export interface AppSettings {
  theme: Theme;
  /** Pixels. */
  font_size: number;
  /** BCP 47; empty for the system's. */
  language: string;
  last_model: string | null;
  last_conversation: number | null;
  /** `null` for the best there is. */
  gpu: string | null;
  sort: SortKey;
  sidebar_open: boolean;
  /** Pixels. */
  sidebar_width: number;
  send_with: 'enter' | 'mod_enter';
  onboarded: boolean;
  /** Settings of new conversations. */
  defaults: ChatSettings;
}

export interface About {
  version: string;
  nc_core: string;
  tauri: string;
  webview: string;
  os: string;
  data_folder: string;
  models_folder: string;
  database_bytes: number;
}

export interface Licence {
  name: string;
  version: string;
  licence: string;
  repository: string | null;
}

/** A file that the person chose or dropped. The page never learns where it is. */
export interface PickedFile {
  token: string;
  name: string;
  bytes: number;
  folder: boolean;
}

// Conversations

export interface ConversationSummary {
  id: number;
  title: string;
  /** The person named it; else the title is made from the first message. */
  titled: boolean;
  pinned: boolean;
  created_at: number;
  updated_at: number;
  /** Of all branches. */
  messages: number;
  model: string | null;
}

export interface Conversation extends ConversationSummary {
  settings: ChatSettings;
  /** Every message; a parent comes before its children. */
  tree: Message[];
  /** The chosen branch, first message to last. */
  path: number[];
}

export interface Message {
  id: number;
  parent: number | null;
  role: 'user' | 'assistant';
  parts: Part[];
  created_at: number;
  /** All alternatives in the order of making, itself included. */
  siblings: number[];
  state: 'whole' | 'writing' | 'interrupted' | 'failed';
  /** Of an assistant's message that ended. */
  answer: Answer | null;
}

/** `python` is an expression for the calculator, `python_output` what it gave. */
export interface Part {
  type: 'text' | 'python' | 'python_output';
  text: string;
}

export type Reason = 'stop' | 'max_tokens' | 'context_full' | 'cancelled' | 'interrupted' | 'failed';

/** How an answer ended and what it took. */
export interface Answer {
  model: string;
  reason: Reason;
  error: AppError | null;
  seed: number;
  prompt_tokens: number;
  reused_tokens: number;
  new_tokens: number;
  first_token_ms: number;
  total_ms: number;
  tokens_per_second: number;
  context_used: number;
  context: number;
  /** Oldest messages that did not fit the context. */
  dropped: number;
}

export interface SearchHit {
  conversation: ConversationSummary;
  /** `null` where the title matched. */
  message: number | null;
  role: 'user' | 'assistant' | null;
  snippet: Piece[];
}

export interface Piece {
  text: string;
  match: boolean;
}

export type ExportFormat = 'markdown' | 'json' | 'jsonl';

export interface Exported {
  name: string;
  bytes: number;
  conversations: number;
}

export interface Imported {
  conversations: number[];
  skipped: Skipped[];
}

export interface Skipped {
  line: number;
  problem: string;
}

// Messages

export interface Started {
  user: Message | null;
  assistant: Message;
  path: number[];
  conversation: ConversationSummary;
}

export type AnswerEvent =
  | { type: 'loading'; model: string }
  | { type: 'reading' }
  | { type: 'cut'; messages: number }
  | { type: 'delta'; parts: Part[]; tokens: number; tokens_per_second: number; context_used: number | null }
  | { type: 'done'; message: Message; conversation: ConversationSummary };

export interface ChatSettings {
  system_prompt: string;
  temperature: number;
  top_k: number;
  top_p: number;
  min_p: number;
  repetition_penalty: number;
  /** `null` draws a new one for each answer. */
  seed: number | null;
  max_tokens: number;
}

export interface Range {
  min: number;
  max: number;
  default: number;
  step: number;
  whole: boolean;
}

export interface Limits {
  chat: { system_prompt: { max_bytes: number } } & Record<ChatNumber, Range>;
  message_max_bytes: number;
  title_max_chars: number;
  search_max_chars: number;
  font_size: Range;
  sidebar_width: Range;
  model_name_max_chars: number;
  train: TrainLimits;
}

/** Settings of a chat that are numbers. */
export type ChatNumber = Exclude<keyof ChatSettings, 'system_prompt'>;

// Models and GPUs

export type Fit = 'fits' | 'tight' | 'too_large' | 'unknown';

/** How weights are kept: floats of 32 or 16 bits, or blocks of 8 or 4 bits with a scale. */
export type Format = 'f32' | 'bf16' | 'f16' | 'q8' | 'q4';

/** What chatting takes while weights are in a format. */
export interface FormatFit {
  format: Format;
  memory_bytes: number;
  /** On the chosen GPU. */
  fit: Fit;
}

export interface ModelInfo {
  name: string;
  kind: 'base' | 'chat' | 'imported';
  /** Fine-tuned for conversation, or not known. */
  chat: boolean;
  /** Why it cannot be loaded; other fields may then be 0. */
  problem: AppError | null;
  parameters: number;
  depth: number;
  n_embd: number;
  n_head: number;
  n_kv_head: number;
  context: number;
  vocab_size: number;
  /** Of its weights in the file. */
  precision: Format;
  file_bytes: number;
  /** Of its weights while it answers. */
  weights: Format;
  /** The person's choice; `null` leaves it to the app. */
  weights_choice: Format | null;
  /** All that can be chosen, widest first. */
  formats: FormatFit[];
  /** Needed to chat. */
  memory_bytes: number;
  /** On the chosen GPU. */
  fit: Fit;
  step: number | null;
  val_bpb: number | null;
  updated_at: number;
  from: { run: string; step: number } | null;
  source: string | null;
  data: string[];
  training: boolean;
  shipped: boolean;
}

export interface LoadState {
  state: 'none' | 'loading' | 'loaded' | 'failed';
  model: string | null;
  gpu: string | null;
  /** The format of what is loaded. */
  weights: Format | null;
  memory_bytes: number;
  load_ms: number | null;
  error: AppError | null;
}

export interface GpuInfo {
  index: number;
  name: string;
  kind: 'discrete' | 'integrated' | 'virtual' | 'software' | 'other';
  backend: string;
  driver: string;
  f16: boolean;
  memory_bytes: number | null;
  chosen: boolean;
}

/** What an import would make. */
export interface ImportPlan {
  name: string;
  format: string;
  parameters: number;
  depth: number;
  context: number;
  vocab_size: number;
  file_bytes: number;
  /** As in {@link ModelInfo}. */
  precision: Format;
  weights: Format;
  formats: FormatFit[];
  memory_bytes: number;
  fit: Fit;
  warnings: string[];
}

/** `done` and `total` are bytes. */
export interface ImportEvent {
  type: 'progress';
  stage: string;
  done: number;
  total: number;
}

export interface ShippedModel {
  name: string;
  bytes: number;
  parameters: number;
  installed: boolean;
  note: string;
}

// Training

export interface TrainRequest {
  name: string;
  depth: number;
  context: number;
  /** Fine-tune afterwards, so that it answers. */
  chat: boolean;
  data: { type: 'shipped' } | { type: 'picked'; tokens: string[] };
  budget: Budget;
  seed: number;
}

export type Budget = { type: 'steps'; steps: number } | { type: 'tokens'; tokens: number } | { type: 'minutes'; minutes: number };

export interface TrainLimits {
  depth: Range;
  context: Range;
  steps: Range;
  tokens: Range;
  minutes: Range;
  seed: Range;
}

export interface TrainPlan {
  parameters: number;
  n_embd: number;
  n_head: number;
  vocab_size: number;
  tokens_per_step: number;
  /** `null` where it is measured at the start. */
  steps: number | null;
  tokens: number | null;
  memory_bytes: number;
  fit: Fit;
  /** Why it cannot start as asked. */
  problem: AppError | null;
  gpu: string;
}

export type TrainState = 'starting' | 'running' | 'pausing' | 'paused' | 'stopping' | 'stopped' | 'finished' | 'crashed' | 'failed';
export type TrainPhase = 'preparing' | 'tokenizer' | 'measuring' | 'pretraining' | 'fine_tuning';

export interface TrainRun {
  name: string;
  state: TrainState;
  phase: TrainPhase;
  step: number;
  steps: number | null;
  /** From 0 to 1, of the phase. */
  progress: number;
  eta_seconds: number | null;
  started_at: number;
  error: AppError | null;
  /** The fine-tuned model, once it exists. */
  chat_model: string | null;
}

export type TrainEvent =
  | { type: 'history'; history: TrainHistory }
  | { type: 'run'; run: TrainRun }
  | { type: 'started'; phase: TrainPhase; parameters: number; memory_bytes: number; gpu: string; step: number }
  | { type: 'step'; phase: TrainPhase; point: StepPoint; progress: number; eta_seconds: number }
  | { type: 'validation'; phase: TrainPhase; step: number; bpb: number; min_bpb: number }
  | { type: 'sample'; phase: TrainPhase; step: number; text: string }
  | { type: 'saved'; phase: TrainPhase; step: number }
  | { type: 'note'; text: string };

export interface StepPoint {
  step: number;
  loss: number;
  smooth_loss: number;
  bpb: number;
  tokens: number;
  tokens_per_second: number;
  memory_bytes: number;
  seconds: number;
}

export interface TrainHistory {
  name: string;
  phases: PhaseHistory[];
}

export interface PhaseHistory {
  phase: TrainPhase;
  points: StepPoint[];
  validations: { step: number; bpb: number }[];
  samples: { step: number; text: string }[];
}
