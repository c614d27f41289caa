import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { Browser, Page, Request } from 'playwright-core'
import { mebibyte, noise } from '../fixtures/images.ts'
import { tempDir } from '../fixtures/server-process.ts'
import type { TempDir } from '../fixtures/server-process.ts'
import { launchBrowser, openTab, signIn, startPage } from './page-fixture.ts'
import type { PageUnderTest } from './page-fixture.ts'

const data = noise(24 * mebibyte + 512, 1)

let browser: Browser
let dir: TempDir
const file = (name: string): string => join(dir.path, name)

before(async () => {
  dir = await tempDir('page')
  await writeFile(file('disk.raw'), data)
  browser = await launchBrowser()
})
after(async () => {
  await browser.close()
  await dir[Symbol.asyncDispose]()
})

const ready = { name: 'disk', phase: 'UploadReady' }

/** The line is so fast from now on; resolves with the way to change that. */
async function throttle(page: Page, bytesPerSecond: number): Promise<(bytesPerSecond: number) => Promise<void>> {
  const session = await page.context().newCDPSession(page)
  await session.send('Network.enable')
  const setSpeed = async (uploadThroughput: number): Promise<void> => {
    await session.send('Network.emulateNetworkConditions', {
      offline: false,
      latency: 1,
      downloadThroughput: -1,
      uploadThroughput,
    })
  }
  await setSpeed(bytesPerSecond)
  return setSpeed
}

async function chooseFile(page: Page, path: string): Promise<void> {
  await page.locator('#drop').waitFor()
  await page.locator('#file').setInputFiles(path)
}

/** Requests of the upload protocol from now on: method and `Upload-Offset`. */
function followRequests(page: Page): { readonly method: string; readonly offset: number }[] {
  const seen: { method: string; offset: number }[] = []
  page.on('request', (request: Request) => {
    if (!request.url().includes('/v1beta1/')) return
    seen.push({ method: request.method(), offset: Number(request.headers()['upload-offset'] ?? -1) })
  })
  return seen
}

async function untilState(page: Page, state: string): Promise<void> {
  await page.locator('#transfer-state', { hasText: state }).waitFor({ timeout: 60_000 })
}

/** Playwright's own way needs `eval`, which the page forbids. */
async function untilTrue(page: Page, expression: string): Promise<void> {
  const deadline = Date.now() + 30_000
  while (!(await page.evaluate<boolean>(expression))) {
    if (Date.now() > deadline) assert.fail(`not in time: ${expression}`)
    await delay(50)
  }
}

async function untilDone(page: Page, percent: number): Promise<void> {
  await untilTrue(page, `inBrowser.donePercent() >= ${percent}`)
}

async function assertUploaded(served: PageUnderTest): Promise<void> {
  const { exitCode } = await served.chain.server.finished
  assert.equal(exitCode, 0)
  const disk = await readFile(served.chain.disk)
  assert.ok(disk.subarray(0, data.length).equals(data))
}

async function openPage(served: PageUnderTest, options = {}) {
  const tab = await openTab(browser, options)
  await tab.page.goto(served.url)
  return tab
}

