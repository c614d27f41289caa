/**
 * How far a transfer is. Routes report bytes of the source as they are taken and, where another program converts, its
 * percentage; the snapshot never goes back.
 */

export interface ProgressSnapshot {
  /** 0–100, or undefined while the total is unknown. */
  readonly percent?: number
  /** Bytes taken from the source so far. */
  readonly doneBytes: number
  /** Length of the source, if known. */
  readonly totalBytes?: number
  readonly phase: string
}

export class Progress {
  #doneBytes = 0
  #totalBytes: number | undefined
  #percent: number | undefined
  #phase = 'connect'

  /** Names the phase and, when known, the bytes that the source will deliver. */
  enter(phase: string, totalBytes?: number): void {
    this.#phase = phase
    if (totalBytes !== undefined) this.#totalBytes = totalBytes
  }

  /** More bytes of the source were taken. */
  readonly bytes = (count: number): void => {
    this.#doneBytes += count
    if (this.#totalBytes) this.percent((this.#doneBytes / this.#totalBytes) * 100)
  }

  /** The converter's own percentage, 0–100. Smaller values than before are ignored. */
  readonly percent = (value: number): void => {
    if (Number.isFinite(value)) this.#percent = Math.min(100, Math.max(this.#percent ?? 0, value))
  }

  snapshot(): ProgressSnapshot {
    return {
      phase: this.#phase,
      doneBytes: this.#doneBytes,
      ...(this.#percent === undefined ? {} : { percent: this.#percent }),
      ...(this.#totalBytes === undefined ? {} : { totalBytes: this.#totalBytes }),
    }
  }
}
