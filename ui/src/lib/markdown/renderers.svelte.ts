/** The large renderers, of formulas and of code, which come after the first frame. */

import { loadHighlighter } from './highlight';
import { loadMath } from './math';

class Renderers {
  loaded = $state(false);

  async load(): Promise<void> {
    await Promise.all([loadHighlighter(), loadMath()]);
    this.loaded = true;
  }
}

export const renderers = new Renderers();
