/**
 * The CAs of upload servers, from the ConfigMap where the certificate manager keeps them: read from the API and not from
 * a mounted file, which the kubelet renews a minute later. Kept for some seconds, so that a burst of requests costs one look.
 */
import { kinds } from '../src/api/kinds.ts'
import { bundleKey } from '../src/certs/names.ts'
import type { KubeClient } from '../src/kube/client.ts'
import type { Clock } from '../src/kube/clock.ts'

const keptMs = 5000

export interface BundleOptions {
  readonly client: Pick<KubeClient, 'get'>
  readonly clock: Clock
  readonly namespace: string
  /** Name of the ConfigMap. */
  readonly name: string
}

export class Bundle {
  readonly #options: BundleOptions
  #known: { readonly text: Promise<string>; readonly atMs: number } | undefined

  constructor(options: BundleOptions) {
    this.#options = options
  }

  /** The PEM bundle. Rejects when it is not there, or the API server cannot be asked. */
  read(): Promise<string> {
    const nowMs = this.#options.clock.monotonicMs()
    if (this.#known !== undefined && nowMs - this.#known.atMs < keptMs) return this.#known.text
    const text = this.#ask()
    const known = { text, atMs: nowMs }
    this.#known = known
    text.catch(() => {
      if (this.#known === known) this.#known = undefined
    })
    return text
  }

  /** The next `read` asks anew: a server was not trusted. */
  forget(): void {
    this.#known = undefined
  }

  async #ask(): Promise<string> {
    const { client, namespace, name } = this.#options
    const bundle = await client.get(kinds.configMap, { namespace, name })
    const text = bundle?.data?.[bundleKey]
    if (!text) throw new Error(`ConfigMap ${namespace}/${name} has no ${bundleKey}`)
    return text
  }
}
