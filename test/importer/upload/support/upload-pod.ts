/** The upload server's container without Kubernetes: what the controller renders in, disk and last words out. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { renderUploadEnv, uploadProxyClientName } from '../../../../src/api/upload-env.ts'
import type { UploadServerEnv } from '../../../../src/api/upload-env.ts'
import { mebibyte } from '../../../fixtures/images.ts'
import { freePort, tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startCdi, until } from '../../e2e/support/cdi.ts'
import type { CdiResult, RunningCdi } from '../../e2e/support/cdi.ts'
import { begin, curl, send } from './client.ts'
import type { CurlResult, PendingRequest, SendOptions, Sent } from './client.ts'
import { makeIdentities, writeIdentities } from './identities.ts'
import type { Identities } from './identities.ts'

/** What the program says when it takes connections. */
export const readyText = 'upload server ready'

const program = join(import.meta.dirname, 'worker.ts')

export interface Ended extends CdiResult {
  /** What the controller reads of the terminated container. */
  readonly words: string
}

type Request = Omit<SendOptions, 'port' | 'identities'>

/** A pod: its volumes are directories here; what is in them survives from container to container. */
export class UploadPod implements AsyncDisposable {
  readonly #place: TempDir
  /** Paths of certificates and keys. */
  readonly files: Awaited<ReturnType<typeof writeIdentities>>
  readonly port: number
  readonly identities: Identities

  private constructor(place: TempDir, port: number, identities: Identities, files: UploadPod['files']) {
    this.#place = place
    this.files = files
    this.port = port
    this.identities = identities
  }

  static async make({ scratch = false }: { scratch?: boolean } = {}): Promise<UploadPod> {
    const place = await tempDir('upload-pod')
    const identities = await makeIdentities()
    const files = await writeIdentities(join(place.path, 'etc/tls'), identities)
    const pod = new UploadPod(place, await freePort(), identities, files)
    for (const name of ['data', 'dev', ...(scratch ? ['scratch'] : [])]) await mkdir(pod.path(name))
    await writeFile(pod.path('dev/termination-log'), '')
    return pod
  }

  path(name: string): string {
    return join(this.#place.path, name)
  }

  get disk(): string {
    return this.path('data/disk.img')
  }

  /** Arguments of node, and the environment that the controller would have rendered. */
  command(env: Partial<UploadServerEnv> = {}): { readonly args: string[]; readonly env: Record<string, string> } {
    const rendered = renderUploadEnv({
      tlsKeyFile: this.files.serverKey,
      tlsCertFile: this.files.serverCert,
      clientCaFile: this.files.clientCa,
      filesystemOverhead: '0',
      imageSize: String(8 * mebibyte),
      clientName: uploadProxyClientName,
      preallocation: false,
      tlsCiphers: '',
      tlsMinVersion: '',
      deadline: '',
      contentType: 'kubevirt',
      checksum: '',
      resumption: '',
      ...env,
    }).flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const]))
    return { args: [program, this.#place.path, String(this.port), '-v=3'], env: Object.fromEntries(rendered) }
  }

  /** Starts the container; resolves when it is ready. */
  async start(env: Partial<UploadServerEnv> = {}): Promise<RunningCdi> {
    const command = this.command(env)
    const running = startCdi(command.args.slice(1), { program, env: command.env })
    await until(() => running.output().stderr.includes(readyText), running)
    return running
  }

  async endOf(running: RunningCdi): Promise<Ended> {
    const result = await running.finished
    return { ...result, words: await readFile(this.path('dev/termination-log'), 'utf8') }
  }

  send(request: Request): Promise<Sent> {
    return send({ ...request, port: this.port, identities: this.identities })
  }

  begin(request: Request): PendingRequest {
    return begin({ ...request, port: this.port, identities: this.identities })
  }

  /** `curl ARGS https://…PATH`, with the proxy's certificate. */
  curl(path: string, ...args: string[]): Promise<CurlResult> {
    const { serverCa, cert, key } = this.files
    return curl(['--cacert', serverCa, '--cert', cert, '--key', key, ...args, `https://127.0.0.1:${this.port}${path}`])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]()
  }
}
