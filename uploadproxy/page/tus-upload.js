// @ts-check
/**
 * An upload by tus 1.0.0 that survives whatever happens on the way: after any trouble the server is asked where it is, and
 * the upload goes on there. It never gives up by itself while trying makes sense; the person in front of it decides.
 *
 *   idle ──start──► running ◄──► waiting (trouble, tries again)
 *                     │  ▲ ▲
 *               pause ▼  │ └──── needsToken ──(new token)
 *                    paused
 *   running ──► processing ──► finished        any ──► failed, cancelled
 */
import { Pace } from './pace.js'

/** @typedef {'idle' | 'running' | 'waiting' | 'needsToken' | 'paused' | 'processing' | 'finished' | 'failed' | 'cancelled'} UploadState */

/**
 * @typedef {object} TusOptions
 * @property {Blob} file
 * @property {string} fileName
 * @property {URL} endpoint where uploads are created
 * @property {(isRefused: boolean) => Promise<string | undefined>} getToken asked before each request; `isRefused`: the last
 *   one was not accepted. Undefined: there is none, the user has to bring one.
 * @property {boolean} [isTokenScarce] tokens cannot be renewed: send as much as possible with each
 * @property {string} [address] of an upload that was begun before
 * @property {(address: string | undefined) => void} onAddress
 * @property {(doneBytes: number) => void} onProgress
 * @property {(state: UploadState, text: string) => void} onState
 */

/** @typedef {{ status: number, text: string, header: (name: string) => string | null }} Answer */

/** Nobody answered. */
class NoAnswer extends Error {}
/** The upload was told to stop for now. */
class Paused extends Error {}
/** The server said no, and would say so again. */
class Refused extends Error {}

const passing = new Set([408, 423, 425, 429, 502, 503, 504])
const longestWaitMs = 15_000
/** A server that has finished goes away; whoever asks then hears that there is none. */
const lookMs = 2_000

export class TusUpload {
  #o
  #pace = new Pace()
  /** @type {string | undefined} */
  #address
  /** @type {UploadState} */
  #state = 'idle'
  /** @type {number | undefined} */
  #offset
  #reached = 0
  #failures = 0
  #tokenIsRefused = false
  #refusals = 0
  #lostSomething = false
  /** Nothing has been heard of the server since the start. */
  #isSettling = true
  /** The server has said that the volume is finished. */
  #isDone = false
  #stop = new AbortController()

  /** @param {TusOptions} options */
  constructor(options) {
    this.#o = options
    this.#address = options.address
  }

  get state() {
    return this.#state
  }

  /** Starts, or goes on after a pause. */
  async run() {
    this.#stop = new AbortController()
    const { signal } = this.#stop
    this.#offset = undefined
    this.#isSettling = true
    this.#set('running', this.#address === undefined ? 'Starting' : 'Asking the server where it is')
    try {
      await this.#sendAll(signal)
      await this.#untilFinished(signal)
      this.#set('finished', 'The volume is finished.')
    } catch (error) {
      if (error instanceof Paused || signal.aborted) return
      this.#set('failed', error instanceof Error ? error.message : String(error))
    }
  }

  /** Stops for now. What the server has it keeps. */
  pause() {
    this.#stop.abort(new Paused())
    this.#set('paused', 'Paused. The server keeps what it has.')
  }

  /** The volume was found to be finished by other means. */
  finish() {
    this.#stop.abort(new Paused())
    this.#set('finished', 'The volume is finished.')
  }

  /** @param {string} text it was found to have failed by other means */
  fail(text) {
    this.#stop.abort(new Paused())
    this.#set('failed', text)
  }

  /** Gives up, and tells the server to throw away what it has. */
  async cancel() {
    this.#stop.abort(new Paused())
    this.#set('cancelled', 'Cancelled.')
    const address = this.#address
    this.#forget()
    if (address === undefined) return
    try {
      await this.#send('DELETE', new URL(address, this.#o.endpoint), {}, undefined, AbortSignal.timeout(10_000))
    } catch {
      // It throws it away by itself after a while.
    }
  }

