/** A run of training that is only played. */

import type { StepPoint, TrainEvent, TrainHistory, TrainRun } from '../src/lib/api';

import { error } from './errors';
import { SAMPLES } from './texts';

/** Sends one event over a channel that the page made. */
export type Send = (channel: unknown, event: unknown) => void;

/** A run that learns as runs do: quickly, then slowly, with some noise. */
export class Training {
  run: TrainRun;
  #channel: unknown = null;
  readonly history: TrainHistory;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(
    name: string,
    steps: number,
    private readonly send: Send,
    private readonly tell: (run: TrainRun) => void,
  ) {
    this.run = {
      name,
      state: 'running',
      phase: 'pretraining',
      step: 0,
      steps,
      progress: 0,
      eta_seconds: null,
      started_at: Date.now(),
      error: null,
      chat_model: null,
    };
    this.history = { name, phases: [{ phase: 'pretraining', points: [], validations: [], samples: [] }] };
  }

  watch(channel: unknown): void {
    this.#channel = channel;
    this.#emit({ type: 'history', history: this.history });
  }

  go(): TrainRun {
    this.#set({ state: 'running', error: null });
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.advance(1), 60);
    return { ...this.run };
  }

  halt(state: 'paused' | 'stopped'): TrainRun {
    clearInterval(this.#timer);
    this.#set({ state });
    return { ...this.run };
  }

  crash(): void {
    clearInterval(this.#timer);
    this.#set({
      state: 'crashed',
      error: error(
        'internal',
        'The training process ended unexpectedly (signal 9). Resume goes on from step 120.',
        'exit: signal 9 (SIGKILL)\nlast checkpoint: 000120',
      ),
    });
  }

  advance(count: number): void {
    for (let each = 0; each < count; each += 1) this.#step();
  }

  #step(): void {
    const phase = this.history.phases[0];
    if (!phase) return;
    const step = this.run.step + 1;
    const total = this.run.steps ?? 600;
    const smooth = 2.6 + 6.4 * Math.exp(-step / 140) + 0.9 * Math.exp(-step / 900);
    const noise = Math.sin(step * 12.9898) * 43758.5453;
    const loss = smooth + (noise - Math.floor(noise) - 0.5) * 0.35;
    const point: StepPoint = {
      step,
      loss,
      smooth_loss: smooth,
      bpb: smooth / 2.95,
      tokens: step * 16_384,
      tokens_per_second: 18_400 + (noise % 400),
      memory_bytes: 1_260_000_000,
      seconds: step * 0.89,
    };
    phase.points.push(point);
    this.run = { ...this.run, step, progress: step / total, eta_seconds: (total - step) * 0.89 };
    this.#emit({ type: 'step', phase: 'pretraining', point, progress: this.run.progress, eta_seconds: this.run.eta_seconds ?? 0 });
    if (step % 60 === 0) {
      const bpb = smooth / 2.95 + 0.03;
      phase.validations.push({ step, bpb });
      this.#emit({ type: 'validation', phase: 'pretraining', step, bpb, min_bpb: bpb });
      const text = SAMPLES[Math.min(SAMPLES.length - 1, Math.floor(step / 300))] ?? '';
      phase.samples.push({ step, text });
      this.#emit({ type: 'sample', phase: 'pretraining', step, text });
    }
    if (step >= total) {
      clearInterval(this.#timer);
      this.#set({ state: 'finished', chat_model: `${this.run.name}-chat` });
    }
  }

  #set(change: Partial<TrainRun>): void {
    this.run = { ...this.run, ...change };
    this.tell({ ...this.run });
    this.#emit({ type: 'run', run: { ...this.run } });
  }

  #emit(event: TrainEvent): void {
    if (this.#channel !== null) this.send(this.#channel, structuredClone(event));
  }
}
