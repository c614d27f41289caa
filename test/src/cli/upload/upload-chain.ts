/** The whole way of an upload without a cluster: the real proxy, and behind it the real upload server as a child process. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { annotations } from '../../../../src/api/annotations.ts'
import { kinds } from '../../../../src/api/kinds.ts'
import { serviceName, uploadPodName } from '../../../../src/api/names.ts'
import { renderUploadEnv, uploadProxyClientName } from '../../../../src/api/upload-env.ts'
import type { UploadServerEnv } from '../../../../src/api/upload-env.ts'
import { issueServerCertificate } from '../../../../src/certs/authority.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startCdi, until } from '../../../importer/e2e/support/cdi.ts'
import type { RunningCdi } from '../../../importer/e2e/support/cdi.ts'
import { hourMs, namespace, ProxyUnderTest } from '../../../uploadproxy/proxy-under-test.ts'
import type { ProxyOptions } from '../../../uploadproxy/proxy-under-test.ts'

const worker = join(import.meta.dirname, '../../../importer/upload/support/worker.ts')

export interface ChainOptions extends ProxyOptions {
  readonly claim?: string
  readonly env?: Partial<UploadServerEnv>
}

export class UploadChain implements AsyncDisposable {
  readonly proxy: ProxyUnderTest
  readonly claim: string
  readonly #place: TempDir
  readonly #env: Partial<UploadServerEnv>
  #server: RunningCdi | undefined

  private constructor(proxy: ProxyUnderTest, place: TempDir, { claim = 'disk', env = {} }: ChainOptions) {
    this.proxy = proxy
    this.#place = place
    this.claim = claim
    this.#env = env
  }

  /** Starts both; the claim is ready. */
  static async start(options: ChainOptions = {}): Promise<UploadChain> {
    const place = await tempDir('upload-chain')
    for (const name of ['data', 'dev', 'scratch']) await mkdir(join(place.path, name))
    const chain = new UploadChain(await ProxyUnderTest.start(options), place, options)
    await chain.startServer()
    return chain
  }

  /** Where the disk will be. */
  get disk(): string {
    return join(this.#place.path, 'data/disk.img')
  }

  get data(): string {
    return join(this.#place.path, 'data')
  }

  get server(): RunningCdi {
    if (this.#server === undefined) throw new Error('the upload server does not run')
    return this.#server
  }

  /** Starts the container (again); the claim says so. */
  async startServer(): Promise<void> {
    const { authorities, serverPort } = this.proxy
    const pair = await issueServerCertificate({
      authority: authorities.server,
      hosts: [`${serviceName(uploadPodName(this.claim))}.${namespace}.svc`],
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    const file = async (name: string, text: string): Promise<string> => {
      await writeFile(join(this.#place.path, name), text)
      return join(this.#place.path, name)
    }
    await file('dev/termination-log', '')
    const env = renderUploadEnv({
      tlsKeyFile: await file('tls.key', pair.keyPem),
      tlsCertFile: await file('tls.crt', pair.certPem),
      clientCaFile: await file('ca.crt', authorities.client.certPem),
      filesystemOverhead: '0',
      imageSize: '1Gi',
      clientName: uploadProxyClientName,
      preallocation: false,
      tlsCiphers: '',
      tlsMinVersion: '',
      deadline: '',
      contentType: 'kubevirt',
      checksum: '',
      resumption: '',
      ...this.#env,
    }).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const]))
    const running = startCdi([this.#place.path, String(serverPort), '-v=3'], {
      program: worker,
      env: Object.fromEntries(env),
    })
    this.#server = running
    await until(() => running.output().stderr.includes('upload server ready'), running)
    this.putClaim({})
    void this.#noteEnd(running)
  }

  /** What the controller would write. */
  async #noteEnd({ finished }: RunningCdi): Promise<void> {
    const { exitCode } = await finished
    if (exitCode === 0) this.putClaim({ [annotations.podPhase]: 'Succeeded', [annotations.podReady]: 'false' })
  }

  /** Kills the server as the kernel would; resolves when it is gone. */
  async killServer(): Promise<void> {
    const { server } = this
    this.putClaim({ [annotations.podReady]: 'false' })
    server.kill('SIGKILL')
    await server.finished
  }

  putClaim(notes: Record<string, string>): void {
    const { contentType = 'kubevirt' } = this.#env
    this.proxy.putClaim(this.claim, { [annotations.contentType]: contentType, ...notes })
  }

  /** The volume is finished. */
  get isFinished(): boolean {
    const claim = this.proxy.api.objects.get(`${kinds.pvc.plural} ${namespace}/${this.claim}`)
    return claim?.metadata.annotations?.[annotations.podPhase] === 'Succeeded'
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server?.kill('SIGKILL')
    await this.#server?.finished
    await this.proxy[Symbol.asyncDispose]()
    await this.#place[Symbol.asyncDispose]()
  }
}
