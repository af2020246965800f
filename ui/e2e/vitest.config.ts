import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/**
 * The built pages in a real browser, over a mock backend, under the content security policy of the app. What measures time
 * is no test, for other programs run too: `npm run speed`.
 */
export default defineConfig(({ mode }) => ({
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: {
    environment: 'node',
    include: [mode === 'speed' ? '*.speed.ts' : '*.e2e.ts'],
    testTimeout: 120_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    sequence: { concurrent: false },
  },
}));
