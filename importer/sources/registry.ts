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

export interface OpenRegistry {
  readonly request: RegistryRequest
  readonly log: Log
  /** Told of the image before it is searched; what it throws ends opening. */
  readonly onVersion?: (version: { readonly name: string; readonly validator: string }) => Promise<void>
}

/**
 * Resolves with the disk, read forward, of known length, as soon as it was found. Throws, and the stream too, what
 * {@link openContainerImage} and {@link openImageDisk} do: texts begin with `Failed to read registry image: `.
 */
export async function openRegistry(
  { request, log, onVersion }: OpenRegistry,
  signal: AbortSignal,
): Promise<ForwardSource> {
  const image = await openContainerImage({ request, log }, signal)
  try {
    await onVersion?.({ name: image.name, validator: image.digest })
  } catch (error) {
    await image[Symbol.asyncDispose]()
    throw error
  }
  return openImageDisk({ image, log }, signal)
}
