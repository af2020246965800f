/** Numbers, sizes and times in the language that is spoken. */

import { currentLanguage, t } from './index.svelte';

// To make a formatter costs far more than to use it, and lists use many.
const numbers = new Map<string, Intl.NumberFormat>();
const dates = new Map<string, Intl.DateTimeFormat>();

function numberFormat(options: Intl.NumberFormatOptions): Intl.NumberFormat {
  const key = `${currentLanguage()} ${JSON.stringify(options)}`;
  const format = numbers.get(key) ?? new Intl.NumberFormat(currentLanguage(), options);
  numbers.set(key, format);
  return format;
}

function dateFormat(options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${currentLanguage()} ${JSON.stringify(options)}`;
  const format = dates.get(key) ?? new Intl.DateTimeFormat(currentLanguage(), options);
  dates.set(key, format);
  return format;
}

/** A number with at most `digits` decimals. */
export function number(value: number, digits = 0): string {
  return numberFormat({ maximumFractionDigits: digits }).format(value);
}

/** A number with exactly `digits` decimals, for columns and curves. */
export function fixed(value: number, digits: number): string {
  return numberFormat({ minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value);
}

/** A large number in short: 12.4M. */
export function compact(value: number): string {
  return numberFormat({ notation: 'compact', maximumSignificantDigits: 3 }).format(value);
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'] as const;

/** A size in bytes: 12.4 MB. */
export function bytes(value: number): string {
  let unit = 0;
  let rest = value;
  while (rest >= 999.5 && unit < UNITS.length - 1) {
    rest /= 1000;
    unit += 1;
  }
  return `${number(rest, rest < 10 && unit > 0 ? 1 : 0)} ${UNITS[unit] ?? ''}`;
}

/** How long something takes, in its two largest units. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  if (hours > 0) return t('time.hours', { h: hours, m: minutes });
  if (minutes > 0) return t('time.minutes', { m: minutes, s: rest });
  return t('time.seconds', { s: rest });
}

/** Milliseconds as seconds with two digits that count. */
export function seconds(milliseconds: number): string {
  return t('time.precise', { s: number(milliseconds / 1000, milliseconds < 10_000 ? 2 : 0) });
}

/** A day, short: today's as the time, this year's without the year. */
export function when(time: number, now = Date.now()): string {
  const [date, today] = [new Date(time), new Date(now)];
  const sameYear = date.getFullYear() === today.getFullYear();
  const options: Intl.DateTimeFormatOptions =
    date.toDateString() === today.toDateString()
      ? { hour: 'numeric', minute: '2-digit' }
      : { day: 'numeric', month: 'short', ...(sameYear ? {} : { year: 'numeric' }) };
  return dateFormat(options).format(date);
}

/** Date and time in full. */
export function moment(time: number): string {
  return dateFormat({ dateStyle: 'medium', timeStyle: 'short' }).format(new Date(time));
}
