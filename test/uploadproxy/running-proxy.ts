/** Starts proxy-process.ts with everything around it, and lets a test change what is around it. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { once } from 'node:events'
import { createServer } from 'node:https'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { annotations } from '../../src/api/annotations.ts'
import { serviceName, uploadPodName } from '../../src/api/names.ts'
import { uploadProxyClientName } from '../../src/api/upload-env.ts'
import { issueClientCertificate, issueServerCertificate } from '../../src/certs/authority.ts'
import type { CertificatePair } from '../../src/certs/authority.ts'
import { certificateNames } from '../../src/certs/names.ts'
import { closable } from '../../src/closable-server.ts'
import { signToken } from '../../src/tokens/token.ts'
import { freePort, tempDir } from '../fixtures/server-process.ts'
import { FakeKubernetes } from './fake-kubernetes.ts'
import { hourMs, makeAuthorities, namespace } from './proxy-under-test.ts'
import type { Authorities } from './proxy-under-test.ts'
import type { Settings } from './proxy-process.ts'

export interface LogLine {
  readonly msg: string
  readonly port?: number
  readonly outcome?: string
}

export interface RunningProxyOptions {
  readonly graceMs?: number
  /** Those of the image unless told. */
  readonly nodeFlags?: readonly string[]
  /** How often the proxy looks at its files. */
  readonly filesIntervalMs?: number
}

/** As test/cluster/image/cdi starts the proxy. */
const imageFlags = [
  '--max-old-space-size=256',
  '--initial-old-space-size=128',
  '--max-semi-space-size=1',
  '--single-threaded-gc',
]

export class RunningProxy implements AsyncDisposable {
  readonly kubernetes: FakeKubernetes
  readonly authorities: Authorities
  readonly port: number
  readonly caFile: string
  readonly log: LogLine[]
  readonly child: ChildProcess
  /** Its exit code. */
  readonly ended: Promise<number | null>
  readonly #directory: string
  readonly #serverPort: number
  readonly #closeServer: () => Promise<void>
  #signing: KeyObject
  readonly #dispose: () => Promise<void>

  private constructor(fields: {
    kubernetes: FakeKubernetes
    authorities: Authorities
    port: number
    log: LogLine[]
    child: ChildProcess
    ended: Promise<number | null>
    directory: string
    serverPort: number
    signing: KeyObject
    closeServer: () => Promise<void>
    dispose: () => Promise<void>
  }) {
    this.kubernetes = fields.kubernetes
    this.authorities = fields.authorities
    this.port = fields.port
    this.log = fields.log
    this.child = fields.child
    this.ended = fields.ended
    this.caFile = join(fields.directory, 'ca.pem')
    this.#directory = fields.directory
    this.#serverPort = fields.serverPort
    this.#signing = fields.signing
    this.#closeServer = fields.closeServer
    this.#dispose = fields.dispose
  }

