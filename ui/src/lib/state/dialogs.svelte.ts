/** Questions that must be answered before anything goes on, and the overlays of which one is open at a time. */

export interface Question {
  title: string;
  body: string;
  confirm: string;
  /** What is asked for cannot be undone. */
  danger: boolean;
}

export type Overlay = 'palette' | 'shortcuts' | 'close' | 'licences';

class Dialogs {
  question = $state.raw<(Question & { answer: (yes: boolean) => void }) | null>(null);
  overlay = $state<Overlay | null>(null);

  /** Asks; `false` when it is dismissed. */
  ask(question: Question): Promise<boolean> {
    this.question?.answer(false);
    return new Promise((resolve) => {
      this.question = {
        ...question,
        answer: (yes) => {
          this.question = null;
          resolve(yes);
        },
      };
    });
  }

  toggle(overlay: Overlay): void {
    this.overlay = this.overlay === overlay ? null : overlay;
  }
}

export const dialogs = new Dialogs();
