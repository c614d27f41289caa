/** The servers that the rows import from, on loopback; each is started when the first row asks for it. */
import { join } from 'node:path'
import { startDockerRegistry } from '../fixtures/docker-registry.ts'
import type { DockerRegistry } from '../fixtures/docker-registry.ts'
import { goProgram } from '../fixtures/go-programs.ts'
import { startNginx } from '../fixtures/nginx.ts'
import type { Nginx } from '../fixtures/nginx.ts'
import { startVersitygw } from '../fixtures/versitygw.ts'
import type { Versitygw } from '../fixtures/versitygw.ts'

export type ServerName = 'web' | 'registry' | 's3'

/** A file as it can be had from a server. */
export interface Offer {
  /** For the pipe. */
  readonly url: string
  /** For `cdi import`. */
  readonly source: string
  /** More of its command line. */
  readonly options: string
  /** For both; values without blanks. */
  readonly environment: Readonly<Record<string, string>>
}

const bucket = 'bench'

export class Servers implements AsyncDisposable {
  readonly #images: string
  readonly #running = new AsyncDisposableStack()
  #web: Nginx | undefined
  #registry: DockerRegistry | undefined
  #store: Versitygw | undefined
  readonly #objects = new Set<string>()

  /** @param images the directory that images.sh made */
  constructor(images: string) {
    this.#images = images
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#running.disposeAsync()
  }

  async offer(server: ServerName, file: string): Promise<Offer> {
    switch (server) {
      case 'web':
        return this.#offerFile(file)
      case 'registry':
        return this.#offerContainer(file)
      case 's3':
        return this.#offerObject(file)
      default:
        return server satisfies never
    }
  }

  async webPort(): Promise<number> {
    this.#web ??= this.#running.use(await startNginx({ root: this.#images }))
    return this.#web.port
  }

  async #offerFile(file: string): Promise<Offer> {
    const url = `http://127.0.0.1:${await this.webPort()}/${file}`
    return { url, source: url, options: '', environment: {} }
  }

  async #offerContainer(file: string): Promise<Offer> {
    this.#registry ??= this.#running.use(await startDockerRegistry())
    const { host } = this.#registry
    await this.#registry.copy(`oci:${join(this.#images, `container-${file}`)}`, `${file}:latest`)
    const url = `docker://${host}/${file}:latest`
    return { url, source: url, options: `--insecure-registry ${host}`, environment: {} }
  }

  async #offerObject(file: string): Promise<Offer> {
    this.#store ??= this.#running.use(await startVersitygw())
    const { origin } = this.#store
    const user = { accessKeyId: 'bench', secretAccessKey: 'benchbench' }
    if (!this.#objects.has(file)) {
      if (this.#objects.size === 0) await this.#store.addUser(user)
      await this.#store.putFile(bucket, file, join(this.#images, file))
      this.#objects.add(file)
    }
    return {
      url: `${origin}/${bucket}/${file}`,
      source: `s3://${bucket}/${file}`,
      options: `--s3-endpoint ${origin}`,
      environment: {
        AWS_ACCESS_KEY_ID: user.accessKeyId,
        AWS_SECRET_ACCESS_KEY: user.secretAccessKey,
        AWS_REGION: 'us-east-1',
        S3_ENDPOINT_URL: origin,
        S5CMD: await goProgram('s5cmd'),
      },
    }
  }
}
