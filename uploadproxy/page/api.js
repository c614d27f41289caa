// @ts-check
/** The proxy's own small API: what the page shows of the cluster, asked for with the user's Kubernetes token. */

/**
 * @typedef {object} Condition
 * @property {string} type
 * @property {string} status
 * @property {string} reason
 * @property {string} message
 *
 * @typedef {object} DataVolume
 * @property {string} name
 * @property {string} phase
 * @property {string} progress
 * @property {number} restarts
 * @property {string | null} size
 * @property {string} source
 * @property {Condition[]} conditions
 * @property {number} age seconds
 */

/** The answer was no. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if there was no answer
   * @param {string} message
   */
  constructor(status, message) {
    super(message)
    this.status = status
  }
}

/** What one may do about an answer, in a sentence. */
const remedies = new Map([
  [0, 'Check your connection; the page goes on by itself when the proxy answers again.'],
  [401, 'Make a new one, for example with “kubectl create token”, and check that all of it was copied.'],
  [403, 'Ask for the role “edit” or “admin” in this namespace.'],
  [404, 'Check the name of the namespace, and that the service is installed in this cluster.'],
])

const causes = new Map([
  [401, 'The cluster does not accept this token: it has expired, or a part of it is missing.'],
  [403, 'This token has no right to do that.'],
])

/**
 * An error and its remedy, as one text.
 * @param {unknown} error
 */
export function explain(error) {
  if (!(error instanceof ApiError)) return error instanceof Error ? error.message : String(error)
  const cause = causes.get(error.status)
  const remedy = remedies.get(error.status) ?? (error.status >= 500 ? 'Try again in a moment.' : '')
  const said = cause === undefined || error.status === 403 ? error.message : ''
  return [cause, said, remedy].filter((part) => part !== undefined && part !== '').join('\n')
}

export class PageApi {
  #namespace
  #token

  /** @param {{ namespace: string, token: string }} access */
  constructor({ namespace, token }) {
    this.#namespace = namespace
    this.#token = token
  }

  /**
   * @param {AbortSignal} [signal]
   * @returns {Promise<{ items: DataVolume[], truncated: boolean }>}
   */
  dataVolumes(signal) {
    return this.#call('datavolumes', { method: 'GET' }, signal)
  }

  /**
   * @param {string} pvcName
   * @param {AbortSignal} [signal]
   * @returns {Promise<{ token: string, expires: string }>}
   */
  uploadToken(pvcName, signal) {
    return this.#call('uploadtokens', { method: 'POST', body: JSON.stringify({ pvcName }) }, signal)
  }

  /**
   * @param {string} path
   * @param {RequestInit} init
   * @param {AbortSignal} [signal]
   */
  async #call(path, init, signal) {
    let response
    try {
      response = await fetch(
        new URL(`api/namespaces/${encodeURIComponent(this.#namespace)}/${path}`, import.meta.url),
        {
          ...init,
          headers: {
            authorization: `Bearer ${this.#token}`,
            ...(init.body === undefined ? {} : { 'content-type': 'application/json' }),
          },
          cache: 'no-store',
          credentials: 'omit',
          redirect: 'error',
          ...(signal === undefined ? {} : { signal }),
        },
      )
    } catch (error) {
      signal?.throwIfAborted()
      // fetch throws a TypeError for tokens that cannot stand in a header, too.
      if (!/^[\x21-\x7e]+$/.test(this.#token)) throw new ApiError(401, 'the token has characters that no token has')
      throw new ApiError(0, `The proxy does not answer: ${error instanceof Error ? error.message : String(error)}.`)
    }
    const answer = await response.json().catch(() => ({}))
    if (response.ok) return answer
    throw new ApiError(response.status, answer.message ?? `The proxy answered with status ${response.status}.`)
  }
}
