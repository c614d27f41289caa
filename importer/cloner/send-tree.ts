/** Sends the tree of a volume in one go, packed as it pays; if that breaks off, from the beginning. */
import { createHash } from 'node:crypto'
import type { Log } from '../../src/log.ts'
import type { Progress } from '../progress.ts'
import { frameHead, mostFrameBytes } from '../upload/clone/frames.ts'
import { Packing } from './packing.ts'
import type { Patience } from './patience.ts'
import type { CloneTarget } from './target.ts'
import { readTree, storedBytes } from './tree.ts'

export interface SendTree {
  readonly directory: string
  /** Every byte is sent, so that every byte gets storage. */
  readonly preallocate: boolean
  readonly target: CloneTarget
  readonly patience: Patience
  readonly progress: Progress
  readonly log: Log
  readonly signal: AbortSignal
}

/** Resolves when the volume is finished. Throws as {@link import('./send-disk.ts').sendDisk} does. */
export async function sendTree(options: SendTree): Promise<{ preallocationApplied: boolean }> {
  const { directory, preallocate, target, patience, progress, log, signal } = options
  progress.enter('transfer', await storedBytes(directory), { fromPercent: 0, toPercent: 99 })
  for (;;) {
    try {
      const chunks = readTree({ directory, isSparse: !preallocate, onBytes: progress.bytes, log, signal })
      const end = await target.sendTree({
        frames: framed(chunks, () => patience.progressed()),
        isSparse: !preallocate,
        signal,
      })
      progress.percent(100)
      log.info({ sentBytes: target.sentBytes }, 'tree sent')
      return end
    } catch (thrown) {
      await patience.after(thrown, signal)
      // The answer may have been lost on its way.
      const facts = await target.facts(signal).catch(() => undefined)
      if (facts?.isDone === true) return { preallocationApplied: facts.preallocationApplied ?? false }
    }
  }
}

/** The chunks gathered in frames, and the end with the digest. */
async function* framed(chunks: AsyncIterable<Buffer>, onFrame: () => void): AsyncGenerator<Buffer, void, undefined> {
  const packing = new Packing()
  const hash = createHash('sha256')
  const room = Buffer.allocUnsafe(mostFrameBytes)
  let filled = 0
  async function* frame(): AsyncGenerator<Buffer, void, undefined> {
    const plain = room.subarray(0, filled)
    hash.update(plain)
    const packed = await packing.pack([plain])
    const bytes = packed ?? plain
    const from = performance.now()
    yield frameHead(packed === undefined ? 'plain' : 'packed', bytes.length)
    yield bytes
    packing.sent(bytes.length, performance.now() - from)
    onFrame()
    filled = 0
  }
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const copied = chunk.copy(room, filled, at)
      filled += copied
      at += copied
      if (filled === mostFrameBytes) yield* frame()
    }
  }
  if (filled > 0) yield* frame()
  const digest = hash.digest()
  yield frameHead('end', digest.length)
  yield digest
}