  /** @param handler the upload server of the claim `disk` */
  static async start(
    handler: (request: IncomingMessage, response: ServerResponse) => void,
    { graceMs = 5000, nodeFlags = imageFlags, filesIntervalMs = 3000 }: RunningProxyOptions = {},
  ): Promise<RunningProxy> {
    const dir = await tempDir('running-proxy')
    const authorities = await makeAuthorities()
    const issued = { lifetimeMs: hourMs, now: Date.now() }
    const kubernetes = await FakeKubernetes.start(
      await issueServerCertificate({ authority: authorities.proxy, hosts: ['localhost'], ...issued }),
    )
    kubernetes.objects.set(`/api/v1/namespaces/cdi/configmaps/${certificateNames.uploadServer.bundle}`, {
      data: { 'ca-bundle.crt': authorities.server.certPem },
    })
    kubernetes.objects.set(`/api/v1/namespaces/${namespace}/persistentvolumeclaims/disk`, {
      metadata: {
        name: 'disk',
        namespace,
        annotations: {
          [annotations.uploadTarget]: '',
          [annotations.podReady]: 'true',
          [annotations.podPhase]: 'Running',
        },
      },
      spec: {},
    })
    kubernetes.putConfig({})
    await writeFile(join(dir.path, 'ca.pem'), authorities.proxy.certPem)
    await writePair(
      join(dir.path, 'server'),
      await issueServerCertificate({ authority: authorities.proxy, hosts: ['localhost'], ...issued }),
    )
    await writePair(
      join(dir.path, 'client'),
      await issueClientCertificate({ authority: authorities.client, commonName: uploadProxyClientName, ...issued }),
    )
    const signing = await writeKey(dir.path)
    const serverPort = await freePort()
    const closeServer = await serve(authorities, serverPort, handler)
    const settings: Settings = {
      kubernetes: kubernetes.url,
      kubernetesCa: authorities.proxy.certPem,
      directory: dir.path,
      serverPort,
      graceMs,
      filesIntervalMs,
    }
    const program = fileURLToPath(new URL('proxy-process.ts', import.meta.url))
    const child = spawn(process.execPath, [...nodeFlags, program, JSON.stringify(settings)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const ended = new Promise<number | null>((resolve) => {
      child.once('exit', (code) => resolve(code))
    })
    const log: LogLine[] = []
    const listening = Promise.withResolvers<number>()
    void ended.then((code) => listening.reject(new Error(`the proxy ended with ${code}`)))
    createInterface({ input: child.stdout }).on('line', (line) => {
      const entry = JSON.parse(line) as LogLine
      log.push(entry)
      if (entry.msg === 'upload proxy is listening' && entry.port !== undefined) listening.resolve(entry.port)
    })
    const port = await listening.promise
    return new RunningProxy({
      kubernetes,
      authorities,
      port,
      log,
      child,
      ended,
      directory: dir.path,
      serverPort,
      signing,
      closeServer,
      dispose: async () => {
        child.kill('SIGKILL')
        await ended
        await kubernetes[Symbol.asyncDispose]()
        await dir[Symbol.asyncDispose]()
      },
    })
  }

  get url(): string {
    return `https://localhost:${this.port}`
  }

  async authorization(): Promise<string> {
    const token = await signToken({
      claims: {
        operation: 'Upload',
        name: 'disk',
        namespace,
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      },
      privateKey: this.#signing,
      issuer: 'cdi-apiserver',
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    return `Bearer ${token}`
  }

  /** Resident memory of the process, in bytes. */
  async residentBytes(): Promise<number> {
    const status = await readFile(`/proc/${this.child.pid}/status`, 'utf8')
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
  }

  /** A new server certificate; what identifies it. */
  async rotateServerCertificate(): Promise<CertificatePair> {
    const pair = await issueServerCertificate({
      authority: this.authorities.proxy,
      hosts: ['localhost'],
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    await writePair(join(this.#directory, 'server'), pair)
    return pair
  }

  async rotateClientCertificate(): Promise<CertificatePair> {
    const pair = await issueClientCertificate({
      authority: this.authorities.client,
      commonName: uploadProxyClientName,
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    await writePair(join(this.#directory, 'client'), pair)
    return pair
  }

  /** A new key of tokens; `authorization` signs with it from now on. */
  async rotateSigningKey(): Promise<void> {
    this.#signing = await writeKey(this.#directory)
  }

  get serverPort(): number {
    return this.#serverPort
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#closeServer()
    await this.#dispose()
  }
}

async function serve(
  authorities: Authorities,
  port: number,
  handler: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<() => Promise<void>> {
  const host = `${serviceName(uploadPodName('disk'))}.${namespace}.svc`
  const { certPem, keyPem } = await issueServerCertificate({
    authority: authorities.server,
    hosts: [host],
    lifetimeMs: hourMs,
    now: Date.now(),
  })
  const server = createServer(
    { cert: certPem, key: keyPem, ca: authorities.client.certPem, requestCert: true, rejectUnauthorized: true },
    handler,
  )
  const close = closable(server)
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return close
}

async function writePair(directory: string, { certPem, keyPem }: CertificatePair): Promise<void> {
  await mkdir(directory, { recursive: true })
  await replaceFile(join(directory, 'tls.crt'), certPem)
  await replaceFile(join(directory, 'tls.key'), keyPem)
}

async function writeKey(directory: string): Promise<KeyObject> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  await replaceFile(join(directory, 'id_rsa.pub'), publicKey.export({ type: 'spki', format: 'pem' }).toString())
  return privateKey
}

async function replaceFile(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text)
  await rename(`${file}.new`, file)
}
