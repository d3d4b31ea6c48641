import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { svelte } from '@sveltejs/vite-plugin-svelte'
import { defineConfig, type Plugin } from 'vite'

/**
 * Writes the digest of everything the bundle is made of beside it, so that a
 * test without Node sees a bundle that is older than its source. The form is
 * told in embed_test.go, which computes the same.
 */
function sourceDigest(): Plugin {
  const under = (dir: string): string[] =>
    readdirSync(dir, { withFileTypes: true, recursive: true })
      .filter((f) => f.isFile())
      .map((f) => `${f.parentPath}/${f.name}`)
  return {
    name: 'source-digest',
    generateBundle() {
      const files = [...under('src'), ...under('public'), 'index.html', 'package.json', 'package-lock.json', 'svelte.config.js', 'tsconfig.json', 'vite.config.ts']
      const sum = createHash('sha256')
      for (const f of files.sort()) sum.update(f + '\n').update(createHash('sha256').update(readFileSync(f)).digest('hex') + '\n')
      this.emitFile({ type: 'asset', fileName: 'source.txt', source: sum.digest('hex') + '\n' })
    },
  }
}

// The bundle is committed, so it must come out the same wherever it is built:
// names carry a digest of the content, and nothing of the machine goes in.
export default defineConfig({
  plugins: [svelte(), sourceDigest()],
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
