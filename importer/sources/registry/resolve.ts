/** From what a reference names to an image: through indexes to the manifest of the platform, its configuration, its layers. */
import type { ContainerImage } from './image.ts'
import { emptyConfig, isImageConfig, parseImageConfig } from './image-config.ts'
import { invalidManifest, parseManifest } from './manifest.ts'
import type { ImageManifest } from './manifest.ts'
import { assertArchitecture, chooseInstance, goArchitecture } from './platform.ts'
import type { ImageStore, ManifestBytes } from './store.ts'

/** Images of several architectures are an index; an index may hold indexes, but nobody nests them deeper. */
const mostIndexes = 2

export interface ResolveImage {
  readonly store: ImageStore
  /** In the words of Go; absent: that of this machine, and a lone image is taken as it is. */
  readonly architecture?: string | undefined
}

/** The image then owns the store. Throws CDI_REGISTRY_MANIFEST, _PLATFORM, _DIGEST, the store's errors. */
export async function resolveImage(
  { store, architecture }: ResolveImage,
  signal: AbortSignal,
): Promise<ContainerImage> {
  const { manifest, digest, alone } = await findManifest({ store, architecture }, signal)
  const { config: descriptor, layers, artifactType } = manifest
  const config = isImageConfig(descriptor.mediaType)
    ? parseImageConfig(await store.smallBlob(descriptor, signal))
    : emptyConfig
  if (alone) assertArchitecture({ found: config.architecture, wanted: architecture })
  return {
    name: store.name,
    digest,
    type: artifactType ?? descriptor.mediaType,
    config,
    layers: layers.map((layer) => ({
      mediaType: layer.mediaType,
      digest: layer.digest,
      sizeBytes: layer.sizeBytes,
      annotations: layer.annotations,
      open: (opening) => store.openBlob(layer, opening),
    })),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  }
}

async function findManifest(
  { store, architecture }: ResolveImage,
  signal: AbortSignal,
): Promise<{ manifest: ImageManifest; digest: string; alone: boolean }> {
  let found: ManifestBytes = store.root
  for (let indexes = 0; ; indexes += 1) {
    const document = parseManifest(found.bytes, found.toldType)
    if (document.kind === 'image') return { manifest: document, digest: found.digest, alone: indexes === 0 }
    if (indexes === mostIndexes) throw invalidManifest('indexes are nested too deeply')
    const chosen = chooseInstance(document, architecture ?? goArchitecture(process.arch))
    found = await store.manifest(chosen, signal)
  }
}