describe('the page', () => {
  it('lists the DataVolumes of a namespace and keeps them up to date', async () => {
    await using served = await startPage()
    served.volumes.push(
      { name: 'fedora', phase: 'ImportInProgress', progress: '42.17%', source: { registry: {} }, restartCount: 2 },
      { ...ready, conditions: [{ type: 'Ready', status: 'False', reason: 'TransferRunning', message: 'soon' }] },
    )
    const { page, complaints } = await openPage(served)
    await signIn(page)
    const row = page.getByRole('listitem').filter({ hasText: 'fedora' })
    await row.getByText('ImportInProgress').waitFor()
    assert.match(await row.innerText(), /1Gi · from container image · 1 min old · 2 restarts/)
    assert.equal(await row.getByRole('progressbar', { name: 'Progress of fedora' }).getAttribute('value'), '42.17')
    await page.getByLabel('Conditions of disk').click()
    await page.getByText('TransferRunning – soon').waitFor()
    const fedora = served.volumes[0]
    if (fedora) fedora.phase = 'Succeeded'
    await row.getByText('Succeeded').waitFor({ timeout: 10_000 })
    assert.equal(await page.locator('#announcer').textContent(), 'fedora is now Succeeded')
    // What was open stays open.
    assert.ok(await page.getByText('TransferRunning – soon').isVisible())
    assert.deepEqual(complaints, [])
    await page.context().close()
  })

  it('says what is wrong with a token and with a namespace, and how to help it', async () => {
    await using served = await startPage()
    const { page } = await openPage(served)
    const alert = page.locator('#access-error')
    await signIn(page, { token: 'wrong' })
    await alert.getByText('The cluster does not accept this token').waitFor()
    assert.match((await alert.textContent()) ?? '', /kubectl create token/)
    await signIn(page, { namespace: 'other' })
    await alert.getByText('This token has no right to do that.').waitFor()
    assert.match((await alert.textContent()) ?? '', /cannot list resource "datavolumes"[^]*Ask for the role/)
    await page.getByLabel('An upload token').check()
    await page.getByRole('textbox', { name: 'Upload token' }).fill('not.a.token')
    await page.getByRole('button', { name: 'Go on' }).click()
    await alert.getByText('That is not an upload token.').waitFor()
    await page.context().close()
  })

  it('uploads a dropped file, pauses, goes on after a reload where it was, and finishes', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const { page, complaints } = await openPage(served)
    await page.getByLabel('Keep it until this tab is closed').check()
    await signIn(page)
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    const setSpeed = await throttle(page, 2 * mebibyte)
    await dropFile(page, file('disk.raw'))
    const start = page.getByRole('button', { name: 'Start upload' })
    assert.ok((await focusedName(page)) === 'Start upload')
    await start.click()
    await untilDone(page, 20)
    assert.match((await page.locator('#fact-rate').textContent()) ?? '', /[KM]iB\/s$/)
    assert.match((await page.locator('#fact-left').textContent()) ?? '', /^\d+ (s|min)/)
    await page.getByRole('button', { name: 'Pause' }).click()
    await untilState(page, 'Paused')
    const donePaused = Number.parseFloat((await page.locator('#fact-done').textContent()) ?? '0')
    await delay(1000)
    assert.equal(Number.parseFloat((await page.locator('#fact-done').textContent()) ?? '0'), donePaused)

    await setSpeed(16 * mebibyte)
    await page.reload()
    await page.getByText(/An upload of “disk.raw” \(24.0 MiB\) stopped at/).waitFor()
    const requests = followRequests(page)
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: /Go on at \d/ }).click()
    await untilState(page, 'Finished')
    assert.equal(requests[0]?.method, 'HEAD')
    assert.ok(!requests.some(({ method }) => method === 'POST'))
    const offset = requests.find(({ method }) => method === 'PATCH')?.offset ?? 0
    assert.ok(offset > data.length * 0.1, `went on at ${offset}`)
    await assertUploaded(served)
    assert.deepEqual(await page.evaluate<string[]>('Object.keys(localStorage)'), [])
    assert.ok(await page.getByRole('button', { name: 'Upload another file' }).isVisible())
    assert.deepEqual(complaints, [])
    await page.context().close()
  })

  it('renews upload tokens in the middle of an upload', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    // The page asks for the next one 45 s before the end.
    served.tokenLifeMs = 47_000
    const { page } = await openPage(served)
    await signIn(page)
    await throttle(page, 4 * mebibyte)
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilState(page, 'Finished')
    assert.ok(served.tokens > 1, String(served.tokens))
    await assertUploaded(served)
    await page.context().close()
  })

  it('goes on when the upload server is killed and comes back', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const { page } = await openPage(served)
    await signIn(page)
    const setSpeed = await throttle(page, 2 * mebibyte)
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilDone(page, 50)
    const requests = followRequests(page)
    await served.chain.killServer()
    await untilState(page, 'Waiting')
    assert.match((await page.locator('#transfer-text').textContent()) ?? '', /Trying again/)
    await setSpeed(16 * mebibyte)
    await served.chain.startServer()
    await untilState(page, 'Finished')
    assert.ok(!requests.some(({ method }) => method === 'POST'), 'it did not begin anew')
    await assertUploaded(served)
    await page.context().close()
  })

  it('uploads with an upload token alone, and asks for another one when it has expired', async () => {
    await using served = await startPage()
    const { page } = await openPage(served)
    await page.getByLabel('An upload token').check()
    // Long enough for a start on a busy machine.
    const lifetimeMs = 30_000
    const short = await served.chain.proxy.token('disk', {}, { lifetimeMs })
    await page.getByRole('textbox', { name: 'Upload token' }).fill(short)
    await page.getByRole('button', { name: 'Go on' }).click()
    await page.getByText('For claim disk in namespace team').waitFor()
    const setSpeed = await throttle(page, mebibyte)
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilDone(page, 10)
    await page.getByRole('button', { name: 'Pause' }).click()
    await delay(lifetimeMs)
    await setSpeed(16 * mebibyte)
    await page.getByRole('button', { name: 'Resume' }).click()
    await untilState(page, 'Token needed')
    const field = page.getByLabel('New upload token for the same volume')
    await field.fill(await served.chain.proxy.token('other'))
    await field.press('Enter')
    await page.getByText('This token is for team/other.').waitFor()
    await field.fill(await served.chain.proxy.token('disk'))
    await field.press('Enter')
    await untilState(page, 'Finished')
    await assertUploaded(served)
    await page.context().close()
  })

  it('shows what the server says of an image that it does not take, with a remedy', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const options = ['-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw']
    await promisify(execFile)('qemu-img', ['create', ...options, file('backed.qcow2'), '8M'])
    const { page } = await openPage(served)
    await signIn(page)
    await chooseFile(page, file('backed.qcow2'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilState(page, 'Failed')
    const text = (await page.locator('#upload-error').textContent()) ?? ''
    assert.match(text, /backing file/)
    assert.match(text, /Flatten it with/)
    await page.getByRole('button', { name: 'Try another file' }).click()
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilState(page, 'Finished')
    await assertUploaded(served)
    await page.context().close()
  })

  it('throws away what the server has when an upload is cancelled', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const { page } = await openPage(served)
    await signIn(page)
    await throttle(page, mebibyte)
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilDone(page, 10)
    page.on('dialog', (dialog) => void dialog.accept())
    const deleted = page.waitForResponse((response) => response.request().method() === 'DELETE')
    await page.getByRole('button', { name: 'Cancel' }).click()
    assert.equal((await deleted).status(), 204)
    assert.ok(await page.getByRole('button', { name: 'Start upload' }).isDisabled())
    assert.deepEqual(await page.evaluate<string[]>('Object.keys(localStorage)'), [])
    await page.context().close()
  })

  it('keeps no secret anywhere but in the tab, and there only when asked to', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const { page } = await openPage(served)
    await signIn(page)
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    const kept = (): Promise<string> =>
      page.evaluate<string>('JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie])')
    assert.ok(!(await kept()).includes('user-token'))
    await page.reload()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await page.getByLabel('Keep it until this tab is closed').check()
    await signIn(page)
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    await page.reload()
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    assert.ok(!(await page.evaluate<string>('JSON.stringify({ ...localStorage })')).includes('user-token'))
    await page.getByRole('button', { name: 'Sign out' }).click()
    assert.ok(!(await kept()).includes('user-token'))
    await page.context().close()
  })
})

