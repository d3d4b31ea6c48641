import { chromium } from 'playwright-core'
import { readFileSync, mkdirSync } from 'node:fs'
const { url, link } = JSON.parse(readFileSync('/tmp/serve.out', 'utf8'))
mkdirSync('/tmp/shots', { recursive: true })
const b = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--headless','--no-sandbox','--disable-gpu','--disable-quic','--no-first-run','--disable-background-networking','--disable-component-update','--disable-sync'] })
const ctx = await b.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1380, height: 900 } })
const p = await ctx.newPage()
p.on('console', m => console.log('console', m.type(), m.text()))
p.on('pageerror', e => console.log('pageerror', e.message))
const only = process.argv.slice(2)
await p.goto(url + '/signin'); await p.waitForSelector('form'); await p.screenshot({ path: '/tmp/shots/signin.png' })
await p.goto('about:blank')
await p.goto(link); await p.waitForSelector('main h1'); await p.waitForTimeout(600)
const pages = { overview: '/', workloads: '/workloads', workload: '/workloads/shop/checkout', blind: '/workloads/ops/node-exporter', events: '/events', event: '/events?effect=blocked&event=ev-031', policies: '/policies', policy: '/policies/WorkloadPolicy/shop/web', source: '/policies/WorkloadPolicy/shop/checkout#L13', new: '/policies/new', users: '/users', none: '/nope' }
for (const theme of ['light', 'dark']) {
  await p.emulateMedia({ colorScheme: theme })
  for (const [n, path] of Object.entries(pages)) {
    if (only.length && !only.includes(n)) continue
    await p.goto(url + path); await p.waitForSelector('main h1'); await p.waitForTimeout(700)
    await p.screenshot({ path: `/tmp/shots/${n}-${theme}.png`, fullPage: true })
  }
}
await p.setViewportSize({ width: 390, height: 844 })
for (const n of ['overview','workloads','events','policy','workload']) { if (only.length && !only.includes(n)) continue; await p.goto(url + pages[n]); await p.waitForTimeout(700); await p.screenshot({ path: `/tmp/shots/${n}-phone.png`}) 
 console.log(n, await p.evaluate(() => document.documentElement.scrollWidth)) }
await b.close()
