/** The run that is being trained, and what is drawn of it. */

import {
  call,
  channel,
  type PhaseHistory,
  type StepPoint,
  type TrainEvent,
  type TrainPhase,
  type TrainRequest,
  type TrainRun,
} from '../api';
import { FrameBatch } from '../chat/frames';
import { app } from '../state/app.svelte';
import { attempt } from '../state/toasts.svelte';

export interface Sample {
  phase: TrainPhase;
  step: number;
  text: string;
}

/** Samples and notes that are kept to be read. */
const KEPT = 40;

class Train {
  /** Of the phase that is drawn. */
  points = $state.raw<StepPoint[]>([]);
  validations = $state.raw<{ step: number; bpb: number }[]>([]);
  samples = $state.raw<Sample[]>([]);
  notes = $state.raw<string[]>([]);
  phase = $state<TrainPhase>('pretraining');
  /** Runs that are not complete. */
  runs = $state.raw<TrainRun[]>([]);
  #watching = false;

  get run(): TrainRun | null {
    return app.training;
  }

  get active(): boolean {
    return this.run !== null && ['starting', 'running', 'pausing', 'stopping'].includes(this.run.state);
  }

  get latest(): StepPoint | null {
    return this.points.at(-1) ?? null;
  }

  /** Hears of the run: first all that was, then what comes. */
  async watch(): Promise<void> {
    if (this.#watching) return;
    this.#watching = true;
    const batch = new FrameBatch<TrainEvent>((events) => this.#hear(events));
    const run = await attempt(() => call('train_watch', { channel: channel<TrainEvent>((event) => batch.push(event)) }));
    if (run === undefined) this.#watching = false;
    else app.training = run;
    await this.refresh();
  }

  async refresh(): Promise<void> {
    const runs = await attempt(() => call('train_runs'));
    if (runs) this.runs = runs;
  }

  async start(request: TrainRequest): Promise<void> {
    await this.#control(() => call('train_start', { request }), true);
  }

  async pause(): Promise<void> {
    await this.#control(() => call('train_pause'), false);
  }

  async resume(name: string | null): Promise<void> {
    await this.#control(() => call('train_resume', { name }), name !== null && name !== this.run?.name);
  }

  async stop(): Promise<void> {
    await this.#control(() => call('train_stop'), false);
  }

  /** Puts the finished run away, and shows the form. */
  clear(): void {
    app.training = null;
    this.#forget();
    void this.refresh();
  }

  async #control(ask: () => Promise<TrainRun>, anew: boolean): Promise<void> {
    const run = await attempt(ask);
    if (!run) return;
    if (anew) {
      this.#forget();
      this.#watching = false;
      app.training = run;
      await this.watch();
    } else app.training = run;
  }

  #forget(): void {
    this.points = [];
    this.validations = [];
    this.samples = [];
    this.notes = [];
    this.phase = 'pretraining';
  }

  #hear(events: TrainEvent[]): void {
    const points: StepPoint[] = [];
    for (const event of events) {
      switch (event.type) {
        case 'history':
          points.length = 0;
          this.#take(event.history.phases);
          break;
        case 'run':
          app.training = event.run;
          break;
        case 'started':
          this.#enter(event.phase, points);
          break;
        case 'step':
          this.#enter(event.phase, points);
          points.push(event.point);
          if (this.run) {
            app.training = {
              ...this.run,
              phase: event.phase,
              step: event.point.step,
              progress: event.progress,
              eta_seconds: event.eta_seconds,
            };
          }
          break;
        case 'validation':
          this.validations = [...this.validations, { step: event.step, bpb: event.bpb }];
          break;
        case 'sample':
          this.samples = [{ phase: event.phase, step: event.step, text: event.text }, ...this.samples].slice(0, KEPT);
          break;
        case 'note':
          this.notes = [...this.notes, event.text].slice(-KEPT);
          break;
        case 'saved':
          break;
      }
    }
    if (points.length > 0) this.points = [...this.points, ...points];
  }

  /** Fine-tuning draws curves of its own. */
  #enter(phase: TrainPhase, points: StepPoint[]): void {
    if (phase === this.phase || (phase !== 'pretraining' && phase !== 'fine_tuning')) return;
    this.phase = phase;
    this.points = [];
    this.validations = [];
    points.length = 0;
  }

  #take(phases: PhaseHistory[]): void {
    const drawn = phases.findLast((phase) => phase.points.length > 0);
    this.phase = drawn?.phase ?? 'pretraining';
    this.points = drawn?.points ?? [];
    this.validations = drawn?.validations ?? [];
    this.samples = phases
      .flatMap((phase) => phase.samples.map((sample) => ({ phase: phase.phase, ...sample })))
      .reverse()
      .slice(0, KEPT);
  }
}

export const train = new Train();
