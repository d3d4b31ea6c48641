// One visit of a real gabion: reads {"url","link","socket","shots"} from
// GABION_REAL and speaks with the Go test line by line: it prints what it
// waits for, the test causes it and answers with a line.
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { openPage, startBrowser } from './setup.mjs'

const { url, link, shots } = JSON.parse(process.env.GABION_REAL)
const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
const ask = async (what) => {
  console.log(what)
  const { value } = await answers.next()
  assert.equal(value, 'done')
}
const browser = await startBrowser()
let failed
try {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1380, height: 900 } })
  context.setDefaultTimeout(15_000)
  const { page, faults } = await openPage(context, url)
  const shot = async (name) => shots && page.screenshot({ path: `${shots}/${name}.png`, fullPage: true })
  const go = async (path) => {
    await page.goto(url + path)
    await page.locator('main h1').first().waitFor()
    await page.waitForFunction(() => !document.querySelector('.loading'))
  }
  await page.goto(link)
  await page.getByRole('heading', { level: 1, name: /container/ }).waitFor()
  await shot('overview')
  await go('/workloads')
  await page.getByRole('link', { name: 'shop/web', exact: true }).first().waitFor()
  await shot('workloads')
  await go('/policies/WorkloadPolicy/shop/web')
  await shot('policy')
  await page.getByRole('button', { name: 'Promote to Protect' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Set to Protect' }).click()
  await page.getByRole('button', { name: 'Back to Monitor' }).waitFor()
  await ask('promoted')
  await go('/events?effect=blocked')
  await page.getByText('Live', { exact: true }).waitFor()
  await ask('deny')
  await page.locator('tbody tr').filter({ hasText: '/opt/echo' }).first().waitFor()
  await shot('events')
  await go('/workloads/shop/web')
  await page.getByRole('button', { name: /^Quarantine / }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Quarantine' }).click()
  await page.getByRole('button', { name: /^Release / }).waitFor()
  await shot('workload')
  await ask('quarantined')
  await page.getByRole('button', { name: 'Undo' }).first().click()
  await page.getByRole('dialog').getByRole('button', { name: 'Undo' }).click()
  await page.getByRole('button', { name: /^Quarantine / }).waitFor()
  await ask('released')
  assert.deepEqual(faults, [])
} catch (e) {
  failed = e
} finally {
  await browser.close()
}
if (failed) {
  console.error(failed)
  process.exit(1)
}
process.exit(0)
