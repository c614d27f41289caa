/**
 * A clone without Kubernetes: the pod of the target and that of the source as child processes with what the controller
 * renders, over real TLS.
 */
import { mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import type { RequestOptions } from 'node:https'
import { join } from 'node:path'
import { renderClonerEnv } from '../../../../src/api/cloner-env.ts'
import type { ClonerEnv } from '../../../../src/api/cloner-env.ts'
import type { EnvVar } from '../../../../src/api/podenv.ts'
import { renderUploadEnv } from '../../../../src/api/upload-env.ts'
import type { UploadServerEnv } from '../../../../src/api/upload-env.ts'
import { cloneDiskPath } from '../../../../importer/upload/clone/wire.ts'
import type { CloneState } from '../../../../importer/upload/clone/wire.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../../src/certs/authority.ts'
import { freePort, tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { startCdi, until } from '../../e2e/support/cdi.ts'
import type { CdiResult, RunningCdi } from '../../e2e/support/cdi.ts'

const uploadServer = join(import.meta.dirname, '../../upload/support/worker.ts')
const cloner = join(import.meta.dirname, 'worker.ts')
const lifetimeMs = 3_600_000

/** Longer than the 64 characters that X.509 prescribes, as with real names (contract: clone §7.1). */
export const clientName = `${'source-namespace'.repeat(3)}/${'source'.repeat(20)}-${'target-namespace'.repeat(3)}/tmp-pvc-1`

export interface Ended extends CdiResult {
  /** What the controller reads of the terminated container. */
  readonly words: string
}

/** Two pods; what is in their directories survives from container to container. */
export class CloneScene implements AsyncDisposable {
  readonly #place: TempDir
  readonly #children: RunningCdi[] = []
  /** Of the upload server. */
  readonly port: number
  /** Of the cloner that was started last. */
  metricsPort = 0
  readonly clients: { readonly authority: CertificatePair }
  readonly files: Readonly<Record<string, string>>

  private constructor(
    place: TempDir,
    port: number,
    clients: { authority: CertificatePair },
    files: Readonly<Record<string, string>>,
  ) {
    this.#place = place
    this.port = port
    this.clients = clients
    this.files = files
  }

  static async make(): Promise<CloneScene> {
    const place = await tempDir('clone')
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'clients', lifetimeMs, now })
    const servers = await createAuthority({ commonName: 'servers', lifetimeMs, now })
    const server = await issueServerCertificate({ authority: servers, hosts: ['127.0.0.1'], lifetimeMs, now })
    const client = await issueClientCertificate({ authority, commonName: clientName, lifetimeMs, now })
    const texts = {
      clientCa: authority.certPem,
      serverCa: servers.certPem,
      serverCert: server.certPem,
      serverKey: server.keyPem,
      cert: client.certPem,
      key: client.keyPem,
    }
    await mkdir(join(place.path, 'tls'))
    const files = Object.fromEntries(Object.keys(texts).map((name) => [name, join(place.path, 'tls', `${name}.pem`)]))
    for (const [name, text] of Object.entries(texts)) await writeFile(files[name] as string, text)
    const scene = new CloneScene(place, await freePort(), { authority }, files)
    for (const name of ['target', 'target/data', 'target/dev', 'source']) await mkdir(scene.path(name))
    return scene
  }

  path(name: string): string {
    return join(this.#place.path, name)
  }

  /** Of a filesystem source. */
  get source(): string {
    return this.path('source')
  }

  /** Of a filesystem target. */
  get target(): string {
    return this.path('target/data')
  }

  get targetDisk(): string {
    return join(this.target, 'disk.img')
  }

  /** Makes the target a block volume. */
  async useTargetDevice(device: string): Promise<void> {
    await symlink(device, this.path('target/dev/cdi-block-volume'))
  }

  /** Another client certificate than that of this clone; resolves with what the cloner's environment says of it. */
  async otherClient(
    commonName: string,
    authority = this.clients.authority,
  ): Promise<Pick<ClonerEnv, 'tlsCertFile' | 'tlsKeyFile'>> {
    const { certPem, keyPem } = await issueClientCertificate({ authority, commonName, lifetimeMs, now: Date.now() })
    const tlsCertFile = this.path('tls/other-cert.pem')
    const tlsKeyFile = this.path('tls/other-key.pem')
    await writeFile(tlsCertFile, certPem)
    await writeFile(tlsKeyFile, keyPem)
    return { tlsCertFile, tlsKeyFile }
  }

  /** Starts the target's container; resolves when it is ready. */
  async startTarget(env: Partial<UploadServerEnv> = {}): Promise<RunningCdi> {
    await writeFile(this.path('target/dev/termination-log'), '')
    const running = this.#start(
      uploadServer,
      [this.path('target'), String(this.port), '-v=3'],
      renderUploadEnv({
        tlsKeyFile: this.files['serverKey'] as string,
        tlsCertFile: this.files['serverCert'] as string,
        clientCaFile: this.files['clientCa'] as string,
        filesystemOverhead: '0',
        imageSize: '',
        clientName,
        preallocation: false,
        tlsCiphers: '',
        tlsMinVersion: '',
        deadline: '',
        contentType: 'kubevirt',
        checksum: '',
        resumption: '',
        isCloneTarget: true,
        ...env,
      }),
    )
    await until(() => running.output().stderr.includes('upload server ready'), running)
    return running
  }

  /** Starts the source's container. */
  async startCloner(env: Partial<ClonerEnv> = {}, { port = this.port }: { port?: number } = {}): Promise<RunningCdi> {
    await writeFile(this.path('cloner-words'), '')
    this.metricsPort = await freePort()
    return this.#start(
      cloner,
      [this.path('cloner-words'), String(this.metricsPort), '-v=3'],
      renderClonerEnv({
        volumeMode: 'filesystem',
        source: this.source,
        contentType: 'kubevirt',
        uploadUrl: `https://127.0.0.1:${port}/v1beta1/upload`,
        tlsKeyFile: this.files['key'] as string,
        tlsCertFile: this.files['cert'] as string,
        serverCaFile: this.files['serverCa'] as string,
        preallocation: false,
        ownerUid: 'uid-of-target',
        ...env,
      }),
    )
  }

  /** Takes from the target's pod what does not outlive it. */
  async newTargetPod(): Promise<void> {
    await rm(this.path('target/var'), { recursive: true, force: true })
  }

  /** An empty request to the target, with the certificate of this clone unless told. */
  async ask(
    method: string,
    path: string,
    { tlsCertFile, tlsKeyFile }: Pick<ClonerEnv, 'tlsCertFile' | 'tlsKeyFile'> = {
      tlsCertFile: this.files['cert'] as string,
      tlsKeyFile: this.files['key'] as string,
    },
  ): Promise<{ status: number; text: string }> {
    const [ca, cert, key] = await Promise.all(
      [this.files['serverCa'] as string, tlsCertFile, tlsKeyFile].map((file) => readFile(file)),
    )
    const options = { host: '127.0.0.1', port: this.port, method, path, ca, cert, key, agent: false }
    return new Promise((resolve, reject) => {
      request(options as RequestOptions, (response) => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        response.once('end', () => resolve({ status: response.statusCode ?? 0, text }))
        response.once('error', reject)
      })
        .once('error', reject)
        .end()
    })
  }

  /** What of the disk is durable at the target, which makes durable what it has. */
  async durableBytes(): Promise<number> {
    const { status, text } = await this.ask('GET', cloneDiskPath)
    if (status !== 200) return 0
    const { ranges } = JSON.parse(text) as CloneState
    return ranges.reduce((sum, [start, end]) => sum + end - start, 0)
  }

  async targetEnd(running: RunningCdi): Promise<Ended> {
    const result = await running.finished
    return { ...result, words: await readFile(this.path('target/dev/termination-log'), 'utf8') }
  }

  async clonerEnd(running: RunningCdi): Promise<Ended> {
    const result = await running.finished
    return { ...result, words: await readFile(this.path('cloner-words'), 'utf8') }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL')
    await Promise.all(this.#children.map(({ finished }) => finished))
    await this.#place[Symbol.asyncDispose]()
  }

  #start(program: string, args: readonly string[], env: readonly EnvVar[]): RunningCdi {
    const given = env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const]))
    const running = startCdi(args, { program, env: Object.fromEntries(given) })
    this.#children.push(running)
    return running
  }
}

/** What the cloner's log says in a line with this message. */
export function logged({ stderr }: Pick<CdiResult, 'stderr'>, message: string): Record<string, unknown> {
  for (const line of stderr.split('\n')) {
    if (!line.includes(message)) continue
    const entry = JSON.parse(line) as Record<string, unknown>
    if (entry['msg'] === message) return entry
  }
  throw new Error(`not in the log: ${message}\n${stderr}`)
}
