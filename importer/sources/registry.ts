/**
 * Source registry: the disk in a container image or artifact, in a registry (`docker://…`) or in a file
 * (`oci-archive:…`).
 *
 * registry/open-image.ts      from the address to the image
 * registry/container-disk.ts  from the image to the disk in it
 */
import type { Log } from '../../src/log.ts'
import type { RegistryRequest } from '../request.ts'
import { openImageDisk } from './registry/container-disk.ts'
import { openContainerImage } from './registry/open-image.ts'
import type { ForwardSource } from './source.ts'

/**
 * Resolves with the disk, read forward, of known length, as soon as it was found. Throws, and the stream too, what
 * {@link openContainerImage} and {@link openImageDisk} do: texts begin with `Failed to read registry image: `.
 */
export async function openRegistry(
  { request, log }: { request: RegistryRequest; log: Log },
  signal: AbortSignal,
): Promise<ForwardSource> {
  return openImageDisk({ image: await openContainerImage({ request, log }, signal), log }, signal)
}
