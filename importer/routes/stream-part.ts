/** Streams a part whose end may come nearer meanwhile. */
import type { RangedSource, Sink } from '../sources/source.ts'
import type { Part } from './parts.ts'

export interface StreamPart {
  readonly source: RangedSource
  /** Its position moves on with what the sink is given. */
  readonly part: Part
  readonly sink: Sink
  readonly signal: AbortSignal
}

/** Resolves when the sink has taken the last byte of the part. Throws the source's errors and the sink's as they are. */
export async function streamPart({ source, part, sink, signal }: StreamPart): Promise<void> {
  const { position: offset, readEnd: asked } = part
  const takeOwn: Sink = (chunk) => {
    const wanted = Math.min(chunk.length, part.readEnd - part.position)
    part.position += wanted
    const taken = sink(wanted === chunk.length ? chunk : chunk.subarray(0, wanted))
    return part.position === part.readEnd && part.readEnd < asked ? stopAfter(taken) : taken
  }
  try {
    await source.stream({ offset, length: asked - offset }, takeOwn, signal)
  } catch (error) {
    if (!(error instanceof TakenOver)) throw error
  }
}

/** Ends a stream whose rest was taken over by another one. */
class TakenOver extends Error {}

async function stopAfter(taken: void | Promise<void>): Promise<never> {
  await taken
  throw new TakenOver()
}
