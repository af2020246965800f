/** Bringing in a model: what was picked, what it would become, how far it is. */

import { call, channel, type AppError, asAppError, type ImportEvent, type ImportPlan, type PickedFile } from '../api';
import { t } from '../i18n/index.svelte';
import { app } from '../state/app.svelte';
import { attempt, toasts } from '../state/toasts.svelte';

class Imports {
  file = $state.raw<PickedFile | null>(null);
  plan = $state.raw<ImportPlan | null>(null);
  name = $state('');
  progress = $state.raw<ImportEvent | null>(null);
  running = $state(false);
  /** Why the file cannot be taken. */
  problem = $state.raw<AppError | null>(null);

  get open(): boolean {
    return this.file !== null;
  }

  async pick(folder: boolean): Promise<void> {
    const file = await attempt(() => call('model_pick', { folder }));
    if (file) await this.inspect(file);
  }

  /** Looks at a file and says what it would become. Nothing is written. */
  async inspect(file: PickedFile): Promise<void> {
    if (this.running) return;
    this.file = file;
    this.plan = null;
    this.problem = null;
    try {
      this.plan = await call('model_inspect', { token: file.token });
      this.name = this.plan.name;
    } catch (thrown) {
      this.problem = asAppError(thrown);
    }
  }

  async start(): Promise<boolean> {
    const file = this.file;
    if (!file || this.running) return false;
    this.running = true;
    this.progress = null;
    this.problem = null;
    try {
      const model = await call('model_import', {
        token: file.token,
        name: this.name.trim(),
        channel: channel<ImportEvent>((event) => (this.progress = event)),
      });
      await app.refreshModels();
      toasts.note(t('models.imported', { name: model.name }));
      if (!app.settings.last_model) await app.change({ last_model: model.name });
      this.#reset();
      return true;
    } catch (thrown) {
      const error = asAppError(thrown);
      if (error.code === 'cancelled') this.#reset();
      else this.problem = error;
      return false;
    } finally {
      this.running = false;
    }
  }

  /** Shuts the dialog; an import that runs is given up, and leaves nothing behind. */
  async cancel(): Promise<void> {
    if (this.running) await attempt(() => call('import_cancel'));
    else this.#reset();
  }

  #reset(): void {
    this.file = null;
    this.plan = null;
    this.progress = null;
    this.problem = null;
  }
}

export const imports = new Imports();

/** Whether a model may be called `name`. */
export function goodName(name: string, longest: number): boolean {
  return name.length <= longest && /^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name);
}
