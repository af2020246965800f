/** Formats of weights in words, and why a model has the one that it has. */

import type { Format, FormatFit } from '../api';
import { t } from '../i18n/index.svelte';

/** What is asked of a model or of the plan of an import. */
export interface Kept {
  /** In the file. */
  precision: Format;
  /** In memory. */
  weights: Format;
  weights_choice?: Format | null;
  formats: FormatFit[];
}

/** A format in words that need no explanation. */
export function formatName(format: Format): string {
  return {
    f32: t('format.f32'),
    bf16: t('format.bf16'),
    f16: t('format.f16'),
    q8: t('format.q8'),
    q4: t('format.q4'),
  }[format];
}

/** The person's choice, if it can still be chosen: a file that was written since may have fewer bits. */
export function chosen({ weights_choice, formats }: Kept): Format | null {
  return formats.find(({ format }) => format === weights_choice)?.format ?? null;
}

/** Which format a model is kept in, and why. */
export function why(kept: Kept): string {
  const format = formatName(kept.weights);
  if (chosen(kept)) return t('format.why_chosen', { format });
  if (kept.weights === kept.precision) return t('format.why_own', { format });
  const fit = (which: Format) => kept.formats.find((each) => each.format === which)?.fit;
  const wider = formatName(kept.precision);
  if (fit(kept.weights) !== 'fits') return t('format.why_least', { format });
  return fit(kept.precision) === 'tight' ? t('format.why_tight', { format, wider }) : t('format.why_fits', { format, wider });
}
