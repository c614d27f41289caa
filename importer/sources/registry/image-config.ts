/** What counts of the configuration of an image (OCI image specification, "Image Configuration"). Pure. */
import type { ImageConfig } from './image.ts'
import { parseJsonObject } from './json.ts'
import type { JsonObject } from './json.ts'
import { invalidManifest, longestWordChars } from './manifest.ts'

const configTypes: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
])

/** True for the media types of configurations of images; artifacts have others, which say nothing that we understand. */
export function isImageConfig(mediaType: string): boolean {
  return configTypes.has(mediaType)
}

export const emptyConfig: ImageConfig = { env: [], labels: {} }

/** Reads the configuration of an image. Throws CDI_REGISTRY_MANIFEST. */
export function parseImageConfig(bytes: Buffer): ImageConfig {
  const document = parseJsonObject(bytes, 'the configuration of the image', invalidManifest)
  const architecture = document['architecture'] ?? ''
  if (typeof architecture !== 'string' || architecture.length > longestWordChars) {
    throw invalidManifest('the configuration of the image has an absurd architecture')
  }
  const inner = (document['config'] ?? {}) as JsonObject
  const env = inner['Env'] ?? []
  const labels = inner['Labels'] ?? {}
  if (!isListOfTexts(env)) throw invalidManifest('Env in the configuration of the image is not a list of texts')
  if (!isMapOfTexts(labels)) throw invalidManifest('Labels in the configuration of the image are not texts by name')
  return {
    ...(architecture === '' ? {} : { architecture }),
    env,
    labels,
  }
}

function isListOfTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((one) => typeof one === 'string')
}

function isMapOfTexts(value: unknown): value is Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return Object.values(value).every((one) => typeof one === 'string')
}
