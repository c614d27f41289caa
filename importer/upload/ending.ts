/**
 * When and how the program ends: the volume is finished and its client knows it, an upload needs a scratch volume, one
 * failed behind its answer, the deadline has passed while nobody uploads, or somebody stops it.
 */
import type { CdiError } from '../../src/errors.ts'
import { toCdiError } from '../../src/errors.ts'
import type { Clock } from '../sources/clock.ts'
import { deadlinePassed, failure, fatal, uploaded } from '../termination.ts'
import type { Termination } from '../termination.ts'
import type { Slot } from './slot.ts'
import type { UploadResult } from './transfer.ts'

/** How long a finished server waits for a client that could not be told. */
const untoldMs = 30_000
const deadlineCheckMs = 2000
/** A client between two requests of one upload is not idle yet. */
const pauseMs = 60_000

export type End =
  | { readonly kind: 'uploaded'; readonly result: UploadResult }
  | { readonly kind: 'deadlinePassed' }
  /** With the fault that the words are made of. */
  | { readonly kind: 'failed'; readonly fault: CdiError }

export interface UntilEnd {
  readonly slot: Pick<Slot, 'done' | 'delivered' | 'scratchRequired' | 'quietMs' | 'state'>
  /** Settles with a fault that came behind an answer. */
  readonly unseenFault: Promise<CdiError>
  /** Milliseconds since the epoch; absent: never. */
  readonly deadlineMs?: number
  /** Milliseconds since the epoch. */
  readonly now: () => number
  readonly clock: Clock
  /** Aborted with a CdiError when the program is to stop. */
  readonly signal: AbortSignal
}

/** Resolves when the program has to end. Never rejects. */
export async function untilEnd({ slot, unseenFault, deadlineMs, now, clock, signal }: UntilEnd): Promise<End> {
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  const stopped = new Promise<End>((resolve) => {
    const stop = (): void => resolve({ kind: 'failed', fault: toCdiError(signal.reason) })
    if (signal.aborted) stop()
    else signal.addEventListener('abort', stop, { once: true })
  })
  let result: UploadResult | undefined
  const whenDone = slot.done.then(async (told): Promise<End> => {
    result = told
    await Promise.race([slot.delivered, clock.sleep(untoldMs, either).catch(() => {})])
    return { kind: 'uploaded', result: told }
  })
  const mayEnd = (): boolean =>
    deadlineMs !== undefined && now() >= deadlineMs && slot.quietMs >= pauseMs && slot.state !== 'done'
  const deadline = async (): Promise<End> => {
    while (!mayEnd()) await clock.sleep(deadlineCheckMs, either)
    return { kind: 'deadlinePassed' }
  }
  const fail = (fault: CdiError): End => ({ kind: 'failed', fault })
  try {
    const end = await Promise.race([
      whenDone,
      slot.scratchRequired.then(fail),
      unseenFault.then(fail),
      stopped,
      deadline().catch(() => stopped),
    ])
    // What is finished stays finished, whoever stops us while the client is being told.
    return result === undefined ? end : { kind: 'uploaded', result }
  } finally {
    over.abort()
  }
}

/** The last words and the exit code. */
export function terminationOf(end: End, { isClone = false }: { isClone?: boolean } = {}): Termination {
  switch (end.kind) {
    case 'uploaded':
      return uploaded({ preallocationApplied: end.result.preallocationApplied, isClone })
    case 'deadlinePassed':
      return deadlinePassed()
    case 'failed':
      // Whatever the fault is: exit code 0 would tell that the volume is finished.
      return end.fault.kind === 'needsScratch' ? failure(end.fault) : fatal(end.fault)
    default:
      return end satisfies never
  }
}