describe('the page for everybody', () => {
  it('is used with the keyboard alone', async () => {
    await using served = await startPage()
    served.volumes.push(ready)
    const { page } = await openPage(served)
    const { keyboard } = page
    const tabTo = async (name: string): Promise<void> => {
      for (let steps = 0; steps < 20; steps += 1) {
        await keyboard.press('Tab')
        if ((await focusedName(page)).startsWith(name)) return
      }
      assert.fail(`${name} is not reached by the tab key`)
    }
    await tabTo('Skip to the content')
    await tabTo('A Kubernetes token')
    await tabTo('Namespace')
    await keyboard.type('team')
    await tabTo('Bearer token')
    await keyboard.type('user-token-of-the-test')
    await tabTo('Show')
    await keyboard.press('Enter')
    assert.equal(await page.locator('#cluster-token').getAttribute('type'), 'text')
    await tabTo('Keep it')
    await tabTo('Sign in')
    await keyboard.press('Enter')
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    assert.equal(await focusedName(page), 'Upload')
    await tabTo('Volume')
    await tabTo('Choose a disk image')
    const chooser = page.waitForEvent('filechooser')
    // The browser is told to leave the choice to the test, and nobody waits for that: a question behind it is.
    await page.evaluate('undefined')
    await keyboard.press('Space')
    await (await chooser).setFiles(file('disk.raw'))
    // So slow that it is not over before the key is pressed.
    const setSpeed = await throttle(page, mebibyte / 2)
    await tabTo('Start upload')
    await keyboard.press('Enter')
    await untilTrue(page, "document.activeElement?.id === 'pause'")
    await keyboard.press('Enter')
    await untilState(page, 'Paused')
    assert.equal(await focusedName(page), 'Resume')
    await setSpeed(16 * mebibyte)
    await keyboard.press('Enter')
    await untilState(page, 'Finished')
    assert.equal(await focusedName(page), 'Upload another file')
    await page.context().close()
  })

  for (const colorScheme of ['light', 'dark'] as const) {
    it(`has names for all controls and enough contrast in ${colorScheme} colours`, async () => {
      await using served = await startPage()
      served.volumes.push(
        ready,
        { name: 'done', phase: 'Succeeded' },
        { name: 'broken', phase: 'Failed' },
        { name: 'late', phase: 'PendingPopulation' },
      )
      const { page } = await openPage(served, { colorScheme })
      const check = async (where: string): Promise<void> =>
        assert.deepEqual(await page.evaluate('inBrowser.findBarriers()'), [], `${where}, ${colorScheme}`)
      await check('before signing in')
      await signIn(page, { token: 'wrong' })
      await page.locator('#access-error').getByText('does not accept').waitFor()
      await check('with an error')
      await page.getByLabel('An upload token').check()
      await check('for an upload token')
      await page.getByLabel('A Kubernetes token').check()
      await signIn(page)
      await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
      await check('signed in')
      await throttle(page, mebibyte)
      await chooseFile(page, file('disk.raw'))
      await page.getByRole('button', { name: 'Start upload' }).click()
      await untilDone(page, 10)
      await check('while uploading')
      await page.getByRole('button', { name: 'Pause' }).click()
      await check('paused')
      await page.context().close()
    })
  }

  it('fits on a screen of 320 pixels', async () => {
    await using served = await startPage()
    served.volumes.push(
      { ...ready, name: 'a-name-of-a-volume-that-is-as-long-as-names-of-volumes-may-well-become' },
      ready,
    )
    const { page } = await openPage(served, { viewport: { width: 320, height: 640 } })
    const width = (): Promise<number> => page.evaluate<number>('document.documentElement.scrollWidth')
    assert.equal(await width(), 320)
    await signIn(page)
    await page.getByRole('heading', { name: 'DataVolumes' }).waitFor()
    assert.equal(await width(), 320)
    await throttle(page, 4 * mebibyte)
    await page.getByRole('button', { name: 'Upload into disk' }).click()
    await chooseFile(page, file('disk.raw'))
    await page.getByRole('button', { name: 'Start upload' }).click()
    await untilDone(page, 10)
    assert.equal(await width(), 320)
    await page.context().close()
  })

  it('stands still for those who want that', async () => {
    await using served = await startPage()
    const { page } = await openPage(served, { reducedMotion: 'reduce' })
    const moving = await page.evaluate('inBrowser.movingParts()')
    assert.deepEqual(moving, [])
    await page.context().close()
  })
})

/** As a file manager would: with a real File, which has the modification time that it really has. */
async function dropFile(page: Page, path: string): Promise<void> {
  await page.evaluate('inBrowser.addField()')
  await page.locator('#from-disk').setInputFiles(path)
  await page.evaluate('inBrowser.dropFromField()')
}

function focusedName(page: Page): Promise<string> {
  return page.evaluate<string>('inBrowser.focusedName()')
}
