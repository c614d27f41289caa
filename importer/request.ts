/** What one run of the mover is asked to do; made by a worker's environment or by the command line. */
import type { DiskFormat } from './formats/detect.ts'
import type { Checksum } from './sources/checksum.ts'
import type { ProxySettings } from './sources/proxy.ts'
import type { ForwardSource } from './sources/source.ts'

/** How servers are reached and trusted. */
export interface Access {
  /** PEM texts that are trusted besides the system's roots. */
  readonly ca: readonly string[]
  readonly insecureSkipVerify: boolean
  readonly proxy: ProxySettings
}

export interface HttpRequest extends Access {
  readonly type: 'http'
  readonly url: string
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Full header lines, `Name: value`. */
  readonly headers: readonly string[]
  /** The same, never shown. */
  readonly secretHeaders: readonly string[]
}

export interface RegistryRequest extends Access {
  readonly type: 'registry'
  /** `docker://[registry/]repository[:tag|@digest]` or `oci-archive:path[:reference]`. */
  readonly url: string
  /** Given outright; else those of `dockerConfig` for the registry, if any. */
  readonly credentials?: { readonly user: string; readonly password: string }
  /** Text of a docker config.json. */
  readonly dockerConfig?: string
  /** In the words of Go (`amd64`, `arm64`, `s390x`); absent: that of this machine, and a lone manifest is not checked. */
  readonly architecture?: string
}

export interface S3Request extends Access {
  readonly type: 's3'
  /** `scheme://host[:port]/bucket/key…`, or `s3://bucket/key…`. */
  readonly url: string
  /** Of `s3://` URLs; absent: the ecosystem's settings, else Amazon's. */
  readonly endpoint?: string
  /** Given outright. Absent: web identity, profiles, AWS_* variables, else none (anonymous). */
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string }
}

export interface GcsRequest extends Access {
  readonly type: 'gcs'
  /** `gs://bucket/object…`, or `http(s)://host/bucket/object…` (XML API, any web server). */
  readonly url: string
  /** JSON text of a service-account key. Absent: anonymous. */
  readonly serviceAccount?: string
}

/** A container disk that the kubelet has pulled and started beside us (pull method node). */
export interface ContainerDiskRequest {
  readonly type: 'containerDisk'
  /** Written by the image's container once it runs; holds its process id in the namespace that the pod shares. */
  readonly readyFile: string
  /** Made by us when the image is not needed any more. */
  readonly doneFile: string
}

/** What clients send (importer/upload); closed by the import. */
export interface UploadRequest {
  readonly type: 'upload'
  readonly source: ForwardSource
}

export type SourceRequest =
  | HttpRequest
  | RegistryRequest
  | ContainerDiskRequest
  | S3Request
  | GcsRequest
  | { readonly type: 'file'; readonly path: string }
  | { readonly type: 'stdin' }
  | UploadRequest
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
