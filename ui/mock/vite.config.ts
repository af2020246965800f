import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';

/** Builds the mock backend into one script, which the end-to-end tests load before the page's own. */
export default defineConfig({
  build: {
    outDir: fileURLToPath(new URL('dist', import.meta.url)),
    target: 'es2022',
    lib: { entry: fileURLToPath(new URL('install.ts', import.meta.url)), formats: ['iife'], name: 'mock', fileName: () => 'mock.js' },
  },
});
