import type { Plugin } from 'vite';

/** Puts the mock backend in front of the page, for looking at it in a browser (`npm run preview-mock`). */
export function mockBackend(): Plugin {
  return {
    name: 'mock-backend',
    transformIndexHtml: () => [{ tag: 'script', attrs: { type: 'module', src: '/mock/install.ts' }, injectTo: 'head-prepend' }],
  };
}
