/**
 * Where a sparse file holds data. Node has no SEEK_DATA and SEEK_HOLE, qemu-img has; what it says is only a promise about
 * holes, so what it calls data is looked at for zeros all the same.
 */
import type { Log } from '../../src/log.ts'
import { qemuFilename } from '../image/qemu-img.ts'
import type { Extent } from '../target/coverage.ts'

const timeoutMs = 60_000
/** A file in so many pieces that the list is longer is read as a whole. */
const longestListBytes = 64 * 1024 * 1024

interface MapEntry {
  readonly start: number
  readonly length: number
  readonly data: boolean
  readonly zero: boolean
}

/** In order, not touching, all within the file; the whole file if nobody can tell. Throws the signal's reason. */
export async function dataExtents({
  path,
  sizeBytes,
  log,
  signal,
}: {
  path: string
  sizeBytes: number
  log: Log
  signal: AbortSignal
}): Promise<Extent[]> {
  const { execa } = await import('execa')
  const image = qemuFilename({ format: 'raw', location: { filePath: path } })
  const result = await execa('qemu-img', ['map', '--force-share', '--output=json', image], {
    reject: false,
    stdin: 'ignore',
    timeout: timeoutMs,
    maxBuffer: longestListBytes,
    env: { LC_ALL: 'C', MALLOC_ARENA_MAX: '2' },
    cancelSignal: signal,
  })
  signal.throwIfAborted()
  if (!result.failed) {
    const extents = extentsOf(result.stdout, sizeBytes)
    if (extents !== undefined) return extents
  }
  log.warn({ path, stderr: result.stderr?.slice(0, 1000) }, 'holes of the source are not known, all of it is read')
  return [{ start: 0, end: sizeBytes }]
}

/** Reads what `qemu-img map --output=json` says; undefined unless it speaks of the whole file without a gap. Pure. */
export function extentsOf(json: string, sizeBytes: number): Extent[] | undefined {
  let entries: MapEntry[]
  try {
    entries = JSON.parse(json) as MapEntry[]
  } catch {
    return undefined
  }
  const extents: Extent[] = []
  let at = 0
  for (const { start, length, data, zero } of entries) {
    if (start !== at || !Number.isSafeInteger(length) || length <= 0) return undefined
    at += length
    if (!data || zero) continue
    const end = Math.min(at, sizeBytes)
    const last = extents.at(-1)
    if (start >= end) continue
    if (last?.end === start) extents[extents.length - 1] = { start: last.start, end }
    else extents.push({ start, end })
  }
  return at >= sizeBytes ? extents : undefined
}
