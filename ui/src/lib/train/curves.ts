/** Points of a run as lines that share their steps. */

import type { StepPoint } from '../api';

export interface Lines {
  steps: number[];
  loss: (number | null)[];
  smooth: (number | null)[];
  bpb: (number | null)[];
  /** Validation, where there was one. */
  validation: (number | null)[];
}

/** Joins steps and validations, which need not fall on the same steps. */
export function lines(points: readonly StepPoint[], validations: readonly { step: number; bpb: number }[]): Lines {
  const byStep = new Map(points.map((point) => [point.step, point]));
  const measured = new Map(validations.map(({ step, bpb }) => [step, bpb]));
  const steps = [...new Set([...byStep.keys(), ...measured.keys()])].sort((a, b) => a - b);
  const of = (value: (point: StepPoint) => number) =>
    steps.map((step) => {
      const point = byStep.get(step);
      return point ? value(point) : null;
    });
  return {
    steps,
    loss: of((point) => point.loss),
    smooth: of((point) => point.smooth_loss),
    bpb: of((point) => point.bpb),
    validation: steps.map((step) => measured.get(step) ?? null),
  };
}
