/**
 * Reads a source from front to end over several streams at once: the first one's bytes go straight to the sink, the
 * others' wait in memory until it is their turn. A link that is slow for each connection is then no limit.
 */
import type { RangedSource, Sink } from './source.ts'

/** Read ahead at most so many bytes for each stream. */
const partBytes = 4 * 1024 * 1024

export interface StreamInOrder {
  readonly source: RangedSource
  readonly sink: Sink
  /** Hears of bytes as they arrive, ahead of the sink. */
  readonly onBytes: (bytes: number) => void
  readonly signal: AbortSignal
}

/** Streams the whole source to the sink. Throws the source's errors, the sink's as they are, or the signal's reason. */
export async function streamInOrder({ source, sink, onBytes, signal }: StreamInOrder): Promise<void> {
  // Pieces of a source without a strong validator may be of two versions, so it is read as one.
  const parallel = source.pinned ? source.parallel : 1
  // Nothing is ahead of a single stream, and there would be no room for what comes while the sink is at its first bytes.
  if (parallel === 1) return streamWhole({ source, sink, onBytes, signal })
  const failed = new AbortController()
  const either = AbortSignal.any([signal, failed.signal])
  const ahead: Lane[] = []
  const rooms = new Rooms()
  let next = 0
  const launch = (): void => {
    while (next < source.sizeBytes && ahead.length < parallel) {
      const length = Math.min(partBytes, source.sizeBytes - next)
      ahead.push(new Lane({ source, offset: next, length, rooms, onBytes, signal: either }))
      next += length
    }
  }
  try {
    for (launch(); ahead.length > 0; launch()) {
      await (ahead[0] as Lane).drainTo(sink)
      ahead.shift()
    }
  } finally {
    failed.abort()
    await Promise.all(ahead.map((lane) => lane.ended))
  }
}

function streamWhole({ source, sink, onBytes, signal }: StreamInOrder): Promise<void> {
  const receive: Sink = (chunk) => {
    onBytes(chunk.length)
    return sink(chunk)
  }
  return source.stream({ offset: 0, length: source.sizeBytes }, receive, signal)
}

/** Buffers of `partBytes` for what comes early, used again and again. */
class Rooms {
  readonly #free: Buffer[] = []

  take(): Buffer {
    return this.#free.pop() ?? Buffer.allocUnsafeSlow(partBytes)
  }

  giveBack(room: Buffer): void {
    this.#free.push(room)
  }
}

/** One stream and what it brought before its turn. */
class Lane {
  readonly ended: Promise<void>
  readonly #rooms: Rooms
  /** Holds the first `#filled` bytes of the part, if they came before the turn or while the sink worked through them. */
  #room: Buffer | undefined
  #filled = 0
  /** From the moment on when nothing that came early is left. */
  #sink: Sink | undefined
  #fault: { readonly error: unknown } | undefined

  constructor({
    source,
    offset,
    length,
    rooms,
    onBytes,
    signal,
  }: Pick<StreamInOrder, 'source' | 'onBytes' | 'signal'> & { offset: number; length: number; rooms: Rooms }) {
    this.#rooms = rooms
    const receive: Sink = (chunk) => {
      onBytes(chunk.length)
      if (this.#sink !== undefined) return this.#sink(chunk)
      this.#room ??= this.#rooms.take()
      chunk.copy(this.#room, this.#filled)
      this.#filled += chunk.length
      return undefined
    }
    this.ended = source.stream({ offset, length }, receive, signal).catch((error: unknown) => {
      this.#fault ??= { error }
    })
  }

  /** Hands everything to the sink, in order. Resolves at the end of the stream. */
  async drainTo(sink: Sink): Promise<void> {
    for (let taken = 0; taken < this.#filled;) {
      // While the sink is at it, more may come; there is room for the whole part.
      const piece = (this.#room as Buffer).subarray(taken, this.#filled)
      taken += piece.length
      await sink(piece)
    }
    this.#sink = sink
    if (this.#room !== undefined) this.#rooms.giveBack(this.#room)
    this.#room = undefined
    await this.ended
    if (this.#fault !== undefined) throw this.#fault.error
  }
}
