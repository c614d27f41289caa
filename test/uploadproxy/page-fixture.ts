/** The page as a browser sees it: the real proxy with the real upload server behind it, a small API server, Chromium. */
import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { closable } from '../../src/closable-server.ts'
import { loadPage } from '../../uploadproxy/page-files.ts'
import { UserApi } from '../../uploadproxy/user-api.ts'
import { UploadChain } from '../src/cli/upload/upload-chain.ts'
import type { ChainOptions } from '../src/cli/upload/upload-chain.ts'

export const userToken = 'user-token-of-the-test'

/** What the test may change of the cluster. */
export interface FakeVolume {
  name: string
  phase: string
  source?: object
  size?: string
  progress?: string
  restartCount?: number
  conditions?: object[]
}

export interface PageUnderTest extends AsyncDisposable {
  readonly chain: UploadChain
  readonly url: string
  readonly volumes: FakeVolume[]
  /** Upload tokens that were handed out. */
  tokens: number
  /** Life of those to come. */
  tokenLifeMs: number
}

export async function startPage(options: ChainOptions = {}): Promise<PageUnderTest> {
  const volumes: FakeVolume[] = []
  const cluster = createServer()
  const closeCluster = closable(cluster)
  cluster.listen(0, '127.0.0.1')
  await new Promise((resolve) => cluster.once('listening', resolve))
  const { port } = cluster.address() as AddressInfo
  const userApi = new UserApi({ server: `http://127.0.0.1:${port}`, now: Date.now })
  const page = await loadPage(join(import.meta.dirname, '../../uploadproxy/page/'))
  const chain = await UploadChain.start({ ...options, page, userApi })
  const served: PageUnderTest = {
    chain,
    url: `${chain.proxy.url}/page/`,
    volumes,
    tokens: 0,
    tokenLifeMs: 300_000,
    async [Symbol.asyncDispose]() {
      await chain[Symbol.asyncDispose]()
      await userApi[Symbol.asyncDispose]()
      await closeCluster()
    },
  }
  answerAsCluster(cluster, served)
  return served
}

function answerAsCluster(cluster: Server, served: PageUnderTest): void {
  cluster.on('request', (request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const json = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      }
      const failure = (code: number, message: string): void =>
        json(code, { apiVersion: 'v1', kind: 'Status', status: 'Failure', code, message })
      if (request.headers.authorization !== `Bearer ${userToken}`) return failure(401, 'Unauthorized')
      if (!request.url?.includes('/namespaces/team/')) {
        return failure(403, 'datavolumes.cdi.kubevirt.io is forbidden: User "jane" cannot list resource "datavolumes"')
      }
      if (request.method === 'GET') {
        return json(200, { items: served.volumes.map(dataVolumeOf), metadata: {} })
      }
      const asked = JSON.parse(Buffer.concat(chunks).toString()) as { spec: { pvcName: string } }
      served.tokens += 1
      void served.chain.proxy
        .token(asked.spec.pvcName, {}, { lifetimeMs: served.tokenLifeMs })
        .then((token) => json(200, { ...asked, status: { token } }))
      return undefined
    })
  })
}

function dataVolumeOf({ name, phase, source = { upload: {} }, size = '1Gi', ...status }: FakeVolume): object {
  return {
    metadata: { name, namespace: 'team', creationTimestamp: new Date(Date.now() - 95_000).toISOString() },
    spec: { source, storage: { resources: { requests: { storage: size } } } },
    status: { phase, ...status },
  }
}

/** A headless browser with an empty profile. */
export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    executablePath: '/usr/bin/chromium',
    args: [
      '--headless',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  })
}

/** A tab in a context of its own; what its page complains about is collected. */
export async function openTab(
  browser: Browser,
  options: BrowserContextOptions = {},
): Promise<{ readonly page: Page; readonly complaints: string[] }> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, ...options })
  await context.addInitScript({ path: join(import.meta.dirname, 'in-browser.js') })
  const page = await context.newPage()
  const complaints: string[] = []
  page.on('pageerror', (error) => complaints.push(String(error)))
  page.on('console', (message) => {
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) complaints.push(message.text())
  })
  return { page, complaints }
}

export async function signIn(page: Page, { token = userToken, namespace = 'team' } = {}): Promise<void> {
  await page.getByLabel('Namespace').fill(namespace)
  await page.getByLabel('Bearer token').fill(token)
  await page.getByRole('button', { name: 'Sign in' }).click()
}
