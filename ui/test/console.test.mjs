import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { local, openPage, startBrowser, startConsole, violations } from './setup.mjs'

let server, browser, state, csrf
const limit = 15_000

before(async () => {
  server = await startConsole()
  browser = await startBrowser()
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

/** Runs fn in a page of a fresh browser context; by default as the admin. */
async function visit(fn, { as = state, ...options } = {}) {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1380, height: 900 }, storageState: as ?? undefined, ...options })
  context.setDefaultTimeout(limit)
  try {
    const { page, faults } = await openPage(context, server.url)
    await fn(page, context)
    assert.deepEqual(faults, [])
  } finally {
    await context.close()
  }
}
const go = async (page, path) => {
  await page.goto(server.url + path)
  await page.locator('main h1').first().waitFor()
}
const act = (id, action) => local(server.socket, 'POST', `/containers/${id}/actions`, { action })
const workload = (ns, name) => local(server.socket, 'GET', `/workloads/${ns}/${name}`)

test('a link signs in once, without ever being in an address that is sent', async () => {
  await visit(
    async (page, context) => {
      const sent = []
      page.on('request', (r) => sent.push(r.url()))
      const token = server.link.split('#')[1]
      await page.goto(server.link)
      await page.getByRole('heading', { level: 1, name: /container/ }).waitFor()
      assert.equal(page.url(), server.url + '/')
      assert.ok(!sent.some((u) => u.includes(token) && !u.includes('#')), 'the token was in a request line')
      const cookie = (await context.cookies()).find((c) => c.name === '__Host-gabion')
      assert.ok(cookie.httpOnly && cookie.secure && cookie.sameSite === 'Strict')
      state = await context.storageState()
      csrf = await page.evaluate(async () => (await (await fetch('/api/v1/session')).json()).csrf)
    },
    { as: null },
  )
  await visit(
    async (page) => {
      await page.goto(server.link)
      await page.getByRole('alert').getByText('used already or has expired').waitFor()
      assert.deepEqual(await violations(page), [])
    },
    { as: null },
  )
})

test('a user signs in with a password and comes back to the same page', async () => {
  await local(server.socket, 'POST', '/users', { name: 'vera', role: 'viewer', password: 'correct horse battery' })
  await visit(
    async (page, context) => {
      await page.goto(server.url + '/workloads?q=dash')
      await page.getByLabel('User').fill('vera')
      await page.getByLabel('Password').fill('wrong')
      await page.getByRole('button', { name: 'Sign in' }).click()
      await page.getByRole('alert').getByText('User or password is wrong').waitFor()
      await page.getByLabel('Password').fill('correct horse battery')
      await page.keyboard.press('Enter')
      await page.getByRole('link', { name: 'ops/dashboard', exact: true }).first().waitFor()
      assert.equal(page.url(), server.url + '/workloads?q=dash')

      // A viewer is not offered what the server would refuse.
      await go(page, '/workloads/ops/dashboard')
      await page.getByText('Policy in force').waitFor()
      assert.equal(await page.getByRole('button', { name: /Quarantine|Kill/ }).count(), 0)
      await go(page, '/policies/WorkloadPolicy/shop/web')
      await page.getByText('Forecast for Protect').waitFor()
      assert.equal(await page.getByRole('button', { name: /Edit|Remove|Promote/ }).count(), 0)
      assert.equal(await page.getByRole('link', { name: 'Users' }).count(), 0)

      // The session ends while the page is open.
      await local(server.socket, 'DELETE', '/users/vera')
      await page.getByRole('link', { name: 'Workloads', exact: true }).first().click()
      await page.getByText('Your session has ended').waitFor()
      await context.clearCookies()
    },
    { as: null },
  )
})

const pages = {
  overview: '/',
  workloads: '/workloads',
  workload: '/workloads/shop/checkout',
  images: '/images',
  image: '/images/sha256%3A' + 'd1'.repeat(32),
  'findings of an image': '/images/sha256%3A' + 'd1'.repeat(32) + '?tab=findings',
  'layers of an image': '/images/sha256%3A' + 'd1'.repeat(32) + '?tab=layers',
  'incomplete image': '/images/sha256%3A' + 'db'.repeat(32),
  'blind workload': '/workloads/ops/node-exporter',
  'idle workload': '/workloads/shop/invoice-batch',
  events: '/events',
  event: '/events?effect=blocked&event=ev-031',
  policies: '/policies',
  policy: '/policies/WorkloadPolicy/shop/web',
  'policy at a line': '/policies/WorkloadPolicy/shop/checkout#L13',
  'new policy': '/policies/new',
  users: '/users',
  'no page': '/nowhere',
}
for (const colorScheme of ['light', 'dark']) {
  test(`every page is accessible and keeps to itself, ${colorScheme}`, async () => {
    await visit(
      async (page) => {
        const wrong = {}
        for (const [name, path] of Object.entries(pages)) {
          await go(page, path)
          await page.waitForFunction(() => !document.querySelector('.loading'))
          const found = await violations(page)
          if (found.length) wrong[name] = found
          assert.match(await page.title(), /^Gabion$| · Gabion$/, name)
        }
        assert.deepEqual(wrong, {})
      },
      { colorScheme },
    )
  })
}

