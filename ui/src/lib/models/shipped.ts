/** The small model that comes with the app. */

import { call } from '../api';
import { app } from '../state/app.svelte';
import { attempt } from '../state/toasts.svelte';

/** Installs it and makes it the one that answers. */
export async function installShipped(): Promise<boolean> {
  const model = await attempt(() => call('model_install_shipped'));
  if (!model) return false;
  await app.refreshModels();
  await app.refreshShipped();
  await app.use(model.name);
  return true;
}
