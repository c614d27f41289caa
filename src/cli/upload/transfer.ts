/** What all protocols are to the one who runs an upload. */
import type { Clock } from '../../kube/clock.ts'
import type { Answer, Exchange, UploadRequest } from './connection.ts'
import { CutOff } from './cut-off.ts'
import { judge } from './verdict.ts'

export interface Transfer {
  /**
   * Sends what the server does not have yet. Resolves when it has every byte, or the volume was found to be finished.
   * Rejects with CDI_UPLOAD_* and with the faults that the server names. May be called again after `untilLost`.
   */
  send(signal: AbortSignal): Promise<void>
  /**
   * After `send`, while the volume is being finished: resolves when the server turns out to lack bytes (it was restarted),
   * rejects when it says that the upload failed.
   */
  untilLost(signal: AbortSignal): Promise<void>
}

export interface TransferEvents {
  /** The upload has an address now: with it another process can go on. */
  onAddress(address: string): void | Promise<void>
  /** Bytes that the server has, and bytes sent beyond that. */
  onProgress(doneBytes: number): void
  /** What had arrived is lost, and everything is sent anew. */
  onRestart(text: string): void
}

export interface Asking {
  readonly exchange: Exchange
  readonly clock: Clock
  readonly request: UploadRequest
}

/** A server that has finished goes away, and the cluster knows it a little later. */
const goneMs = 30_000
const firstPauseMs = 2_000
const longestPauseMs = 15_000

/**
 * Asks now and then until the answer shows that bytes are missing (`lacks`), or the upload has been unknown for a while.
 * Throws the fault that the server names; everything else passes.
 */
export async function askUntilLost(
  { exchange, clock, request }: Asking,
  signal: AbortSignal,
  lacks: (answer: Answer) => boolean,
): Promise<{ readonly isGone: boolean; readonly text: string }> {
  let goneSinceMs: number | undefined
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMs * 1.5, longestPauseMs)) {
    await clock.sleep(pauseMs, signal)
    let answer: Answer
    try {
      answer = await exchange.send(request)
    } catch (error) {
      if (error instanceof CutOff) continue
      throw error
    }
    const verdict = judge(answer)
    if (verdict.kind === 'fatal') throw verdict.error
    if (verdict.kind === 'ok' && lacks(answer)) return { isGone: false, text: '' }
    if (verdict.kind !== 'gone') {
      goneSinceMs = undefined
      continue
    }
    goneSinceMs ??= clock.monotonicMs()
    if (clock.monotonicMs() - goneSinceMs >= goneMs) return { isGone: true, text: verdict.text }
  }
}
