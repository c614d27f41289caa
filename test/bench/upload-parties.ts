/**
 * Who takes part in the table of uploads, all on loopback: our upload server and proxy as in their pods but without a
 * cluster, nginx that stores what is PUT, nginx that passes on, and a server that keeps nothing. Certificates are made by
 * src/certs, and everybody verifies everybody.
 */
import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../src/certs/authority.ts'
import type { CertificatePair } from '../../src/certs/authority.ts'
import { serviceName, uploadPodName } from '../../src/api/names.ts'
import { uploadProxyClientName } from '../../src/api/upload-env.ts'
import { signToken } from '../../src/tokens/token.ts'
import { freePort, startServer } from '../fixtures/server-process.ts'
import type { ServerProcess } from '../fixtures/server-process.ts'

/** A process that takes uploads. */
export interface Party extends ServerProcess {
  /** `https://127.0.0.1:PORT`. */
  readonly origin: string
}

export interface UploadPartiesOptions {
  /** A directory of their own, on the disk that is measured. */
  readonly work: string
  /** What `npm run build` made. */
  readonly dist: string
}

const claim = { namespace: 'bench', name: 'disk' }
const hour = 3_600_000

export class UploadParties {
  readonly #work: string
  readonly #dist: string
  readonly #tokenKey: KeyObject
  readonly #serverPort: number

  static async prepare(options: UploadPartiesOptions): Promise<UploadParties> {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const parties = new UploadParties(options, privateKey, await freePort())
    await parties.#makeFiles(publicKey)
    return parties
  }

  private constructor({ work, dist }: UploadPartiesOptions, tokenKey: KeyObject, serverPort: number) {
    this.#work = work
    this.#dist = dist
    this.#tokenKey = tokenKey
    this.#serverPort = serverPort
  }

  #file(...names: string[]): string {
    return join(this.#work, ...names)
  }

  /** What curl needs to trust any of them, and to be trusted by our upload server. */
  get curlOptions(): string {
    const client = this.#file('client')
    return `--cacert ${this.#file('ca.pem')} --cert ${client}/tls.crt --key ${client}/tls.key`
  }

  /** A header for our proxy. */
  async authorization(): Promise<string> {
    const token = await signToken({
      claims: {
        operation: 'Upload',
        ...claim,
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      },
      privateKey: this.#tokenKey,
      issuer: 'cdi-apiserver',
      lifetimeMs: hour,
      now: Date.now(),
    })
    return `Authorization: Bearer ${token}`
  }

  /** Where the upload server leaves its disk. */
  get disk(): string {
    return this.#file('data', 'disk.img')
  }

  /** An upload server for one upload, into an empty volume; it ends by itself. */
  async startUploadServer(): Promise<Party> {
    await rm(this.#file('data'), { recursive: true, force: true })
    for (const name of ['data', 'journal']) await mkdir(this.#file(name), { recursive: true })
    const places = {
      paths: {
        dataDirectory: this.#file('data'),
        blockDevice: this.#file('no-device'),
        scratchDirectory: this.#file('no-scratch'),
        journalDirectory: this.#file('journal'),
        terminationLog: this.#file('termination'),
      },
      port: this.#serverPort,
      host: '127.0.0.1',
    }
    return this.#startChild('upload-server', 'uploadserver', this.#serverPort, {
      BENCH_PLACES: JSON.stringify(places),
      TLS_KEY_FILE: this.#file('server', 'tls.key'),
      TLS_CERT_FILE: this.#file('server', 'tls.crt'),
      CLIENT_CERT_FILE: this.#file('ca.pem'),
      FILESYSTEM_OVERHEAD: '0',
      UPLOAD_IMAGE_SIZE: '4Gi',
      CLIENT_NAME: uploadProxyClientName,
      TLS_CIPHERS: '',
      TLS_MIN_VERSION: '',
      DEADLINE: '',
    })
  }

  /** Our proxy before whoever listens on the port of upload servers. */
  async startProxy(): Promise<Party> {
    const port = await freePort()
    return this.#startChild('upload-proxy', 'uploadproxy', port, {
      BENCH_CA: await readFile(this.#file('ca.pem'), 'utf8'),
      BENCH_SERVER_PORT: String(this.#serverPort),
      PORT: String(port),
      CDI_NAMESPACE: 'cdi',
      SERVER_CERT_DIRECTORY: this.#file('server'),
      CLIENT_CERT_DIRECTORY: this.#file('client'),
      APISERVER_PUBLIC_KEY_FILE: this.#file('token.pub'),
    })
  }

