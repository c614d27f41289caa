/** A layer's blob from front to end, proved by its digest. */
import { createHash } from 'node:crypto'
import { CdiError } from '../../../src/errors.ts'
import { streamInOrder } from '../read-ahead.ts'
import type { Sink } from '../source.ts'
import { isDigest } from './digest.ts'
import type { Layer } from './image.ts'

/**
 * Streams the stored bytes of a layer to the sink, several ranges ahead of it. Resolves only when all of them were taken
 * and had the layer's digest; throws CDI_REGISTRY_DIGEST otherwise, CDI_REGISTRY_MANIFEST for a digest of an unknown
 * kind, the source's errors, the sink's as they are, or the signal's reason.
 */
export async function streamBlob({ layer, sink }: { layer: Layer; sink: Sink }, signal: AbortSignal): Promise<void> {
  if (!isDigest(layer.digest)) {
    throw new CdiError(
      'CDI_REGISTRY_MANIFEST',
      `the digest of a layer cannot be checked: ${layer.digest.slice(0, 100)}`,
    )
  }
  const algorithm = layer.digest.slice(0, layer.digest.indexOf(':'))
  const hash = createHash(algorithm)
  await using blob = await layer.open(signal)
  await streamInOrder({
    source: blob,
    sink: (chunk) => {
      hash.update(chunk)
      return sink(chunk)
    },
    onBytes: () => {},
    signal,
  })
  const calculated = `${algorithm}:${hash.digest('hex')}`
  if (calculated === layer.digest) return
  throw new CdiError('CDI_REGISTRY_DIGEST', `layer ${layer.digest} has the digest ${calculated} as it was received`, {
    details: { expected: layer.digest, calculated },
  })
}
