/** Images in a registry. */
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import type { PatienceOptions } from '../resumable.ts'
import type { RangedSource } from '../source.ts'
import { openBlob } from './blob.ts'
import { RegistryClient } from './client.ts'
import type { SmallAnswer } from './client.ts'
import { assertDigest, digestOf, isDigest } from './digest.ts'
import type { RegistryCredentials } from './docker-config.ts'
import { mediaTypes } from './manifest.ts'
import type { Descriptor } from './manifest.ts'
import type { DockerReference } from './reference.ts'
import { assertContent, assertSmall } from './store.ts'
import type { ImageStore, ManifestBytes } from './store.ts'
import type { Transport } from './transport.ts'

export interface OpenRegistry {
  readonly reference: DockerReference
  readonly credentials: RegistryCredentials | undefined
  readonly hint: string | undefined
  readonly transport: Transport
  /** The registry is one of insecureRegistries: plain http is tried where https fails. */
  readonly insecure: boolean
  readonly patience: PatienceOptions
}

const accept = Object.values(mediaTypes).join(', ')

/** What https says of a server that speaks http only, or does not listen there. */
const noHttps: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_SOURCE_UNREACHABLE',
  'CDI_SOURCE_TLS',
  'CDI_SOURCE_INTERRUPTED',
])

/** Gets what the reference names. Throws as {@link RegistryClient.get} does, and CDI_REGISTRY_DIGEST, _MANIFEST. */
export async function openRegistry(options: OpenRegistry, signal: AbortSignal): Promise<ImageStore> {
  try {
    return await openBy('https', options, signal)
  } catch (error) {
    signal.throwIfAborted()
    if (!options.insecure || !(error instanceof CdiError) || !noHttps.has(error.code)) throw error
    options.patience.log.info({ err: error }, 'insecure registry is not reached by https, trying http')
    return openByHttp(options, error, signal)
  }
}

async function openByHttp(options: OpenRegistry, byHttps: CdiError, signal: AbortSignal): Promise<ImageStore> {
  try {
    return await openBy('http', options, signal)
  } catch (error) {
    signal.throwIfAborted()
    if (!(error instanceof CdiError) || !noHttps.has(error.code)) throw error
    // Neither way is open; which one was meant is for the reader to know.
    const { code, message, details } = error
    throw new CdiError(code, `${message} (by http; by https: ${byHttps.message})`, { cause: error, details })
  }
}

async function openBy(scheme: 'https' | 'http', options: OpenRegistry, signal: AbortSignal): Promise<ImageStore> {
  const { reference } = options
  const client = new RegistryClient({ ...options, scheme })
  try {
    const answer = await getManifest(client, reference.version, signal)
    return new RegistryStore({ client, name: reference.name, root: verifyRoot(answer, reference) })
  } catch (error) {
    await client[Symbol.asyncDispose]()
    throw error
  }
}

function getManifest(client: RegistryClient, version: string, signal: AbortSignal): Promise<SmallAnswer> {
  const what = `reading manifest ${version} of ${client.repositoryName}`
  return client.get({ path: `manifests/${version}`, what, headers: [['Accept', accept]] }, signal)
}

/** A manifest that was asked for by a tag must at least be what the registry itself says that it is. */
function verifyRoot({ bytes, headers }: SmallAnswer, reference: DockerReference): ManifestBytes {
  const told = headers.get('docker-content-digest')
  const digest = reference.digest ?? (told !== undefined && isDigest(told) ? told : digestOf(bytes))
  assertDigest({ bytes, digest, what: `the manifest of ${reference.name}` })
  return { bytes, digest, ...toldType(headers) }
}

function toldType(headers: ReadonlyMap<string, string>): { toldType?: string } {
  const type = headers.get('content-type')
  return type === undefined ? {} : { toldType: type }
}

class RegistryStore implements ImageStore {
  readonly name: string
  readonly root: ManifestBytes
  readonly #client: RegistryClient

  constructor({ client, name, root }: { client: RegistryClient; name: string; root: ManifestBytes }) {
    this.#client = client
    this.name = name
    this.root = root
  }

  async manifest(descriptor: Descriptor, signal: AbortSignal): Promise<ManifestBytes> {
    const { digest, mediaType } = descriptor
    assertSmall(descriptor)
    const { bytes } = await getManifest(this.#client, digest, signal)
    assertContent({ bytes, descriptor })
    return { bytes, digest, toldType: mediaType }
  }

  async smallBlob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    const { digest } = descriptor
    assertSmall(descriptor)
    const what = `reading blob ${digest} of ${this.#client.repositoryName}`
    const { bytes } = await this.#client.get({ path: `blobs/${digest}`, what }, signal)
    assertContent({ bytes, descriptor })
    return bytes
  }

  openBlob(descriptor: Descriptor, signal: AbortSignal): Promise<RangedSource> {
    return openBlob({ client: this.#client, descriptor }, signal)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#client[Symbol.asyncDispose]()
  }
}
