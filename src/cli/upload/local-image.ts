/** The file to upload, looked at before anything is made in the cluster: a mistake is then told within a second. */
import { stat } from 'node:fs/promises'
import { surveySource } from '../../../importer/survey.ts'
import { openFile } from '../../../importer/sources/file.ts'
import { readRange } from '../../../importer/sources/source.ts'
import type { Encoding } from '../../../importer/formats/decoder.ts'
import { peel, peelBytes } from '../../../importer/formats/decoders.ts'
import { isTar } from '../../../importer/formats/detect.ts'
import type { DiskFormat } from '../../../importer/formats/detect.ts'
import { CdiError } from '../../errors.ts'

export interface LocalImage {
  readonly path: string
  readonly sizeBytes: number
  /** Tells versions of a file apart: device, inode, size and time of the last change. */
  readonly identity: string
  readonly encodings: readonly Encoding[]
  readonly format: DiskFormat | 'archive'
  /** Size of the disk, if that can be told without unpacking everything. */
  readonly virtualSizeBytes?: number
  /** What an encoding says that it holds. */
  readonly plainSizeBytes?: number
  /** The whole file is the disk, byte for byte, so that its parts may be sent in any order. */
  readonly isPlainDisk: boolean
  /** Looks like a tar file, whatever it is uploaded as. */
  readonly isTar: boolean
}

/** Throws CDI_SOURCE_UNREACHABLE, CDI_USAGE, and the faults of an image that no volume would take (CDI_FORMAT_* …). */
export async function inspectLocal(
  { path, archive }: { path: string; archive: boolean },
  signal: AbortSignal,
): Promise<LocalImage> {
  await using source = await openFile({ path })
  const { sizeBytes } = source
  if (sizeBytes === 0) throw new CdiError('CDI_USAGE', `${path} is empty`)
  const head = await readRange(source, { offset: 0, length: Math.min(peelBytes, sizeBytes) }, signal)
  const inner = await peel(head, signal)
  const tar = isTar(inner.head)
  if (archive && !tar) {
    throw new CdiError('CDI_ARCHIVE_INVALID', `${path} is not a tar file${inner.encodings.length > 0 ? ' inside' : ''}`)
  }
  const survey = await surveySource({ source, contentType: archive ? 'archive' : 'kubevirt', signal })
  const { virtualSizeBytes, plainSizeBytes } = survey
  const facts = await stat(path, { bigint: true })
  return {
    path,
    sizeBytes,
    identity: [facts.dev, facts.ino, sizeBytes, facts.mtimeNs].join('-'),
    encodings: survey.encodings,
    format: archive ? 'archive' : survey.format,
    // The footer of a fixed VHD is taken off by the server.
    isPlainDisk: !archive && survey.format === 'raw' && survey.encodings.length === 0,
    isTar: tar,
    ...(virtualSizeBytes === undefined ? {} : { virtualSizeBytes }),
    ...(plainSizeBytes === undefined ? {} : { plainSizeBytes }),
  }
}

/** `qcow2 in gzip`, `raw`, `archive in zstd`. */
export function describeImage({ format, encodings }: Pick<LocalImage, 'format' | 'encodings'>): string {
  return [format, ...encodings.toReversed()].join(' in ')
}
