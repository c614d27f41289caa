/**
 * Credentials of a pod: the service account's token and the cluster's CA, mounted as files. The token is replaced by the
 * kubelet while the pod lives, hence read again once a minute, as client-go does.
 */
import { existsSync, readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { isIPv6 } from 'node:net'
import { join } from 'node:path'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { DispatcherPool } from './credentials.ts'
import type { Access, Credentials } from './credentials.ts'

/** Where the kubelet mounts the service account. */
export const serviceAccountDirectory = '/var/run/secrets/kubernetes.io/serviceaccount'

const reReadMs = 60_000

export interface InClusterOptions {
  readonly host: string
  readonly port: string
  readonly directory?: string
  readonly clock?: Clock
}

/** What `KUBERNETES_SERVICE_*` and the files say about the cluster that this process runs in, if it runs in one. */
export function inClusterOptions(
  environment: NodeJS.ProcessEnv,
  directory: string = serviceAccountDirectory,
): InClusterOptions | undefined {
  const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port } = environment
  return host && port && existsSync(join(directory, 'token')) ? { host, port, directory } : undefined
}

export class InClusterCredentials implements Credentials {
  readonly server: string
  readonly namespace: string | undefined
  readonly #directory: string
  readonly #clock: Clock
  readonly #pool = new DispatcherPool()
  #read: { readonly access: Access; readonly atMs: number } | undefined

  constructor({ host, port, directory = serviceAccountDirectory, clock = systemClock }: InClusterOptions) {
    this.server = `https://${isIPv6(host) ? `[${host}]` : host}:${port}`
    this.#directory = directory
    this.#clock = clock
    const namespaceFile = join(directory, 'namespace')
    this.namespace = existsSync(namespaceFile) ? readFileSync(namespaceFile, 'utf8').trim() : undefined
  }

  async access(): Promise<Access> {
    if (this.#read === undefined || this.#clock.monotonicMs() - this.#read.atMs >= reReadMs) {
      const [token, ca] = await Promise.all([
        readFile(join(this.#directory, 'token'), 'utf8'),
        readFile(join(this.#directory, 'ca.crt'), 'utf8'),
      ])
      this.#read = {
        access: { headers: { authorization: `Bearer ${token.trim()}` }, dispatcher: this.#pool.dispatcherFor({ ca }) },
        atMs: this.#clock.monotonicMs(),
      }
    }
    return this.#read.access
  }

  renew(): void {
    this.#read = undefined
  }

  close(): Promise<void> {
    return this.#pool.close()
  }
}
