/** What one run of the mover is asked to do; made by a worker's environment or by the command line. */
import type { DiskFormat } from './formats/detect.ts'
import type { Checksum } from './sources/checksum.ts'
import type { ProxySettings } from './sources/proxy.ts'

export interface HttpRequest {
  readonly type: 'http'
  readonly url: string
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Full header lines, `Name: value`. */
  readonly headers: readonly string[]
  /** The same, never shown. */
  readonly secretHeaders: readonly string[]
  /** PEM texts that are trusted besides the system's roots. */
  readonly ca: readonly string[]
  readonly insecureSkipVerify: boolean
  readonly proxy: ProxySettings
}

export type SourceRequest =
  | HttpRequest
  | { readonly type: 'file'; readonly path: string }
  | { readonly type: 'stdin' }
  | { readonly type: 'blank' }

export interface ImportRequest {
  readonly source: SourceRequest
  readonly contentType: 'kubevirt' | 'archive'
  /** A block device, a file to be made, or for archives a directory. */
  readonly targetPath: string
  /** Refuse to unpack an archive into a directory that holds something: a failure would remove it all. */
  readonly requireEmptyDirectory?: boolean
  /** What the target may hold at most; for a claim its storage request. Absent: what is free. */
  readonly requestedBytes?: number
  /**
   * Share of the volume that the file system takes, as a decimal text: a file is grown to what is left, in whole MiB.
   * Absent: it is grown to exactly what was asked for.
   */
  readonly filesystemOverhead?: string
  /** Grow a file to the requested size after the import. */
  readonly resize: boolean
  readonly checksum?: Checksum
  /** Taken as this format instead of looking. */
  readonly format?: DiskFormat
  readonly preallocate: boolean
  /** Where images may be staged; absent: nowhere (CDI_SCRATCH_REQUIRED). */
  readonly scratchDirectory?: string
  /** Convert with direct I/O if the target takes it. */
  readonly directIo: boolean
}
