import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** The built pages in a real browser, over a mock backend, under the content security policy of the app. */
export default defineConfig({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: {
    environment: 'node',
    include: ['*.e2e.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    sequence: { concurrent: false },
  },
});
