/** What the mock backend has at the start: limits, settings, models, GPUs. */

import type { ChatSettings, GpuInfo, Limits, ModelInfo, Range } from '../src/lib/api';

import { formats, GPU_BYTES, inMemory } from './formats';

const range = (min: number, max: number, standard: number, step: number, whole: boolean): Range => ({
  min,
  max,
  default: standard,
  step,
  whole,
});

export const LIMITS: Limits = {
  chat: {
    system_prompt: { max_bytes: 100_000 },
    temperature: range(0, 5, 0.6, 0.05, false),
    top_k: range(0, 100_000, 50, 1, true),
    top_p: range(0.01, 1, 1, 0.01, false),
    min_p: range(0, 1, 0, 0.01, false),
    repetition_penalty: range(0.5, 2, 1, 0.01, false),
    seed: range(0, 2 ** 53 - 1, 0, 1, true),
    max_tokens: range(1, 100_000, 512, 1, true),
  },
  message_max_bytes: 1_000_000,
  title_max_chars: 200,
  search_max_chars: 200,
  font_size: range(12, 24, 15, 1, true),
  sidebar_width: range(200, 480, 280, 1, true),
  model_name_max_chars: 64,
  train: {
    depth: range(1, 32, 4, 1, true),
    context: range(64, 4096, 512, 64, true),
    steps: range(1, 1_000_000, 500, 1, true),
    tokens: range(1000, 100_000_000_000, 10_000_000, 1000, true),
    minutes: range(1, 10_080, 10, 1, true),
    seed: range(0, 2 ** 53 - 1, 42, 1, true),
  },
};

export const CHAT: ChatSettings = {
  system_prompt: '',
  temperature: 0.6,
  top_k: 50,
  top_p: 1,
  min_p: 0,
  repetition_penalty: 1,
  seed: null,
  max_tokens: 512,
};

export const MODELS: ModelInfo[] = [
  model({
    name: 'garden-chat',
    kind: 'chat',
    depth: 6,
    n_embd: 384,
    parameters: 26_300_000,
    val_bpb: 1.183,
    data: ['conversations'],
    from: { run: 'garden', step: 2400 },
    step: 310,
  }),
  model({
    name: 'garden',
    kind: 'base',
    chat: false,
    depth: 6,
    n_embd: 384,
    parameters: 26_300_000,
    val_bpb: 1.127,
    data: ['shipped corpus'],
    step: 2400,
    updated_at: Date.now() - 9e6,
  }),
  model({
    name: 'nanochat-d20',
    kind: 'imported',
    depth: 20,
    n_embd: 1280,
    n_head: 10,
    n_kv_head: 10,
    parameters: 560_988_160,
    context: 2048,
    vocab_size: 65_536,
    precision: 'bf16',
    val_bpb: 0.814,
    file_bytes: 1_122_000_000,
    source: 'model_000650.pt',
    step: 650,
    updated_at: Date.now() - 9e8,
  }),
  model({
    name: 'nanochat-d34',
    kind: 'imported',
    depth: 34,
    n_embd: 2176,
    n_head: 17,
    n_kv_head: 17,
    parameters: 2_217_082_880,
    context: 2048,
    vocab_size: 65_536,
    val_bpb: 0.725,
    file_bytes: 8_868_000_000,
    source: 'model_169150.pt',
    step: 169_150,
    updated_at: Date.now() - 2e9,
  }),
  model({
    name: 'spell-d4',
    kind: 'chat',
    depth: 4,
    n_embd: 256,
    parameters: 11_500_000,
    val_bpb: 1.341,
    data: ['spelling.jsonl'],
    step: 900,
    shipped: true,
    file_bytes: 18_400_000,
    updated_at: Date.now() - 3e9,
  }),
];

export function model(known: Partial<ModelInfo> & { name: string; depth: number }): ModelInfo {
  const precision = known.precision ?? 'f32';
  const parameters = known.parameters ?? 1e6;
  return {
    kind: 'base',
    chat: true,
    problem: null,
    parameters,
    n_embd: 256,
    n_head: 4,
    n_kv_head: 4,
    context: 1024,
    vocab_size: 8192,
    precision,
    file_bytes: 105_000_000,
    ...inMemory(formats(precision, parameters, 60_000_000 + parameters / 3), null),
    step: null,
    val_bpb: null,
    updated_at: Date.now() - 3.6e6,
    from: null,
    source: null,
    data: [],
    training: false,
    shipped: false,
    ...known,
  };
}

export const GPUS: GpuInfo[] = [
  {
    index: 0,
    name: 'Radeon RX 6600',
    kind: 'discrete',
    backend: 'Vulkan',
    driver: 'RADV 26.0',
    f16: true,
    memory_bytes: GPU_BYTES,
    chosen: true,
  },
  { index: 1, name: 'llvmpipe', kind: 'software', backend: 'Vulkan', driver: 'Mesa 22.3.6', f16: false, memory_bytes: null, chosen: false },
];
