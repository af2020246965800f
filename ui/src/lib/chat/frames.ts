/** Gathers what arrives between two frames, so that the page changes once a frame however fast tokens come. */

export type Schedule = (flush: () => void) => void;

/** The next frame; where the page is hidden and has no frames, a moment later. */
const nextFrame: Schedule = (flush) => {
  if (document.hidden) setTimeout(flush, 100);
  else requestAnimationFrame(flush);
};

export class FrameBatch<T> {
  #waiting: T[] = [];
  #scheduled = false;

  constructor(
    private readonly each: (batch: T[]) => void,
    private readonly schedule: Schedule = nextFrame,
  ) {}

  push(item: T): void {
    this.#waiting.push(item);
    if (this.#scheduled) return;
    this.#scheduled = true;
    this.schedule(() => this.flush());
  }

  /** Hands over what waits, now. */
  flush(): void {
    this.#scheduled = false;
    const batch = this.#waiting;
    this.#waiting = [];
    if (batch.length > 0) this.each(batch);
  }
}
