/** Compares what is at the target with what the source holds, by digests: both sides read, next to nothing is sent. */
import { createHash } from 'node:crypto'
import { allocAligned } from '../target/aligned.ts'
import type { Extent } from '../target/coverage.ts'
import { mostDigestBytes } from '../upload/clone/wire.ts'
import type { SourceDisk } from './disk.ts'
import type { Patience } from './patience.ts'
import type { CloneTarget } from './target.ts'

/** A read of the source; stretches begin and end at whole units of it, but for the end of the disk. */
const readBytes = 1024 * 1024

export interface Comparison {
  readonly disk: Pick<SourceDisk, 'read'>
  readonly target: Pick<CloneTarget, 'digest'>
  /** What the copy is called at the target. */
  readonly id: string
  /** In order. */
  readonly there: readonly Extent[]
  /** How many stretches are compared at the same time. */
  readonly streams: number
  readonly patience: Pick<Patience, 'progressed'>
  /** Told of each stretch that is the same. */
  readonly onSame: (stretch: Extent) => void
  readonly signal: AbortSignal
}

/** Whether all of it is the same; ends at the first difference. Throws what the disk, the target and the signal throw. */
export async function compareStretches(options: Comparison): Promise<boolean> {
  const { disk, target, id, there, patience, onSame } = options
  const stretches = cut(there, mostDigestBytes)
  const stop = new AbortController()
  const signal = AbortSignal.any([options.signal, stop.signal])
  let isSame = true
  const running = Array.from({ length: Math.min(options.streams, stretches.length) }, async () => {
    const room = allocAligned(readBytes)
    try {
      for (let next = stretches.shift(); next !== undefined && isSame; next = stretches.shift()) {
        const theirs = target.digest(id, next, signal)
        // Heard of below.
        theirs.catch(() => {})
        if ((await digestOf(disk, next, room, signal)) === (await theirs)) onSame(next)
        else isSame = false
        patience.progressed()
      }
    } catch (error) {
      stop.abort(error)
      throw error
    }
  })
  await Promise.allSettled(running)
  options.signal.throwIfAborted()
  stop.signal.throwIfAborted()
  return isSame
}

async function digestOf(
  disk: Comparison['disk'],
  { start, end }: Extent,
  room: Buffer,
  signal: AbortSignal,
): Promise<string> {
  const hash = createHash('sha256')
  for (let at = start; at < end; at += readBytes) {
    signal.throwIfAborted()
    const length = Math.min(readBytes, end - at)
    await disk.read(at, room, length)
    hash.update(room.subarray(0, length))
  }
  return hash.digest('hex')
}

/** Cuts ranges into stretches of a size at most. */
function cut(ranges: readonly Extent[], mostBytes: number): Extent[] {
  return ranges.flatMap(({ start, end }) =>
    Array.from({ length: Math.ceil((end - start) / mostBytes) }, (_, index) => ({
      start: start + index * mostBytes,
      end: Math.min(end, start + (index + 1) * mostBytes),
    })),
  )
}