test('no page is wider than a phone', async () => {
  await visit(
    async (page) => {
      for (const [name, path] of Object.entries(pages)) {
        await go(page, path)
        await page.waitForFunction(() => !document.querySelector('.loading'))
        assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= 390, name)
      }
    },
    { viewport: { width: 390, height: 844 } },
  )
})

test('the overview says what is blind and why', async () => {
  await visit(async (page) => {
    await go(page, '/')
    await page.getByRole('heading', { name: '1 container of 13 is not covered.' }).waitFor()
    const blind = page.getByRole('region', { name: 'Blind, and why' })
    await blind.getByText("uses the host's network").waitFor()
    await page.getByRole('region', { name: 'Policy decisions' }).getByText('Blocked').first().waitFor()
    assert.match(await page.getByRole('region', { name: 'Policy decisions' }).getByRole('list').first().innerText(), /Blocked\s*49/)
    await blind.getByRole('link', { name: 'ops/node-exporter' }).click()
    await page.getByRole('heading', { name: 'ops/node-exporter' }).waitFor()
    await page.getByText('Degraded:').first().waitFor()
  })
})

test('workloads are found by text and state, and the address says so', async () => {
  await visit(async (page) => {
    await go(page, '/workloads')
    await page.getByText('12 workloads').waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('shop')
    await page.getByText('9 workloads').waitFor()
    await page.getByLabel('State').selectOption('enforced')
    await page.getByText('1 workload', { exact: true }).waitFor()
    assert.equal(page.url(), server.url + '/workloads?q=shop&state=enforced')
    await page.getByRole('link', { name: 'shop/checkout' }).first().click()
    await page.getByRole('heading', { name: 'shop/checkout' }).waitFor()
    await page.goBack()
    await page.getByText('1 workload', { exact: true }).waitFor()
    await page.getByLabel('Search workloads').fill('nothing is called so')
    await page.getByText('No workload matches').waitFor()
  })
})

test('a container is cut off after a question, and the action is undone', async () => {
  await visit(async (page) => {
    await go(page, '/workloads/shop/checkout')
    const quarantine = page.getByRole('button', { name: 'Quarantine checkout-7d9f4-x2k8q' })
    await quarantine.click()
    const ask = page.getByRole('dialog')
    await ask.getByText('Every connection of the container stops').waitFor()
    assert.deepEqual(await violations(page), [])
    await page.keyboard.press('Escape')
    await ask.waitFor({ state: 'hidden' })
    assert.ok(!(await workload('shop', 'checkout')).quarantined, 'Escape did it anyway')

    await quarantine.click()
    await ask.getByRole('button', { name: 'Quarantine' }).click()
    await page.getByRole('status').getByText('is cut off from every network').waitFor()
    await page.getByRole('button', { name: 'Release checkout-7d9f4-x2k8q' }).waitFor()
    assert.ok((await workload('shop', 'checkout')).quarantined)

    await page.getByRole('button', { name: 'Undo' }).first().click()
    await ask.getByRole('button', { name: 'Undo' }).click()
    await quarantine.waitFor()
    assert.ok(!(await workload('shop', 'checkout')).quarantined)
    await page.getByText('has its network back').first().waitFor()
    assert.equal(await page.getByRole('button', { name: 'Undo' }).count(), 0, 'what was undone is not offered again')

    // What cannot be done any more is said in the dialog, not lost.
    const [first] = (await workload('shop', 'checkout')).running
    await page.getByRole('button', { name: `Kill ${first.name}` }).click()
    await act(first.id, 'kill')
    await ask.getByRole('button', { name: 'Kill' }).click()
    await ask.getByRole('alert').waitFor()
  })
})

