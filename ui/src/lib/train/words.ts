/** States and phases of a run in words. */

import type { TrainPhase, TrainState } from '../api';
import { t } from '../i18n/index.svelte';

export function stateWords(state: TrainState): string {
  return {
    starting: t('train.state_starting'),
    running: t('train.state_running'),
    pausing: t('train.state_pausing'),
    paused: t('train.state_paused'),
    stopping: t('train.state_stopping'),
    stopped: t('train.state_stopped'),
    finished: t('train.state_finished'),
    crashed: t('train.state_crashed'),
    failed: t('train.state_failed'),
  }[state];
}

export function phaseWords(phase: TrainPhase): string {
  return {
    preparing: t('train.phase_preparing'),
    tokenizer: t('train.phase_tokenizer'),
    measuring: t('train.phase_measuring'),
    pretraining: t('train.phase_pretraining'),
    fine_tuning: t('train.phase_fine_tuning'),
  }[phase];
}
