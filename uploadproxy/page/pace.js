// @ts-check
/**
 * How many bytes go into one request: as many as go through in ten seconds, since ingresses cut requests after half a
 * minute or so, and fewer where requests get cut. The same rules as those of the command line (src/cli/upload/pace.ts).
 */

const mebibyte = 1024 * 1024
const limits = { least: mebibyte, most: 1024 * mebibyte, first: 8 * mebibyte }
const aimMs = 10_000
const leastAimMs = 1_000

export class Pace {
  #bytes = limits.first
  #aimMs = aimMs

  /** Size of the next request. */
  get bytes() {
    return this.#bytes
  }

  /**
   * A request went through whole. Twice as much at most: one quick answer says little.
   * @param {number} bytes
   * @param {number} tookMs
   */
  succeeded(bytes, tookMs) {
    this.#set(Math.min((bytes / Math.max(tookMs, 1)) * this.#aimMs, 2 * Math.max(bytes, this.#bytes)))
  }

  /**
   * A request was cut off. Whatever cut it is likely to cut the next one after the same time.
   * @param {number} bytes
   * @param {number} afterMs
   */
  wasCut(bytes, afterMs) {
    if (afterMs >= leastAimMs) this.#aimMs = Math.max(leastAimMs, Math.min(this.#aimMs, afterMs * 0.7))
    this.#set(Math.min(this.#bytes, Math.max(bytes * 0.7, this.#bytes / 2)))
  }

  /** @param {number} bytes */
  #set(bytes) {
    this.#bytes = Math.min(limits.most, Math.max(limits.least, Math.floor(bytes / mebibyte) * mebibyte))
  }
}
