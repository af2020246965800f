import { describe, expect, it } from 'vitest';

import { de } from '../src/lib/i18n/de';
import { en } from '../src/lib/i18n/en';
import { bytes, duration, when } from '../src/lib/i18n/format';
import { currentLanguage, plural, setLanguage, t } from '../src/lib/i18n/index.svelte';
import { errorText } from '../src/lib/state/toasts.svelte';

const sources = import.meta.glob<string>('../src/**/*.{ts,svelte}', { query: '?raw', import: 'default', eager: true });
const used = Object.entries(sources)
  .filter(([path]) => !/i18n\/(en|de)\.ts$/.test(path))
  .map(([, source]) => source)
  .join('\n');

const names = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort();

describe('messages', () => {
  it('have the same keys in both languages', () => {
    expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort());
  });

  it.each(Object.keys(en) as (keyof typeof en)[])('ask for the same in both languages: %s', (key) => {
    expect(names(de[key])).toEqual(names(en[key]));
    expect(de[key].trim()).not.toBe('');
  });

  it.each(Object.keys(en))('are used: %s', (key) => {
    const stem = key.replace(/\.(one|other)$/, '');
    expect(used.includes(`t('${key}'`) || (stem !== key && used.includes(`plural('${stem}'`))).toBe(true);
  });

  it('stand in the catalogue in order, by place', () => {
    const places = Object.keys(en).map((key) => key.split('.')[0]);
    expect(places.filter((place, index) => place !== places[index - 1]).length).toBe(new Set(places).size);
  });
});

describe('language', () => {
  it('follows the setting, and falls back to the system', () => {
    setLanguage('de-AT');
    expect(t('action.delete')).toBe('Löschen');
    expect(plural('models.count', 1)).toBe('1 Modell');
    expect(plural('models.count', 1200)).toBe('1.200 Modelle');
    setLanguage('tlh');
    expect(currentLanguage()).toBe('en');
    expect(t('sampling.range', { min: 0, max: 5 })).toBe('From 0 to 5.');
  });

  it('never fills in what a value says', () => {
    expect(t('app.recovered', { file: '{file}' })).toContain('{file}');
  });
});

describe('numbers', () => {
  it.each([
    [0, '0 B'],
    [999, '999 B'],
    [1000, '1 kB'],
    [18_400_000, '18 MB'],
    [1_122_000_000, '1.1 GB'],
  ])('of bytes: %d is %s', (value, words) => expect(bytes(value)).toBe(words));

  it.each([
    [5, '5 s'],
    [65, '1 min 5 s'],
    [3700, '1 h 1 min'],
    [-3, '0 s'],
  ])('of seconds: %d is %s', (value, words) => expect(duration(value)).toBe(words));

  it('of days are short', () => {
    const now = new Date(2026, 10, 24, 12).getTime();
    expect(when(new Date(2026, 10, 24, 9, 5).getTime(), now)).toBe('9:05 AM');
    expect(when(new Date(2026, 2, 3).getTime(), now)).toBe('Mar 3');
    expect(when(new Date(2025, 2, 3).getTime(), now)).toBe('Mar 3, 2025');
  });
});

describe('errors', () => {
  const error = { code: 'out_of_memory', message: 'The GPU has 2 GB.', detail: '' } as const;

  it('are said as the backend says them, in another language after words of its own', () => {
    setLanguage('en');
    expect(errorText(error)).toBe('The GPU has 2 GB.');
    setLanguage('de');
    expect(errorText(error)).toBe('Der Speicher reicht nicht. (The GPU has 2 GB.)');
    setLanguage('en');
    expect(errorText({ ...error, message: '' })).toBe('There is not enough memory.');
  });
});
