/**
 * What a cloner (importer/cloner) and the upload server of its target say to each other, over HTTPS with certificates on
 * both sides:
 *
 *   GET  /v1beta1/clone-disk     what is there: {@link CloneState} as JSON; 404 if no disk was begun
 *   PUT  /v1beta1/clone-disk     a section; 204 when it is taken (not yet durable)
 *   POST /v1beta1/clone-disk     all was sent: 200 with the state when the volume is finished, 202 when that takes longer,
 *                                409 with the state if something is not there (any more)
 *   DELETE /v1beta1/clone-disk   drops what is there: the source is another one than before
 *   GET  /v1beta1/clone-digest   of the stretch in `Range: bytes=FIRST-LAST`, of which everything is there: 204, its SHA-256
 *                                in {@link digestHeader}
 *   GET  /v1beta1/clone-target   {@link CloneTargetFacts}
 *   POST /v1beta1/clone-archive  the tree of a volume as a tar stream in frames (frames.ts); 200 when the volume is finished
 *
 * A *section* describes a stretch of the disk as a whole: what stands in its body is data, everything else in the stretch
 * is zeros. Its body is a head (how many extents; of each the place on the disk and the length) and then the bytes of the
 * extents. Its place stands in `Content-Range`, the digest of both in {@link digestHeader} ({@link sectionDigest}). The body may be packed
 * (`Content-Encoding: zstd`); the digest is of what was packed, hence of what is written.
 */
import { createHash } from 'node:crypto'
import { CdiError } from '../../../src/errors.ts'
import type { Extent } from '../../target/coverage.ts'
import type { DiskState } from '../resumable/disk-state.ts'

export const cloneDiskPath = '/v1beta1/clone-disk'
export const cloneDigestPath = '/v1beta1/clone-digest'
export const cloneTargetPath = '/v1beta1/clone-target'
export const cloneArchivePath = '/v1beta1/clone-archive'

/**
 * Names the copy, 22 base64url characters: the first half is the same for as long as the source is, so that a restarted cloner
 * knows it again; the second half is another one each time that a copy is begun.
 */
export const cloneIdHeader = 'cdi-clone-id'
/** Of an archive: `true` if holes of files are left out. */
export const sparseHeader = 'cdi-clone-sparse'
/** SHA-256 in hexadecimal digits. */
export const digestHeader = 'cdi-clone-digest'
/** Of an answer: how long the server had to do with the section after it was there, in milliseconds. */
export const tookHeader = 'cdi-clone-took'

/** The most that one digest is asked of, in bytes. */
export const mostDigestBytes = 64 * 1024 * 1024

/** The most data of a section, in bytes; also the size of the buffers on both sides. */
export const mostDataBytes = 4 * 1024 * 1024
export const mostExtents = 1024
const extentBytes = 12
const countBytes = 4
/** Length of the longest head. */
export const mostHeadBytes = countBytes + mostExtents * extentBytes

/** How the disk of a clone stands. */
export interface CloneState extends DiskState {
  /** Of `failed`. */
  readonly error?: string
  /** Of `done`: every byte of the target is backed by storage. */
  readonly preallocationApplied?: boolean
}

/** What a target says is there. Throws CDI_CLONE_REFUSED for ranges that no disk has. */
export function rangesOf({ ranges, length }: Pick<CloneState, 'ranges' | 'length'>): Extent[] {
  let at = 0
  return ranges.map(([start, end]) => {
    if (!(Number.isSafeInteger(start) && Number.isSafeInteger(end) && at <= start && start < end && end <= length)) {
      throw new CdiError(
        'CDI_CLONE_REFUSED',
        `the target has bytes ${start} to ${end} of ${length}, which makes no sense`,
      )
    }
    at = end
    return { start, end }
  })
}

/** What a cloner has to know of the volume that it sends to. */
export interface CloneTargetFacts {
  readonly kind: 'filesystem' | 'block'
  /** Nothing more is to be sent. */
  readonly isDone: boolean
  /** Of what is done: every byte of the target is backed by storage. */
  readonly preallocationApplied?: boolean
}

/** Where a section lies on its disk. */
export interface SectionPlace extends Extent {
  /** Length of the whole disk, in bytes. */
  readonly total: number
}

/** The head of a section's body. Extents are in order and lie in the section; there are {@link mostExtents} at most. */
export function encodeHead(extents: readonly Extent[]): Buffer {
  const head = Buffer.allocUnsafe(countBytes + extents.length * extentBytes)
  head.writeUInt32LE(extents.length, 0)
  extents.forEach(({ start, end }, index) => {
    const at = countBytes + index * extentBytes
    head.writeUIntLE(start % 2 ** 32, at, 4)
    head.writeUIntLE(Math.floor(start / 2 ** 32), at + 4, 4)
    head.writeUInt32LE(end - start, at + 8)
  })
  return head
}

/** Length of the head that begins with these bytes (four at least). Throws CDI_UPLOAD_MALFORMED. */
export function headLength(start: Buffer): number {
  const count = start.readUInt32LE(0)
  if (count > mostExtents) throw malformed(`it has ${count} extents`)
  return countBytes + count * extentBytes
}

/** The extents in a whole head. Throws CDI_UPLOAD_MALFORMED unless they are in order, apart, and lie in the section. */
export function decodeHead(head: Buffer, section: Extent): Extent[] {
  const extents: Extent[] = []
  let before = section.start
  let bytes = 0
  for (let at = countBytes; at < head.length; at += extentBytes) {
    const start = head.readUInt32LE(at) + head.readUInt32LE(at + 4) * 2 ** 32
    const end = start + head.readUInt32LE(at + 8)
    if (start < before || end <= start || end > section.end) throw malformed(`bytes ${start} to ${end} are not in turn`)
    before = end
    bytes += end - start
    extents.push({ start, end })
  }
  if (bytes > mostDataBytes) throw malformed(`it has ${bytes} bytes of data`)
  return extents
}

/**
 * The digest of a section: SHA-256 of its place and its body. Made where the section is made and where it is written, it
 * tells whether what is written is what was read. In a thread it was no faster, so it is made where it is needed.
 */
export function sectionDigest(
  { start, end, total }: SectionPlace,
  { head, data }: { readonly head: Buffer; readonly data: Buffer },
): string {
  return createHash('sha256').update(`${start}-${end}/${total}\n`).update(head).update(data).digest('hex')
}

function malformed(why: string): CdiError {
  return new CdiError('CDI_UPLOAD_MALFORMED', `a section of the clone is malformed: ${why}`)
}
