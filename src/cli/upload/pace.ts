/**
 * How many bytes go into one request. Ingresses cut requests after half a minute or so, and each request costs a round
 * trip: a request should take about ten seconds, whatever the line is good for, and less where requests get cut.
 */

const mebibyte = 1024 * 1024

export const paceLimits = { leastBytes: mebibyte, mostBytes: 1024 * mebibyte, firstBytes: 8 * mebibyte } as const
const aimMs = 10_000
const leastAimMs = 1_000

export class Pace {
  #bytes: number = paceLimits.firstBytes
  #aimMs = aimMs

  /** Size of the next request. */
  get bytes(): number {
    return this.#bytes
  }

  /** A request went through whole. Twice as much at most: one quick answer says little. */
  succeeded(bytes: number, tookMs: number): void {
    const fitting = (bytes / Math.max(tookMs, 1)) * this.#aimMs
    this.#set(Math.min(fitting, 2 * Math.max(bytes, this.#bytes)))
  }

  /** A request was cut off. Whatever cut it is likely to cut the next one after the same time. */
  wasCut(bytes: number, afterMs: number): void {
    if (afterMs >= leastAimMs) this.#aimMs = Math.max(leastAimMs, Math.min(this.#aimMs, afterMs * 0.7))
    this.#set(Math.min(this.#bytes, Math.max(bytes * 0.7, this.#bytes / 2)))
  }

  #set(bytes: number): void {
    const whole = Math.floor(bytes / mebibyte) * mebibyte
    this.#bytes = Math.min(paceLimits.mostBytes, Math.max(paceLimits.leastBytes, whole))
  }
}
