/** What jsdom lacks and the page asks for. */

window.matchMedia = (media: string) =>
  ({
    media,
    matches: false,
    onchange: null,
    addEventListener: () => undefined,
    removeEventListener: () => undefined,
  }) as unknown as MediaQueryList;

window.requestAnimationFrame = (each) => setTimeout(() => each(performance.now()), 4) as unknown as number;
