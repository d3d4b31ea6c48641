// Starts the browser, and a console over a made-up node when none is given in
// GABION_CONSOLE ({"url","link","socket"}; console/browser_test.go gives one).
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { createInterface } from 'node:readline'
import { chromium } from 'playwright-core'

const axe = readFileSync(new URL('../node_modules/axe-core/axe.min.js', import.meta.url), 'utf8')

export async function startConsole() {
  if (process.env.GABION_CONSOLE) return { ...JSON.parse(process.env.GABION_CONSOLE), stop: async () => {} }
  const child = spawn('go', ['run', './console/consoletest/serve'], { cwd: new URL('../..', import.meta.url), stdio: ['ignore', 'pipe', 'inherit'], detached: true })
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return {
    ...JSON.parse(line),
    stop: async () => {
      process.kill(-child.pid, 'SIGTERM') // the group: `go run` has the server as its child
      await once(child, 'exit')
    },
  }
}

/** Asks the API over the unix socket, as the local admin. */
export function local(socket, method, path, body) {
  return new Promise((resolve, reject) => {
    const req = httpRequest({ socketPath: socket, method, path: '/api/v1' + path, headers: { host: 'gabion', 'content-type': 'application/json' } }, (res) => {
      let text = ''
      res.on('data', (d) => (text += d))
      res.on('end', () => (res.statusCode < 300 ? resolve(text ? JSON.parse(text) : undefined) : reject(new Error(`${method} ${path}: ${res.statusCode} ${text}`))))
    })
    req.on('error', reject)
    req.end(body === undefined ? undefined : JSON.stringify(body))
  })
}

export const startBrowser = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  })

/** A page that notes everything it must not do. */
export async function openPage(context, origin) {
  const page = await context.newPage()
  const faults = []
  page.on('pageerror', (e) => faults.push('error: ' + e.message))
  page.on('console', (m) => {
    // The browser itself reports answers that are no success; tests that ask for those look at the page.
    if (['error', 'warning'].includes(m.type()) && !m.text().startsWith('Failed to load resource')) faults.push('console: ' + m.text())
  })
  page.on('request', (r) => {
    if (!r.url().startsWith(origin) && r.url() !== 'about:blank') faults.push('foreign request: ' + r.url())
  })
  await page.addInitScript(() => {
    addEventListener('securitypolicyviolation', (e) => console.error('policy violation: ' + e.violatedDirective + ' ' + e.blockedURI))
  })
  return { page, faults }
}

/** What axe finds wrong with the page as it is now. */
export async function violations(page) {
  // Evaluated by the debugger, so the page's own content policy is not loosened.
  await page.evaluate(axe)
  const found = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }))
  return found.violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.target.join(' ')).slice(0, 4).join(' | ')}`)
}
