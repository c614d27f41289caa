// @ts-check
/** Bytes per second over the last seconds: what the line does now, not what it did an hour ago. */

const windowMs = 15_000
const sampleMs = 250

export class RateMeter {
  /** @type {{ atMs: number, bytes: number }[]} */
  #samples = []

  /**
   * So much is done in all. Less than before begins anew.
   * @param {number} bytes
   * @param {number} [atMs]
   */
  add(bytes, atMs = performance.now()) {
    const last = this.#samples.at(-1)
    if (last !== undefined && bytes < last.bytes) this.reset()
    else if (last !== undefined && atMs - last.atMs < sampleMs) return
    this.#samples.push({ atMs, bytes })
    while (this.#samples.length > 2 && atMs - this.#samples[1].atMs >= windowMs) this.#samples.shift()
  }

  reset() {
    this.#samples = []
  }

  /** Undefined while too little is known. */
  get bytesPerSecond() {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.atMs - first.atMs < 2 * sampleMs) return undefined
    return ((last.bytes - first.bytes) / (last.atMs - first.atMs)) * 1000
  }
}