  /** In the place of an upload server, for as many uploads as wanted. */
  async startSink(): Promise<Party> {
    return this.#startChild('sink', undefined, this.#serverPort, {
      SINK_CERT: this.#file('server', 'tls.crt'),
      SINK_KEY: this.#file('server', 'tls.key'),
      SINK_CA: this.#file('ca.pem'),
      SINK_PORT: String(this.#serverPort),
    })
  }

  /** nginx that writes what is PUT to the disk that is measured. */
  startStore(): Promise<Party> {
    return this.#startNginx(`root ${this.#file('stored')}; dav_methods PUT; client_max_body_size 0;`)
  }

  /** nginx that ends TLS and speaks TLS with the one behind, as our proxy does. */
  startPassThrough(): Promise<Party> {
    const host = serverHost()
    return this.#startNginx(`
      client_max_body_size 0; proxy_request_buffering off; proxy_http_version 1.1;
      location / {
        proxy_pass https://127.0.0.1:${this.#serverPort};
        proxy_ssl_server_name on; proxy_ssl_name ${host}; proxy_set_header Host ${host};
        proxy_ssl_verify on; proxy_ssl_trusted_certificate ${this.#file('ca.pem')};
        proxy_ssl_certificate ${this.#file('client', 'tls.crt')};
        proxy_ssl_certificate_key ${this.#file('client', 'tls.key')};
        proxy_ssl_protocols TLSv1.3;
        proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
      }`)
  }

  async #startNginx(directives: string): Promise<Party> {
    const port = await freePort()
    const directory = this.#file(`nginx-${port}`)
    for (const path of [directory, this.#file('stored')]) await mkdir(path, { recursive: true })
    const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
    const config = join(directory, 'nginx.conf')
    await writeFile(
      config,
      `daemon off; master_process off; pid ${directory}/nginx.pid; error_log ${directory}/error.log;
       events { worker_connections 64; }
       http {
         ${temporary.map((kind) => `${kind}_temp_path ${directory}/tmp;`).join(' ')}
         access_log off;
         server {
           listen 127.0.0.1:${port} ssl;
           ssl_certificate ${this.#file('server', 'tls.crt')}; ssl_certificate_key ${this.#file('server', 'tls.key')};
           ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
           ${directives}
         }
       }`,
    )
    const server = await startServer({ command: 'nginx', args: ['-c', config, '-p', directory], port })
    return { ...server, origin: `https://127.0.0.1:${port}` }
  }

  async #startChild(name: string, role: string | undefined, port: number, env: Record<string, string>): Promise<Party> {
    const script = this.#file(`${name}.mjs`)
    // Stripped here, so that the stripper is no part of what is measured.
    const source = await readFile(new URL(`children/${name}.ts`, import.meta.url), 'utf8')
    await writeFile(script, stripTypeScriptTypes(source))
    const server = await startServer({
      command: process.execPath,
      args: [...(role === undefined ? [] : await nodeFlags(role)), script],
      port,
      env: { ...env, BENCH_DIST: this.#dist },
    })
    return { ...server, origin: `https://127.0.0.1:${port}` }
  }

  async #makeFiles(publicKey: KeyObject): Promise<void> {
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'bench', lifetimeMs: 24 * hour, now })
    const life = { authority, lifetimeMs: 12 * hour, now }
    await writeFile(this.#file('ca.pem'), authority.certPem)
    await this.#writePair('server', await issueServerCertificate({ ...life, hosts: [serverHost(), '127.0.0.1'] }))
    await this.#writePair('client', await issueClientCertificate({ ...life, commonName: uploadProxyClientName }))
    await writeFile(this.#file('token.pub'), publicKey.export({ type: 'spki', format: 'pem' }))
  }

  async #writePair(name: string, { certPem, keyPem }: CertificatePair): Promise<void> {
    await mkdir(this.#file(name), { recursive: true })
    await writeFile(this.#file(name, 'tls.crt'), certPem)
    await writeFile(this.#file(name, 'tls.key'), keyPem)
  }
}

/** What the container gives Node for a role. */
async function nodeFlags(role: string): Promise<string[]> {
  const launcher = await readFile(new URL('../cluster/image/cdi', import.meta.url), 'utf8')
  const choice = /^case [^]*^esac$/m.exec(launcher)?.[0]
  if (choice === undefined) throw new Error('the launcher of the image does not choose flags by role')
  const { stdout } = await promisify(execFile)('sh', ['-c', `${choice}\necho $flags`, 'sh', role])
  return stdout.trim().split(' ')
}

/** The name by which the proxy looks for the server of the claim. */
function serverHost(): string {
  return `${serviceName(uploadPodName(claim.name))}.${claim.namespace}.svc`
}
