/**
 * What to do when a request brought no good answer: say so, wait, look at the volume now and then, give up when the
 * patience is over. Shared by the protocols, so that all of them suffer the same.
 */
import { CdiError } from '../../errors.ts'
import type { Clock } from '../../kube/clock.ts'
import type { Patience } from './patience.ts'
import type { TokenSource } from './token.ts'
import type { Verdict } from './verdict.ts'

export interface TroubleOptions {
  readonly clock: Clock
  readonly patience: Patience
  readonly token: Pick<TokenSource, 'forget'>
  /** Whether the volume is finished. Throws when it will never be: it is gone. */
  readonly isFinished: (signal: AbortSignal) => Promise<boolean>
  /** Something goes wrong, and the next try is so far away. */
  readonly onTrouble: (text: string, waitMs: number) => void
}

/** A new token that is not accepted either, so often in a row, is no chance. */
const maxTokenRefusals = 3

export class Trouble {
  readonly #o: TroubleOptions
  /** Every byte has been sent at least once: if the volume is finished it is by us. */
  sentEverything = false
  #tokenRefusals = 0
  #failures = 0
  #everAnswered = false
  #isFinished = false

  constructor(options: TroubleOptions) {
    this.#o = options
  }

  /** The volume was found to be finished while an answer was missing. */
  get isFinished(): boolean {
    return this.#isFinished
  }

  /** The server has more bytes than before. */
  progressed(): void {
    this.#o.patience.progressed()
    this.#failures = 0
  }

  /** A good answer came. */
  answered(): void {
    this.#everAnswered = true
    this.#tokenRefusals = 0
  }

  /** No answer came. Throws the fault when there is no hope. */
  async cut(fault: Error, signal: AbortSignal): Promise<void> {
    if (fault instanceof CdiError && !this.#everAnswered) throw fault
    await this.#wait(fault.message, 0, signal, fault)
  }

  /** The server does not know the upload: true if that is because the volume is finished. Then waits. */
  async gone(text: string, signal: AbortSignal): Promise<boolean> {
    if (await this.#look(signal)) return true
    await this.#wait(`the server does not know the upload (any more): ${text}`, 0, signal)
    return this.#isFinished
  }

  /** An answer that is not a good one. Throws when there is no hope. */
  async judged(verdict: Exclude<Verdict, { kind: 'ok' }>, signal: AbortSignal): Promise<void> {
    switch (verdict.kind) {
      case 'fatal':
        throw verdict.error
      case 'token':
        this.#o.token.forget()
        this.#tokenRefusals += 1
        if (this.#tokenRefusals > maxTokenRefusals) {
          throw new CdiError('CDI_UPLOAD_FORBIDDEN', 'the upload proxy does not accept the tokens of this cluster', {
            details: { answer: verdict.text },
          })
        }
        return this.#wait(`the token was not accepted: ${verdict.text}`, 0, signal)
      case 'retry':
        return this.#wait(verdict.text, verdict.leastMs, signal)
      case 'gone':
      case 'conflict':
        return this.#wait(verdict.text, 0, signal)
      default:
        return verdict satisfies never
    }
  }

  async #wait(text: string, leastMs: number, signal: AbortSignal, cause?: Error): Promise<void> {
    const { patience, clock, onTrouble } = this.#o
    this.#failures += 1
    // The first failure is mostly one that passes; from the second on it may be that there is nothing to go on with.
    if (this.#failures > 1 && (await this.#look(signal))) return
    const waitMs = patience.failed(leastMs)
    if (waitMs === undefined) {
      const seconds = Math.round(patience.troubledMs / 1000)
      const code = this.#everAnswered ? 'CDI_UPLOAD_INTERRUPTED' : 'CDI_UPLOAD_UNREACHABLE'
      throw new CdiError(code, `no byte got through for ${seconds} s; last: ${text}`, { cause })
    }
    onTrouble(text, waitMs)
    await clock.sleep(waitMs, signal)
  }

  async #look(signal: AbortSignal): Promise<boolean> {
    this.#isFinished = await this.#o.isFinished(signal)
    if (this.#isFinished && !this.sentEverything) {
      throw new CdiError('CDI_UPLOAD_TARGET', 'somebody else has filled the volume meanwhile')
    }
    return this.#isFinished
  }
}
