/** What is open around the page. */

import { app } from './app.svelte';

/** Below this many pixels the sidebar lies over the page. */
const NARROW = 760;

class Layout {
  drawer = $state(false);
  narrow = $state(false);
  /** In a narrow window the sidebar is shut until it is asked for. */
  #over = $state(false);

  get sidebarShown(): boolean {
    return this.narrow ? this.#over : app.settings.sidebar_open;
  }

  toggleSidebar(): void {
    if (this.narrow) this.#over = !this.#over;
    else void app.change({ sidebar_open: !app.settings.sidebar_open });
  }

  /** Something in the sidebar was chosen. */
  chosen(): void {
    this.#over = false;
  }

  /** Follows the width of the window. The result ends it. */
  watch(): () => void {
    const query = matchMedia(`(max-width: ${String(NARROW)}px)`);
    const change = () => (this.narrow = query.matches);
    change();
    query.addEventListener('change', change);
    return () => query.removeEventListener('change', change);
  }
}

export const layout = new Layout();
