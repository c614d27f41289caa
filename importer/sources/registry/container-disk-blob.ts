/** A layer's blob from front to end, proved by its digest. */
import { createHash } from 'node:crypto'
import { CdiError } from '../../../src/errors.ts'
import { streamInOrder } from '../read-ahead.ts'
import type { Sink } from '../source.ts'
import type { Layer } from './image.ts'

/** Hexadecimal digits of the algorithms that registries use (OCI image specification, "Descriptor", Digests). */
const hexDigits: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
])

/**
 * Streams the stored bytes of a layer to the sink, several ranges ahead of it. Resolves only when all of them were taken
 * and had the layer's digest; throws CDI_REGISTRY_DIGEST otherwise, CDI_REGISTRY_MANIFEST for a digest of an unknown
 * kind, the source's errors, the sink's as they are, or the signal's reason.
 */
export async function streamBlob({ layer, sink }: { layer: Layer; sink: Sink }, signal: AbortSignal): Promise<void> {
  const [algorithm = '', expected = ''] = layer.digest.split(':')
  if (hexDigits.get(algorithm) !== expected.length) {
    throw new CdiError(
      'CDI_REGISTRY_MANIFEST',
      `the digest of a layer cannot be checked: ${layer.digest.slice(0, 100)}`,
    )
  }
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
  const calculated = hash.digest('hex')
  if (calculated !== expected.toLowerCase()) {
    throw new CdiError(
      'CDI_REGISTRY_DIGEST',
      `the bytes of layer ${layer.digest} have another digest: ${algorithm}:${calculated}`,
      { details: { expected: layer.digest, calculated: `${algorithm}:${calculated}` } },
    )
  }
}
