/** Shortcuts: which keys do what, and how they are written for people. */

import { tinykeys, type KeyBindingMap } from 'tinykeys';

import { t } from '../i18n/index.svelte';
import { dialogs } from '../state/dialogs.svelte';

import { ACTIONS, type Action } from './actions';

/** The same signs where other keyboards have them; `?` takes Shift on nearly all. */
const ELSEWHERE: Record<string, Action['id']> = {
  'Shift+?': 'shortcuts',
  'Shift+/': 'message',
  '$mod++': 'larger',
  '$mod+-': 'smaller',
};

/** Listens for every shortcut. The result ends it. */
export function listen(): () => void {
  const bindings: KeyBindingMap = {};
  for (const action of ACTIONS) if (action.keys !== null) bindings[action.keys] = (event) => press(action, action.keys ?? '', event);
  for (const [keys, id] of Object.entries(ELSEWHERE)) {
    const action = ACTIONS.find((each) => each.id === id);
    if (action) bindings[keys] = (event) => press(action, action.keys ?? '', event);
  }
  return tinykeys(window, bindings);
}

function press(action: Action, keys: string, event: KeyboardEvent): void {
  if (event.defaultPrevented || (action.possible && !action.possible())) return;
  if (isPlain(keys) && (isTyping(event.target) || dialogs.overlay !== null)) return;
  if (dialogs.question !== null || (dialogs.overlay !== null && action.id !== dialogs.overlay)) return;
  event.preventDefault();
  action.run();
}

/** Without a modifier, so a letter that one may be typing. */
function isPlain(keys: string): boolean {
  return keys.length === 1;
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    target.closest('input:not([type="range"], [type="checkbox"]), textarea, select, [contenteditable]') !== null
  );
}

const MAC = /mac/i.test(navigator.platform);

/** A shortcut as its keys, for reading. */
export function keyNames(keys: string): string[] {
  const names: Record<string, string> = {
    $mod: MAC ? '⌘' : t('key.ctrl'),
    Shift: MAC ? '⇧' : t('key.shift'),
    Alt: MAC ? '⌥' : 'Alt',
    Escape: 'Esc',
    ArrowLeft: '←',
    ArrowRight: '→',
    Equal: '+',
    Minus: '−',
  };
  return keys.split('+').map((key) => names[key] ?? key.toUpperCase());
}
