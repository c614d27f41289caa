/** Puts what is stored in an image where it belongs on the disk. */
import type { Run } from '../image/runs.ts'
import type { Sink } from '../sources/source.ts'
import type { Gather } from '../target/gather.ts'
import type { Part } from './parts.ts'

/**
 * A sink for the bytes of a part in which nothing is packed: it hands each extent's to its place on the disk and drops
 * what lies between.
 */
export function placeStored({ of: run, ...part }: Part<Run>, gather: Gather): Sink {
  const { extents } = run
  let { position } = part
  let index = run.indexAt(position)
  const place = (chunk: Buffer): void | Promise<void> => {
    let rest = chunk
    while (rest.length > 0) {
      const extent = extents[index]
      if (extent === undefined) return undefined
      const done = position - extent.sourceOffset
      if (done < 0) {
        const dropped = Math.min(rest.length, -done)
        position += dropped
        rest = rest.subarray(dropped)
        continue
      }
      const length = Math.min(rest.length, extent.sourceBytes - done)
      seek(gather, extent.diskOffset + done)
      position += length
      if (done + length === extent.sourceBytes) index += 1
      const pushed = gather.push(length === rest.length ? rest : rest.subarray(0, length))
      const later = rest.subarray(length)
      if (pushed !== undefined) return later.length === 0 ? pushed : pushed.then(() => place(later))
      rest = later
    }
    return undefined
  }
  return place
}

/** What follows on the disk is written in one go with what is before. */
export function seek(gather: Gather, diskOffset: number): void {
  if (gather.position !== diskOffset) gather.seek(diskOffset)
}
