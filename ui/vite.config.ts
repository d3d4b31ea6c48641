import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig } from 'vite'

// The bundle is committed, so it must come out the same wherever it is built:
// names carry a digest of the content, and nothing of the machine goes in.
export default defineConfig({
  plugins: [svelte()],
  build: {
    target: 'es2022',
    // light-dark() is used as it is.
    cssTarget: ['chrome123', 'firefox120', 'safari17.5'],
    // The page's content policy forbids data: and inline code.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    sourcemap: false,
    reportCompressedSize: true,
  },
})
