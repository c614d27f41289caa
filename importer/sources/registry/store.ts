/** Where the parts of an image lie: a registry (registry-store.ts) or an archive on disk (oci-archive.ts). */
import { CdiError } from '../../../src/errors.ts'
import type { RangedSource } from '../source.ts'
import { assertDigest } from './digest.ts'
import { invalidManifest, longestManifestBytes } from './manifest.ts'
import type { Descriptor } from './manifest.ts'

/** A manifest or index whose bytes have been verified. */
export interface ManifestBytes {
  readonly bytes: Buffer
  readonly digest: string
  /** What it was said to be by the server or the descriptor, if anything. */
  readonly toldType?: string
}

export interface ImageStore extends AsyncDisposable {
  /** For people. */
  readonly name: string
  /** What the reference names. */
  readonly root: ManifestBytes
  /** A member of an index. Throws CDI_REGISTRY_DIGEST unless it is what the descriptor says. */
  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<ManifestBytes>
  /** A blob of at most `longestManifestBytes`, verified in the same way. */
  smallBlob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer>
  /** See `Layer.open`. */
  openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<RangedSource>
}

/** Throws CDI_REGISTRY_MANIFEST for a manifest or configuration that is too large to be looked at. */
export function assertSmall({ digest, sizeBytes }: Descriptor): void {
  if (sizeBytes > longestManifestBytes) {
    throw invalidManifest(
      `${digest} has ${sizeBytes} bytes, more than the ${longestManifestBytes} that are read of such`,
    )
  }
}

/** Throws CDI_REGISTRY_DIGEST unless `bytes` are what the descriptor names. */
export function assertContent({ bytes, descriptor }: { bytes: Buffer; descriptor: Descriptor }): void {
  const { digest, sizeBytes } = descriptor
  if (bytes.length !== sizeBytes) {
    throw new CdiError('CDI_REGISTRY_DIGEST', `${digest} has ${bytes.length} bytes instead of ${sizeBytes}`, {
      details: { sizeBytes, foundBytes: bytes.length },
    })
  }
  assertDigest({ bytes, digest, what: 'what was asked for by its digest' })
}
