import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

import { mockBackend } from './mock/plugin.ts';

export default defineConfig(({ mode }) => ({
  plugins: [svelte(), ...(mode === 'mock' ? [mockBackend()] : [])],
  // The pages are served from inside the executable: every address is relative to them.
  base: './',
  build: {
    target: 'es2022',
    // The content security policy allows no data: fonts and no inline scripts, so nothing is inlined.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
  },
  test: {
    environment: 'jsdom',
    include: ['tests/**/*.test.ts'],
    setupFiles: ['tests/setup.ts'],
    // Long enough for a machine that does much else: it is what they do that counts.
    testTimeout: 60_000,
  },
  resolve: process.env.VITEST ? { conditions: ['browser'] } : {},
}));
