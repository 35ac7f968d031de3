import { defineConfig } from 'vite';

// File names are stable: the Go server embeds the built files, sends an ETag of
// their bytes, and a rebuild of unchanged source must leave no difference.
export default defineConfig({
  base: './',
  publicDir: 'public',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    outDir: '../internal/web/dist',
    emptyOutDir: true,
    target: 'es2022',
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    assetsInlineLimit: 0,
    chunkSizeWarningLimit: 400,
    rolldownOptions: {
      preserveEntrySignatures: false,
      output: {
        entryFileNames: 'app.js',
        chunkFileNames: '[name].js',
        assetFileNames: (a) => (a.names?.[0]?.endsWith('.css') ? 'app.css' : '[name][extname]'),
        // All that the first screen needs is one file; what only some screens use comes with them.
        // The two editors share one file of the editor itself.
        codeSplitting: {
          groups: [
            { name: 'app', tags: ['$initial'], priority: 2 },
            { name: 'codemirror', test: /node_modules[\\/](@codemirror|@lezer|@marijn|crelt|style-mod|w3c-keyname)[\\/]/, priority: 1 },
          ],
        },
      },
    },
  },
});
