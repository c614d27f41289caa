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

/** The part of the whole that a step fills. */
export interface PercentShare {
  readonly fromPercent: number
  readonly toPercent: number
}

export class Progress {
  #doneBytes = 0
  #totalBytes: number | undefined
  #percent: number | undefined
  #phase = 'connect'
  #share: PercentShare = { fromPercent: 0, toPercent: 100 }

  /**
   * Names the phase and, when known, the bytes that the source will deliver. With a share, what follows fills only that
   * part of the whole: a route of two steps gives each its own.
   */
  enter(phase: string, totalBytes?: number, share?: PercentShare): void {
    this.#phase = phase
    if (totalBytes !== undefined) this.#totalBytes = totalBytes
    if (share) this.#share = share
  }

  /** More bytes of the source were taken. */
  readonly bytes = (count: number): void => {
    this.#doneBytes += count
    if (this.#totalBytes) this.percent((this.#doneBytes / this.#totalBytes) * 100)
  }

  /** The converter's own percentage, 0–100. Smaller values than before are ignored. */
  readonly percent = (value: number): void => {
    if (!Number.isFinite(value)) return
    const { fromPercent, toPercent } = this.#share
    const overall = fromPercent + ((toPercent - fromPercent) * Math.min(100, value)) / 100
    this.#percent = Math.min(100, Math.max(this.#percent ?? 0, overall))
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