test('the plan leads to the line of policy that made a rule', async () => {
  await visit(async (page) => {
    await go(page, '/workloads/shop/checkout')
    await page.getByRole('link', { name: 'policies/checkout.yaml:13' }).first().click()
    await page.getByRole('heading', { name: 'checkout' }).waitFor()
    await page.locator('.text.here').waitFor()
    assert.match(await page.locator('.text.here').innerText(), /class: shell/)
  })
})

test('events come live, and a grown cause replaces its line', async () => {
  await visit(async (page) => {
    await go(page, '/events?kind=response')
    await page.getByText('Live', { exact: true }).waitFor()
    const rows = page.locator('tbody tr')
    const before = await rows.count()
    const [one] = (await workload('shop', 'cart')).running
    await act(one.id, 'pause')
    await page.getByText(`Container ${one.name} was paused`).waitFor()
    assert.equal(await rows.count(), before + 1)

    await page.getByRole('button', { name: 'Pause', exact: true }).click()
    await page.getByText('Paused', { exact: true }).waitFor()
    assert.match(page.url(), /live=off/)
    await act(one.id, 'resume')
    await page.getByRole('button', { name: 'Go live' }).click()
    await page.getByText(`Container ${one.name} goes on`).waitFor()

    // Refused requests of one kind are one event whose count grows.
    await go(page, '/events?kind=console&q=' + encodeURIComponent('tried a sign-in link'))
    await page.getByText('Live', { exact: true }).waitFor()
    for (const round of [1, 2]) {
      const count = rows.first().locator('td').last()
      const old = (await rows.count()) ? Number(await count.innerText()) : 0
      const bad = await page.request.post(server.url + '/api/v1/signin/link', { data: { token: 'wrong' }, headers: { 'X-Gabion-CSRF': csrf } })
      assert.equal(bad.status(), 401, `round ${round}`)
      await page.waitForFunction((n) => Number(document.querySelector('tbody tr td:last-child')?.textContent) === n, old + 1)
      assert.equal(await rows.count(), 1)
    }
  })
})

test('events are read with the keyboard', async () => {
  await visit(async (page) => {
    await go(page, '/events?effect=blocked&kind=process')
    await page.locator('tbody tr').first().waitFor()
    await page.keyboard.press('j')
    await page.keyboard.press('j')
    await page.keyboard.press('k')
    assert.equal(await page.locator('tr[aria-selected=true]').count(), 1)
    await page.keyboard.press('Enter')
    const drawer = page.getByRole('complementary', { name: 'Event' })
    await drawer.getByText('lives only in memory').waitFor()
    await page.keyboard.press('j')
    await drawer.getByText('kworkerd --threads=1').waitFor()
    await drawer.getByText('spec.process.drift').waitFor()
    assert.match(page.url(), /event=ev-031/)
    await page.keyboard.press('Escape')
    await drawer.waitFor({ state: 'hidden' })
    assert.ok(!page.url().includes('event='))
  })
})

test('a filter of events is an address, and an export', async () => {
  await visit(async (page) => {
    await go(page, '/events')
    await page.getByRole('button', { name: 'Would block' }).click()
    await page.getByRole('button', { name: '/bin/dash would have been blocked' }).waitFor()
    assert.equal(await page.locator('tbody tr').count(), 1)
    await page.getByLabel('Search events').fill('rotate')
    await page.waitForURL(/q=rotate/)
    await page.locator('tbody tr').first().waitFor()
    const download = page.waitForEvent('download')
    await page.getByRole('link', { name: 'NDJSON' }).click()
    assert.equal((await download).suggestedFilename(), 'gabion-events.ndjson')
    await page.getByLabel('Least severity').selectOption('critical')
    await page.getByText('No event matches').waitFor()
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.waitForURL(server.url + '/events')
  })
})

test('a policy is edited with its mistakes shown, compared, applied', async () => {
  await visit(async (page) => {
    await go(page, '/policies/WorkloadPolicy/shop/web')
    await page.getByRole('button', { name: 'Edit' }).click()
    const text = page.getByLabel('Policy as YAML')
    const good = await text.inputValue()
    await text.fill(good.replace('process:', 'proces:'))
    await page.getByText('1 error').waitFor()
    await page.getByRole('button', { name: 'line 7' }).waitFor()
    assert.ok(await page.getByRole('button', { name: 'Show what would change' }).isDisabled())
    assert.deepEqual(await violations(page), [])
    await page.getByRole('button', { name: 'line 7' }).click()
    assert.equal(await text.evaluate((el) => el.value.slice(0, el.selectionStart).split('\n').length), 7)

    await text.fill(good.replace('drift: Deny', 'drift: Allow'))
    assert.ok(await page.getByRole('button', { name: 'Apply' }).isDisabled(), 'what would change was not looked at yet')
    await page.getByRole('button', { name: 'Show what would change' }).click()
    await page.getByText('+    drift: Allow').waitFor()
    assert.deepEqual(await violations(page), [])
    await page.getByRole('button', { name: 'Apply' }).click()
    await page.getByRole('status').getByText('Applied: WorkloadPolicy/shop/web').waitFor()
    const p = await local(server.socket, 'GET', '/policies/WorkloadPolicy%2Fshop%2Fweb')
    assert.match(p.source, /drift: Allow/)
  })
})

