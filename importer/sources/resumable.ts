/**
 * Patience: tries again what heals, from where it stopped. Works over anything that can start reading at an offset
 * (HTTP ranges, S3 objects, registry blobs). Progress of any stream of a source resets the patience of all of them, since
 * what counts is whether the source as a whole still gives.
 */
import { CdiError } from '../../src/errors.ts'
import type { ErrorCode } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Clock } from './clock.ts'
import type { ByteRange, Sink } from './source.ts'

/** How long to go on without a single byte, in milliseconds. */
export interface PatienceLimits {
  /** Connections that break, stall or cannot be made. */
  readonly silenceMs: number
  /** Answers that refuse: 404 while the file is being replaced, 429, 5xx, a certificate being renewed. */
  readonly refusalMs: number
  /** First and longest pause between two tries. */
  readonly firstPauseMs: number
  readonly longestPauseMs: number
}

export const defaultPatience: PatienceLimits = {
  silenceMs: 600_000,
  refusalMs: 120_000,
  firstPauseMs: 250,
  longestPauseMs: 15_000,
}

/** When a source last gave a byte; shared by its streams. */
export class Pulse {
  readonly #clock: Clock
  lastByteMs: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.lastByteMs = clock.now()
  }

  beat(): void {
    this.lastByteMs = this.#clock.now()
  }
}

export interface PatienceOptions {
  readonly clock: Clock
  /** From 0 up to 1, for the jitter. */
  readonly random: () => number
  readonly limits: PatienceLimits
  readonly pulse: Pulse
  readonly log: Log
}

/** So often may a body end early at the same byte before the file counts as short. */
const mostCleanEnds = 4

/** True if the server closed the connection in good order within a body. */
function endedEarly(error: CdiError): boolean {
  return error.details['endedWithin'] === true
}

function truncated(cause: CdiError): CdiError {
  return new CdiError('CDI_SOURCE_TRUNCATED', 'the source ends before its announced length', {
    cause,
    details: cause.details,
  })
}

/** The patience of one stream. */
export class Patience {
  readonly #options: PatienceOptions
  #failures = 0
  /** Silence begins with the first failure: before it, it may have been the reader that held the stream back. */
  #firstFailureMs: number | undefined
  #cleanEnds = 0
  /** Waits that the server asked for do not count as silence. */
  #grantedMs = 0

  constructor(options: PatienceOptions) {
    this.#options = options
  }

  /** A byte came: all is forgiven. */
  progressed(): void {
    this.#failures = 0
    this.#firstFailureMs = undefined
    this.#cleanEnds = 0
    this.#grantedMs = 0
    this.#options.pulse.beat()
  }

  /**
   * Waits before the next try, longer each time and at least as long as the server asked for (Retry-After). Throws the
   * final fault when `error` does not heal or has lasted too long.
   */
  async wait(error: unknown, signal: AbortSignal): Promise<void> {
    const { clock, random, limits, pulse, log } = this.#options
    signal.throwIfAborted()
    if (!(error instanceof CdiError)) throw error
    const limitMs = patienceFor(error, limits)
    if (limitMs === undefined) throw error
    // Ending in good order at the same byte again and again is not an accident of the network.
    if (endedEarly(error)) this.#cleanEnds += 1
    if (this.#cleanEnds >= mostCleanEnds) throw truncated(error)
    this.#firstFailureMs ??= clock.now()
    const silentMs = clock.now() - Math.max(pulse.lastByteMs, this.#firstFailureMs)
    const pauseMs = Math.min(limits.longestPauseMs, limits.firstPauseMs * 2 ** this.#failures) * (0.5 + random() / 2)
    const askedMs = Number(error.details['retryAfterMs'] ?? 0)
    if (silentMs - this.#grantedMs >= limitMs || silentMs + askedMs >= limits.silenceMs) throw final(error, silentMs)
    this.#failures += 1
    if (askedMs > pauseMs) this.#grantedMs += askedMs
    log.info({ err: error, pauseMs: Math.round(Math.max(pauseMs, askedMs)) }, 'source interrupted, trying again')
    await clock.sleep(Math.max(pauseMs, askedMs), signal)
  }
}

const brokenLinks: ReadonlySet<ErrorCode> = new Set([
  'CDI_SOURCE_UNREACHABLE',
  'CDI_SOURCE_INTERRUPTED',
  'CDI_SOURCE_STALLED',
])
const refusals: ReadonlySet<ErrorCode> = new Set(['CDI_SOURCE_STATUS', 'CDI_SOURCE_TLS'])

/** For how long a fault is suffered; undefined if trying again makes no sense. */
function patienceFor(error: CdiError, limits: PatienceLimits): number | undefined {
  if (brokenLinks.has(error.code)) return limits.silenceMs
  return refusals.has(error.code) ? limits.refusalMs : undefined
}

function final(error: CdiError, silentMs: number): CdiError {
  const text = `${error.message} (no byte for ${Math.round(silentMs / 1000)} s in spite of retries)`
  return new CdiError(error.code, text, { cause: error, details: { ...error.details, silentMs } })
}

/** One try to stream a range; may fail at any byte, and may end early without an error. */
export type OpenRange = (range: ByteRange, sink: Sink, signal: AbortSignal) => Promise<void>

export interface ResumableOptions extends PatienceOptions {
  readonly open: OpenRange
  /** A validator guards every try, so that the pieces are of one version. */
  readonly guarded: boolean
}

/**
 * Makes of single tries a stream that hands out exactly the range, each byte once. Without a validator a stream that has
 * begun is not resumed: CDI_SOURCE_INTERRUPTED. What the sink throws passes as it is and is never tried again.
 */
export function resumable(options: ResumableOptions): OpenRange {
  return async (range, sink, signal) => {
    const patience = new Patience(options)
    let done = 0
    let sinkFault: { readonly error: unknown } | undefined
    const onSinkError = (error: unknown): never => {
      sinkFault = { error }
      throw error
    }
    const following: Sink = (chunk) => {
      done += chunk.length
      patience.progressed()
      try {
        return sink(chunk)?.catch(onSinkError)
      } catch (error) {
        return onSinkError(error)
      }
    }
    while (done < range.length) {
      const before = done
      try {
        await options.open({ offset: range.offset + done, length: range.length - done }, following, signal)
        if (done === before) throw new CdiError('CDI_SOURCE_INTERRUPTED', 'HTTP request errored: an empty answer')
      } catch (error) {
        if (sinkFault !== undefined) throw sinkFault.error
        if (done > 0 && !options.guarded && error instanceof CdiError) throw refuseToResume(error, range.offset + done)
        await patience.wait(error, signal)
      }
    }
  }
}

/** The fault of a stream that broke and must not be glued together. */
export function refuseToResume(error: CdiError, offset: number): CdiError {
  if (endedEarly(error)) return truncated(error)
  if (error.code !== 'CDI_SOURCE_INTERRUPTED' && error.code !== 'CDI_SOURCE_STALLED') return error
  return new CdiError(
    error.code,
    `${error.message} (at byte ${offset}; not resumed, because the server names no version of the file)`,
    { cause: error, details: { ...error.details, offset } },
  )
}
