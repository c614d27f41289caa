/**
 * From the address of a container image to the image:
 *
 * reference.ts       what the address means
 * docker-config.ts   credentials, if none were given outright
 * registry-store.ts  manifests and blobs of a registry; client.ts, authority.ts and token.ts talk to it, blob.ts reads
 *                    large blobs by ranges
 * oci-archive.ts     the same of a file
 * resolve.ts         index → manifest of the platform → configuration and layers
 */
import { prefixError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { RegistryRequest } from '../../request.ts'
import { systemClock } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { defaultPatience, Pulse } from '../resumable.ts'
import type { PatienceLimits, PatienceOptions } from '../resumable.ts'
import { credentialsFromDockerConfig } from './docker-config.ts'
import type { FoundCredentials } from './docker-config.ts'
import type { ContainerImage } from './image.ts'
import { openOciArchive } from './oci-archive.ts'
import { parseReference } from './reference.ts'
import type { DockerReference } from './reference.ts'
import { openRegistry } from './registry-store.ts'
import { resolveImage } from './resolve.ts'
import type { ImageStore } from './store.ts'
import { Transport } from './transport.ts'

export interface OpenContainerImage {
  readonly request: RegistryRequest
  readonly log: Log
  readonly clock?: Clock
  readonly random?: () => number
  readonly patience?: PatienceLimits
}

/**
 * Opens what `request.url` names. Throws CDI_REGISTRY_REFERENCE, _PULL, _PLATFORM, _MANIFEST, _DIGEST,
 * CDI_CREDENTIALS_INVALID, or the CDI_SOURCE_* of the way there, all with `Failed to read registry image: …` (contract:
 * import §11; what could not be got has `failed to pull image` in it), or the signal's reason.
 */
export async function openContainerImage(options: OpenContainerImage, signal: AbortSignal): Promise<ContainerImage> {
  try {
    return await open(options, signal)
  } catch (error) {
    signal.throwIfAborted()
    throw prefixError('Failed to read registry image', error)
  }
}

async function open(options: OpenContainerImage, signal: AbortSignal): Promise<ContainerImage> {
  const { request, log } = options
  const { architecture } = request
  const store = await openStore(options, signal)
  try {
    const image = await resolveImage({ store, architecture }, signal)
    log.debug({ image: image.name, digest: image.digest, layers: image.layers.length }, 'container image found')
    return image
  } catch (error) {
    await store[Symbol.asyncDispose]()
    throw error
  }
}

async function openStore(options: OpenContainerImage, signal: AbortSignal): Promise<ImageStore> {
  const { request, log } = options
  const reference = parseReference(request.url)
  if (reference.transport === 'oci-archive') return openOciArchive(reference, signal)
  const { credentials, hint } = findCredentials(request, reference)
  if (hint !== undefined) log.warn({ registry: reference.registry }, hint)
  return openRegistry(
    {
      reference,
      credentials,
      hint,
      transport: new Transport({ ...request, log }),
      insecure: request.insecureSkipVerify,
      patience: patienceOf(options),
    },
    signal,
  )
}

/** What was given outright counts, if both halves of it are there. */
function findCredentials({ credentials, dockerConfig }: RegistryRequest, reference: DockerReference): FoundCredentials {
  if (credentials?.user && credentials.password) return { credentials }
  return dockerConfig === undefined ? {} : credentialsFromDockerConfig(dockerConfig, reference)
}

function patienceOf(options: OpenContainerImage): PatienceOptions {
  const { log, clock = systemClock, random = Math.random, patience = defaultPatience } = options
  return { clock, random, log, limits: patience, pulse: new Pulse(clock) }
}