test('a policy is promoted with its forecast in view', async () => {
  await visit(async (page) => {
    await go(page, '/policies/WorkloadPolicy/shop/web')
    await page.getByText('Not ready').waitFor()
    await page.getByRole('button', { name: 'Promote to Protect' }).click()
    await page.getByRole('dialog').getByText('1 behaviour would have been blocked').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Set to Protect' }).click()
    await page.getByRole('button', { name: 'Back to Monitor' }).waitFor()
    assert.equal((await local(server.socket, 'GET', '/policies/WorkloadPolicy%2Fshop%2Fweb')).mode, 'Protect')
  })
})

test('a profile becomes a policy', async () => {
  await visit(async (page) => {
    await go(page, '/workloads/data/orders-db')
    await page.getByRole('button', { name: 'Write policy from profile' }).click()
    await page.getByRole('heading', { name: 'New policy' }).waitFor()
    assert.match(await page.getByLabel('Policy as YAML').inputValue(), /postgres/)
    await page.getByRole('button', { name: 'Show what would change' }).click()
    await page.getByRole('button', { name: 'Apply' }).click()
    await page.getByRole('heading', { name: 'orders-db' }).waitFor()
    await page.getByRole('button', { name: 'Remove' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click()
    await page.waitForURL(server.url + '/policies')
  })
})

test('users are added and removed', async () => {
  await visit(async (page) => {
    await go(page, '/users')
    await page.getByText('No users yet').waitFor()
    await page.getByLabel('Name').fill('otto')
    await page.getByLabel('Password', { exact: true }).fill('correct horse battery')
    await page.locator('form select').selectOption('operator')
    await page.getByRole('button', { name: 'Add user' }).click()
    await page.getByLabel('Role of otto').waitFor()
    assert.deepEqual(await violations(page), [])
    await page.getByRole('button', { name: 'Remove otto' }).click()
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click()
    await page.getByText('No users yet').waitFor()
  })
})

test('trouble and emptiness are said', async () => {
  await visit(async (page) => {
    let answer = (route) => route.fulfill({ status: 500, contentType: 'application/problem+json', body: JSON.stringify({ detail: 'Cannot list workloads. Reference 1234.' }) })
    await page.route('**/api/v1/workloads*', (r) => answer(r))
    await go(page, '/workloads')
    await page.getByRole('alert').getByText('Reference 1234').waitFor()
    assert.deepEqual(await violations(page), [])
    answer = (route) => route.fulfill({ json: { items: null, total: 0 } })
    await page.getByRole('button', { name: 'Try again' }).click()
    await page.getByText('No workloads yet').waitFor()
    let release
    const held = new Promise((r) => (release = r))
    answer = async (route) => {
      await held
      await route.continue()
    }
    await page.reload()
    await page.getByRole('status').getByText('Loading').waitFor({ state: 'attached' })
    assert.deepEqual(await violations(page), [])
    release()
    await page.getByText('12 workloads').waitFor()
    answer = (route) => route.abort()
    await page.getByLabel('State').selectOption('blind')
    await page.getByText('The console does not answer').waitFor()
    await page.unroute('**/api/v1/workloads*')
  })
})

test('images are ranked, filtered, and told to be incomplete when they are', async () => {
  await visit(async (page) => {
    await go(page, '/images')
    const rows = page.locator('tbody tr')
    await rows.first().getByRole('link', { name: /careless\/dashboard/ }).waitFor()
    assert.equal(await rows.count(), 4)
    await rows.filter({ hasText: 'postgres:16' }).getByText('INCOMPLETE').waitFor()
    await page.getByRole('button', { name: 'Exploited' }).click()
    await page.getByText('1 image', { exact: true }).first().waitFor()
    assert.match(page.url(), /kev=true/)
    await page.getByLabel('State of the scan').selectOption('incomplete')
    await page.getByText('No image matches').waitFor()
    await page.getByRole('button', { name: 'Clear' }).click()
    await page.getByLabel('Search images').fill('postgres')
    await page.getByRole('link', { name: 'postgres:16' }).click()
    await page.getByText('INCOMPLETE: 2 things could not be examined').waitFor()
    await page.getByText('nothing in this layer was examined').waitFor()
    await page.getByRole('link', { name: /^Secrets & checks/ }).click()
    await page.getByText('Nothing was found in what could be examined').first().waitFor()
    assert.equal(await page.getByText('No secret was found').count(), 0)
  })
})

test('an image tells what to do, what it holds and where it runs', async () => {
  await visit(async (page) => {
    await go(page, '/images/sha256%3A' + 'd1'.repeat(32))
    await page.getByText('upgrade Maven org.apache.logging.log4j').waitFor()
    await page.getByRole('region', { name: 'Beyond what is allowed' }).getByText('CVE-2021-44228').waitFor()
    await page.getByRole('link', { name: /^Findings/ }).click()
    const first = page.locator('tbody tr').first()
    await first.getByText('Exploited').waitFor()
    await first.getByText('Used here').waitFor()
    await page.getByRole('button', { name: 'Next' }).click()
    await page.getByText('131 findings, 51 to 100 shown').waitFor()
    await page.getByRole('button', { name: /^Settled/ }).click()
    await page.getByText('no Perl is started').waitFor()
    await page.getByRole('link', { name: /^Packages/ }).click()
    await page.getByLabel('Search packages').fill('lib411')
    await page.getByText('1 package', { exact: true }).waitFor()
    const file = page.waitForEvent('download')
    await page.getByRole('link', { name: 'CycloneDX' }).click()
    assert.match((await file).suggestedFilename(), /^registry\.ops\.example-careless-dashboard/)
    await page.getByRole('link', { name: /^Where it runs/ }).click()
    await page.getByRole('link', { name: 'ops/dashboard' }).click()
    await page.waitForURL('**/workloads/ops/dashboard')
  })
})

test('an operator asks for a scan, and hears when too many wait', async () => {
  await visit(async (page) => {
    await go(page, '/')
    await page.keyboard.press('g')
    await page.keyboard.press('i')
    await page.getByLabel('Reference of an image to scan').fill('registry.example/app:1')
    await page.keyboard.press('Enter')
    await page.getByRole('region', { name: 'Scans that were asked for' }).getByText('registry.example/app:1').waitFor()
    await page.getByRole('button', { name: 'Scan registry.shop.example/search:3.1.0' }).click()
    await page.getByText('registry.shop.example/search:3.1.0 will be scanned.').waitFor()
    await page.getByLabel('Reference of an image to scan').fill('registry.example/more:1')
    await page.getByRole('button', { name: 'Scan image' }).click()
    await page.getByText('too much is waiting already').waitFor()
  })
})

test('the keyboard goes everywhere, and the focus is seen', async () => {
  await visit(async (page) => {
    await go(page, '/')
    await page.keyboard.press('Tab')
    const skip = page.getByRole('link', { name: 'Skip to the page' })
    assert.ok(await skip.evaluate((el) => el === document.activeElement && el.getBoundingClientRect().left >= 0))
    await page.keyboard.press('Tab')
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle), 'none')
    await page.keyboard.press('g')
    await page.keyboard.press('p')
    await page.getByRole('heading', { name: 'Policies' }).waitFor()
    assert.equal(await page.evaluate(() => document.activeElement.tagName), 'H1')
    await page.keyboard.press('?')
    await page.getByRole('dialog').getByText('Search on this page').waitFor()
    assert.deepEqual(await violations(page), [])
    await page.keyboard.press('Escape')
    assert.equal(await page.getByRole('link', { name: 'Policies', exact: true }).getAttribute('aria-current'), 'page')
  })
})

test('the theme follows the system, or the person', async () => {
  await visit(
    async (page) => {
      const dark = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
      await go(page, '/')
      assert.equal(await dark(), 'rgb(17, 20, 19)')
      await page.getByRole('button', { name: 'System theme' }).click()
      assert.equal(await dark(), 'rgb(246, 246, 243)')
      await page.reload()
      await page.getByRole('button', { name: 'Light theme' }).waitFor()
      assert.equal(await dark(), 'rgb(246, 246, 243)')
    },
    { colorScheme: 'dark' },
  )
})

test('signing out ends the session', async () => {
  await visit(async (page) => {
    await go(page, '/')
    await page.getByRole('button', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await page.goto(server.url + '/events')
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
  })
})