  /** @param {AbortSignal} signal */
  async #sendAll(signal) {
    const { file } = this.#o
    while (this.#offset !== file.size) {
      signal.throwIfAborted()
      if (this.#address === undefined) await this.#create(signal)
      else if (this.#offset === undefined) await this.#ask(this.#address, signal)
      else await this.#append(this.#address, this.#offset, signal)
    }
  }

  /** @param {AbortSignal} signal */
  async #create(signal) {
    const { file, fileName, endpoint } = this.#o
    const answer = await this.#try(signal, () =>
      this.#send(
        'POST',
        endpoint,
        {
          'Upload-Length': String(file.size),
          'Upload-Metadata': `filename ${base64(fileName)}`,
        },
        undefined,
        signal,
      ),
    )
    if (answer === undefined) return
    const location = answer.header('location')
    if (location === null) throw new Refused('The proxy took the upload and told no address for it.')
    // Only the last part is taken: proxies in between may see other names than this page does.
    const id = new URL(location, endpoint).pathname.split('/').at(-1)
    this.#address = `${endpoint.pathname}/${id}`
    this.#offset = 0
    this.#o.onAddress(this.#address)
  }

  /**
   * @param {string} address
   * @param {AbortSignal} signal
   */
  async #ask(address, signal) {
    const answer = await this.#try(signal, () => this.#send('HEAD', this.#url(address), {}, undefined, signal))
    if (answer === undefined) return
    this.#isDone = answer.header('cdi-upload-state') === 'done'
    const offset = Number(answer.header('upload-offset') ?? Number.NaN)
    const length = answer.header('upload-length')
    if (!Number.isSafeInteger(offset) || (length !== null && Number(length) !== this.#o.file.size)) {
      this.#lose()
      return
    }
    this.#arrivedAt(offset)
  }

  /**
   * @param {string} address
   * @param {number} offset
   * @param {AbortSignal} signal
   */
  async #append(address, offset, signal) {
    const { file, isTokenScarce } = this.#o
    const length = isTokenScarce && this.#failures === 0 ? file.size - offset : this.#pace.bytes
    const piece = file.slice(offset, offset + length)
    const started = performance.now()
    let sent = 0
    const answer = await this.#try(signal, () =>
      this.#send(
        'PATCH',
        this.#url(address),
        { 'Content-Type': 'application/offset+octet-stream', 'Upload-Offset': String(offset) },
        {
          body: piece,
          onSent: (bytes) => {
            sent = bytes
            this.#o.onProgress(offset + bytes)
          },
        },
        signal,
      ),
    )
    const tookMs = performance.now() - started
    if (answer === undefined) {
      this.#pace.wasCut(sent, tookMs)
      return
    }
    this.#pace.succeeded(piece.size, tookMs)
    this.#isDone = answer.header('cdi-upload-state') === 'done'
    this.#arrivedAt(Number(answer.header('upload-offset') ?? offset + piece.size))
  }

  /**
   * After the last byte: the server answers as long as it works on the volume.
   * @param {AbortSignal} signal
   */
  async #untilFinished(signal) {
    while (!this.#isDone) {
      if (this.#state !== 'processing') this.#set('processing', 'All bytes are there. The volume is being finished.')
      await sleep(lookMs, signal)
      const address = this.#address
      if (address === undefined) return
      /** @type {Answer} */
      let answer
      try {
        answer = await this.#send('HEAD', this.#url(address), {}, undefined, signal)
      } catch (error) {
        signal.throwIfAborted()
        if (error instanceof NoAnswer) continue
        throw error
      }
      if (answer.status >= 200 && answer.status < 300) {
        const offset = Number(answer.header('upload-offset'))
        this.#isDone = answer.header('cdi-upload-state') === 'done'
        if (this.#isDone || offset === this.#o.file.size) continue
        // A server that was restarted lacks bytes.
        this.#arrivedAt(offset)
        this.#set('running', 'The server was restarted; going on.')
        await this.#sendAll(signal)
      } else if (answer.status === 400 || answer.status === 460 || answer.status === 500) {
        throw new Refused(refusalText(answer))
      }
      // Everything else says that the server is gone or busy; the phase of the volume tells which.
    }
  }

  /**
   * One request and what its answer means. Undefined: there was trouble, and it is time for the next try.
   * @param {AbortSignal} signal
   * @param {() => Promise<Answer>} request
   */
  async #try(signal, request) {
    /** @type {Answer} */
    let answer
    try {
      answer = await request()
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof NoAnswer)) throw error
      await this.#wait('The connection is lost', 0, signal)
      return undefined
    }
    const { status } = answer
    if (status >= 200 && status < 300) {
      this.#refusals = 0
      if (this.#state !== 'running' || this.#isSettling) this.#set('running', '')
      this.#isSettling = false
      return answer
    }
    this.#offset = undefined
    if (status === 401) {
      this.#refusals += 1
      this.#tokenIsRefused = true
      if (this.#refusals > 3) throw new Refused('The proxy does not accept the upload tokens of this cluster.')
      return undefined
    }
    if ((status === 404 || status === 410) && this.#address !== undefined) {
      await this.#wait('The server does not know this upload any more', 0, signal)
      this.#lose()
      return undefined
    }
    if (status === 409 || passing.has(status)) {
      const later = Number(answer.header('retry-after'))
      await this.#wait(busyText(answer), Number.isFinite(later) ? later * 1000 : 0, signal)
      return undefined
    }
    throw new Refused(refusalText(answer))
  }

  /**
   * @param {string} text
   * @param {number} leastMs
   * @param {AbortSignal} signal
   */
  async #wait(text, leastMs, signal) {
    this.#offset = undefined
    const waitMs = Math.max(Math.min(leastMs, 60_000), Math.min(longestWaitMs, 500 * 2 ** this.#failures))
    this.#failures += 1
    this.#set('waiting', `${text}. Trying again in ${Math.ceil(waitMs / 1000)} s.`)
    await sleep(waitMs, signal)
    this.#set('waiting', `${text}. Trying again now.`)
  }

  /** @param {number} offset */
  #arrivedAt(offset) {
    if (offset > this.#reached) this.#failures = 0
    this.#reached = Math.max(this.#reached, offset)
    this.#offset = offset
    this.#o.onProgress(offset)
  }

  /** What had arrived is lost: begin anew, and say so. */
  #lose() {
    this.#lostSomething = this.#lostSomething || this.#reached > 0 || this.#address === this.#o.address
    this.#forget()
    this.#o.onProgress(0)
    if (this.#lostSomething) this.#set('waiting', 'The server has lost what it had; everything is sent again.')
  }

  #forget() {
    this.#address = undefined
    this.#offset = undefined
    this.#reached = 0
    this.#o.onAddress(undefined)
  }

  /** @param {string} address */
  #url(address) {
    return new URL(address, this.#o.endpoint)
  }

  /**
   * @param {UploadState} state
   * @param {string} text
   */
  #set(state, text) {
    this.#state = state
    this.#o.onState(state, text)
  }

  /**
   * One request. XMLHttpRequest, since fetch does not tell how much of a body is sent.
   * @param {string} method
   * @param {URL} url
   * @param {Record<string, string>} headers
   * @param {{ body: Blob, onSent: (bytes: number) => void } | undefined} sending
   * @param {AbortSignal} signal
   * @returns {Promise<Answer>}
   */
  async #send(method, url, headers, sending, signal) {
    const token = await this.#token(signal)
    signal.throwIfAborted()
    const { promise, resolve, reject } = /** @type {PromiseWithResolvers<Answer>} */ (Promise.withResolvers())
    const request = new XMLHttpRequest()
    request.open(method, url)
    request.setRequestHeader('Authorization', `Bearer ${token}`)
    request.setRequestHeader('Tus-Resumable', '1.0.0')
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value)
    // A connection over which nothing moves is dead, however long its request may take in all.
    const watchdog = createWatchdog(60_000, () => request.abort())
    request.upload.addEventListener('progress', ({ loaded }) => {
      watchdog.feed()
      sending?.onSent(Math.min(loaded, sending.body.size))
    })
    request.addEventListener('readystatechange', () => watchdog.feed())
    request.addEventListener('load', () =>
      resolve({
        status: request.status,
        text: request.responseText.slice(0, 2000),
        header: (name) => request.getResponseHeader(name),
      }),
    )
    request.addEventListener('error', () => reject(new NoAnswer()))
    request.addEventListener('abort', () => reject(signal.aborted ? signal.reason : new NoAnswer()))
    const onAbort = () => request.abort()
    signal.addEventListener('abort', onAbort)
    try {
      request.send(sending?.body ?? null)
      return await promise
    } finally {
      watchdog.stop()
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** @param {AbortSignal} signal */
  async #token(signal) {
    for (let failures = 0; ; failures += 1) {
      try {
        const token = await this.#o.getToken(this.#tokenIsRefused)
        if (token !== undefined) {
          this.#tokenIsRefused = false
          return token
        }
        this.#stop.abort(new Paused())
        this.#set('needsToken', 'The upload token has expired. The server keeps what it has.')
        throw new Paused()
      } catch (error) {
        signal.throwIfAborted()
        const status = error instanceof Error && 'status' in error ? Number(error.status) : undefined
        if (status === undefined || (status >= 400 && status < 500 && status !== 429)) throw error
        const waitMs = Math.min(longestWaitMs, 500 * 2 ** failures)
        this.#set('waiting', `No upload token is to be had. Trying again in ${Math.ceil(waitMs / 1000)} s.`)
        await sleep(waitMs, signal)
      }
    }
  }
}

/** @param {Answer} answer */
function refusalText({ status, text }) {
  return text.trim() === ''
    ? `The server refused the upload (status ${status}).\nLook at the conditions and events of the volume with “kubectl describe”.`
    : text.trim()
}

/** @param {Answer} answer */
function busyText({ status, text }) {
  if (status === 502 || status === 504) return 'The upload server cannot be reached at the moment'
  const said = text.trim().replace(/\.$/, '')
  return said === '' ? `The server cannot go on at the moment (status ${status})` : said
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>}
 */
function sleep(ms, signal) {
  return new Promise((resolve, reject) => {
    const onAbort = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    const timer = setTimeout(() => {
      signal.removeEventListener('abort', onAbort)
      resolve()
    }, ms)
    if (signal.aborted) onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

/**
 * @param {number} limitMs
 * @param {() => void} onSilence
 */
function createWatchdog(limitMs, onSilence) {
  let timer = setTimeout(onSilence, limitMs)
  return {
    feed() {
      clearTimeout(timer)
      timer = setTimeout(onSilence, limitMs)
    },
    stop: () => clearTimeout(timer),
  }
}

/** @param {string} text */
function base64(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)))
}
