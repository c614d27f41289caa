/**
 * A container image or artifact as the disk finder sees it, wherever it lies: in a registry or in an archive on disk.
 * Manifest and configuration were read and verified; the layers are still where they are.
 */
import type { RangedSource } from '../source.ts'

export interface ContainerImage extends AsyncDisposable {
  /** For people: `docker://registry/repository:tag`. */
  readonly name: string
  /** Digest of the manifest of the chosen platform: names this version of the image. */
  readonly digest: string
  /** Media type of what the manifest is about: OCI `artifactType`, else the media type of its configuration. */
  readonly type: string
  readonly config: ImageConfig
  /** Lowest first, as manifests have them. */
  readonly layers: readonly Layer[]
}

/** What counts of an image's configuration; an artifact without one has empty parts. */
export interface ImageConfig {
  readonly architecture?: string
  /** `NAME=value` */
  readonly env: readonly string[]
  readonly labels: Readonly<Record<string, string>>
}

export interface Layer {
  readonly mediaType: string
  /** `algorithm:hex` of the bytes of the blob, as they are stored. */
  readonly digest: string
  readonly sizeBytes: number
  readonly annotations: Readonly<Record<string, string>>
  /**
   * Opens the blob: by ranges, resumable, of exactly `sizeBytes`, pinned by its digest. **Not verified**: whoever reads it
   * in order checks the digest. `parallel` is 1 where the registry knows no ranges; every stream then costs all bytes in
   * front of it. Closing is the reader's business, before the image is closed; may be opened again. Throws
   * CDI_REGISTRY_PULL (`failed to pull image: …`), CDI_REGISTRY_DIGEST for a blob of another size, CDI_SOURCE_*.
   */
  open(signal: AbortSignal): Promise<RangedSource>
}
