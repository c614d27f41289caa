/**
 * Upload tokens from the cluster (contract/upload.md §2.4). They live five minutes and an upload takes hours: a new one is
 * asked for before the old one ends. One request at a time; all who wait share its answer.
 */
import { backoffMs } from '../../kube/backoff.ts'
import { ConnectionError } from '../../kube/client.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Clock } from '../../kube/clock.ts'
import { CdiError } from '../../errors.ts'

export interface TokenSource {
  /** A token that is good for at least a minute. */
  get(signal: AbortSignal): Promise<string>
  /** The proxy did not accept it: the next `get` brings another one. */
  forget(): void
}

export interface TokenOptions {
  readonly client: Pick<KubeClient, 'raw'>
  readonly clock: Clock
  readonly namespace: string
  readonly pvcName: string
}

/** Of five minutes; the rest is for clocks that differ and requests that are slow to start. */
const usableMs = 3.5 * 60_000
const tries = 5

export class UploadTokens implements TokenSource {
  readonly #options: TokenOptions
  #current: { readonly token: string; readonly untilMs: number } | undefined
  #asking: Promise<string> | undefined

  constructor(options: TokenOptions) {
    this.#options = options
  }

  /** Throws CDI_UPLOAD_FORBIDDEN and CDI_CLUSTER_API. */
  get(signal: AbortSignal): Promise<string> {
    const { clock } = this.#options
    if (this.#current !== undefined && clock.monotonicMs() < this.#current.untilMs) {
      return Promise.resolve(this.#current.token)
    }
    this.#asking ??= this.#ask(signal).finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  forget(): void {
    this.#current = undefined
  }

  async #ask(signal: AbortSignal): Promise<string> {
    const { clock } = this.#options
    for (let failures = 0; ; failures += 1) {
      const outcome = await this.#request(signal)
      if (typeof outcome === 'string') {
        this.#current = { token: outcome, untilMs: clock.monotonicMs() + usableMs }
        return outcome
      }
      if (outcome.kind === 'terminal' || failures + 1 >= tries) throw outcome
      await clock.sleep(backoffMs(failures, { baseMs: 500, maxMs: 10_000 }), signal)
    }
  }

  async #request(signal: AbortSignal): Promise<string | CdiError> {
    const { client, namespace, pvcName } = this.#options
    const path = `/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/${encodeURIComponent(namespace)}/uploadtokenrequests`
    const request = {
      apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
      kind: 'UploadTokenRequest',
      metadata: { generateName: 'token-for-cdi-', namespace },
      spec: { pvcName },
    }
    try {
      const { status, body } = await client.raw('POST', path, request, signal)
      const token = (body as { status?: { token?: unknown } } | null | undefined)?.status?.token
      if (status >= 200 && status < 300 && typeof token === 'string' && token !== '') return token
      return refusal(status, body, namespace)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof ConnectionError)) throw error
      return new CdiError('CDI_CLUSTER_API', `cannot ask for an upload token: ${error.message}`, { cause: error })
    }
  }
}

function refusal(status: number, body: unknown, namespace: string): CdiError {
  const text = textOf(body)
  const details = { status }
  if (status === 401 || status === 403) {
    return new CdiError('CDI_UPLOAD_FORBIDDEN', `no upload token for namespace ${namespace}: ${text || status}`, {
      details,
    })
  }
  if (status === 404) {
    return new CdiError(
      'CDI_CLUSTER_API',
      'the cluster does not offer upload tokens: look at `kubectl get apiservice v1beta1.upload.cdi.kubevirt.io`',
      { details },
    )
  }
  return new CdiError('CDI_CLUSTER_API', `cannot get an upload token: status ${status} ${text}`.trimEnd(), { details })
}

function textOf(body: unknown): string {
  if (typeof body === 'string') return body.trim().slice(0, 500)
  const message = (body as { message?: unknown } | null | undefined)?.message
  return typeof message === 'string' ? message : ''
}
