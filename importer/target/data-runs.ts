/** Finds the zeros in what is about to be written, without looking at single bytes. */

/** Granularity in bytes at which zeros are told from data; the page size, so that holes are whole pages. */
export const zeroBlockBytes = 4096

const zeroPage = Buffer.alloc(256 * 1024)
/** Length of what is compared with zeros; the rest is compared with what lies so far before it. */
const startBytes = 64

/** True if all bytes are zero. */
export function isZero(bytes: Buffer): boolean {
  const { length } = bytes
  if (length <= startBytes) return zeroPage.compare(bytes, 0, length, 0, length) === 0
  // Each byte equals the one 64 before it: one stream of memory is read instead of two.
  return (
    zeroPage.compare(bytes, 0, startBytes, 0, startBytes) === 0 &&
    bytes.compare(bytes, startBytes, length, 0, length - startBytes) === 0
  )
}

/** Buffers of zeros, `length` bytes in all. They are shared: not to be written to. */
export function zeroBuffers(length: number): Buffer[] {
  const buffers: Buffer[] = []
  for (let left = length; left > 0; left -= zeroPage.length) {
    buffers.push(left >= zeroPage.length ? zeroPage : zeroPage.subarray(0, left))
  }
  return buffers
}

/** A piece of a disk: either data, or zeros without buffers. */
export interface Run {
  readonly offset: number
  length: number
  /** Absent for zeros. */
  readonly buffers?: Buffer[]
}

/**
 * Splits what is to be written at `offset` into runs of data and of zeros, in order and without gaps. Edges of zero runs
 * lie on multiples of `blockBytes` of the disk (or where the buffers begin and end), also when a block is spread over
 * several buffers.
 */
export function splitRuns(offset: number, buffers: readonly Buffer[], blockBytes = zeroBlockBytes): Run[] {
  const runs = new Runs(offset)
  /** The parts of a block that is spread over buffers. */
  let parts: Buffer[] = []
  let partsZero = true
  let at = offset
  for (const buffer of buffers) {
    let from = 0
    while (from < buffer.length) {
      const intoBlock = at % blockBytes
      const left = buffer.length - from
      if (intoBlock === 0 && parts.length === 0 && left >= blockBytes) {
        const whole = left - (left % blockBytes)
        addBlocks(runs, buffer.subarray(from, from + whole), blockBytes)
        from += whole
        at += whole
        continue
      }
      const length = Math.min(left, blockBytes - intoBlock)
      const part = buffer.subarray(from, from + length)
      parts.push(part)
      partsZero &&= isZero(part)
      from += length
      at += length
      if (at % blockBytes === 0) {
        runs.add(parts, partsZero)
        parts = []
        partsZero = true
      }
    }
  }
  runs.add(parts, partsZero)
  return runs.list
}

function addBlocks(runs: Runs, bytes: Buffer, blockBytes: number): void {
  // The whole at once first: real disks are mostly zeros, and data differs at its first bytes.
  if (isZero(bytes)) {
    runs.add([bytes], true)
    return
  }
  let runStart = 0
  let runZero = isZero(bytes.subarray(0, blockBytes))
  for (let at = blockBytes; at < bytes.length; at += blockBytes) {
    const zero = isZero(bytes.subarray(at, at + blockBytes))
    if (zero === runZero) continue
    runs.add([bytes.subarray(runStart, at)], runZero)
    runStart = at
    runZero = zero
  }
  runs.add([bytes.subarray(runStart)], runZero)
}

class Runs {
  readonly list: Run[] = []
  #end: number

  constructor(offset: number) {
    this.#end = offset
  }

  add(pieces: readonly Buffer[], zero: boolean): void {
    let length = 0
    for (const piece of pieces) length += piece.length
    if (length === 0) return
    const last = this.list.at(-1)
    if (last !== undefined && (last.buffers === undefined) === zero) {
      last.length += length
      last.buffers?.push(...pieces)
    } else {
      this.list.push({ offset: this.#end, length, ...(zero ? {} : { buffers: [...pieces] }) })
    }
    this.#end += length
  }
}
