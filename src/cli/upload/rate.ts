/** Bytes per second over the last seconds: what the line does now, not what it did an hour ago. */
import type { Clock } from '../../kube/clock.ts'

const windowMs = 15_000
const sampleMs = 250

export class RateMeter {
  readonly #clock: Clock
  #samples: { readonly atMs: number; readonly bytes: number }[] = []

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** So much is done in all. Less than before begins anew. */
  add(bytes: number): void {
    const atMs = this.#clock.monotonicMs()
    const last = this.#samples.at(-1)
    if (last !== undefined && bytes < last.bytes) this.reset()
    else if (last !== undefined && atMs - last.atMs < sampleMs) return
    this.#samples.push({ atMs, bytes })
    while (this.#samples.length > 2 && atMs - (this.#samples[1]?.atMs ?? atMs) >= windowMs) this.#samples.shift()
  }

  reset(): void {
    this.#samples = []
  }

  /** Undefined while too little is known. */
  get bytesPerSecond(): number | undefined {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.atMs - first.atMs < 2 * sampleMs) return undefined
    return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000
  }
}
