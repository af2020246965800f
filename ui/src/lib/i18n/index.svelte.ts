/**
 * The words of the app. English is the source: its keys are the keys, and `{names}` in its texts are the parameters that
 * a call must give. Another language is one more file with the same keys.
 */

import { de } from './de';
import { en } from './en';

export type Key = keyof typeof en;
export type Messages = Record<Key, string>;
type Text<K extends Key> = (typeof en)[K];

/** The `{names}` in a text. */
type Names<S extends string> = S extends `${string}{${infer Name}}${infer Rest}` ? Name | Names<Rest> : never;
type Values<S extends string> = [Names<S>] extends [never] ? [] : [Record<Names<S>, string | number>];

/** A stem whose texts say `{n}` of something: `stem.one` and `stem.other`. */
export type Plural = StemOf<Key>;
type StemOf<K extends Key> = K extends `${infer Stem}.one` ? Stem : never;

export const LANGUAGES = { en: 'English', de: 'Deutsch' } as const;
export type Language = keyof typeof LANGUAGES;

const CATALOGUES: Record<Language, Messages> = { en, de };

let language = $state<Language>(systemLanguage());

/** The language that is spoken now. */
export function currentLanguage(): Language {
  return language;
}

/** Speaks `tag`, or the system's language where `tag` is empty or not known. */
export function setLanguage(tag: string): void {
  language = known(tag) ?? systemLanguage();
}

/** The text of `key`, with its `{names}` filled in. */
export function t<K extends Key>(key: K, ...[values]: Values<Text<K>>): string {
  return fill(CATALOGUES[language][key], values as Record<string, string | number> | undefined);
}

/** The text of `stem` for `n` things. */
export function plural(stem: Plural, n: number): string {
  const form = new Intl.PluralRules(language).select(n) === 'one' ? 'one' : 'other';
  return fill(CATALOGUES[language][`${stem}.${form}`], { n: new Intl.NumberFormat(language).format(n) });
}

function fill(text: string, values: Record<string, string | number> | undefined): string {
  if (!values) return text;
  return text.replace(/\{(\w+)\}/g, (whole, name: string) => (name in values ? String(values[name]) : whole));
}

function systemLanguage(): Language {
  for (const tag of navigator.languages) {
    const found = known(tag);
    if (found) return found;
  }
  return 'en';
}

function known(tag: string): Language | undefined {
  const base = tag.toLowerCase().split('-')[0] ?? '';
  return base in LANGUAGES ? (base as Language) : undefined;
}
