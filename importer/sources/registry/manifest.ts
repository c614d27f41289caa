/**
 * Manifests and indexes of images (OCI image specification; Docker image manifest v2 schema 2), read strictly: they come
 * from strangers, and one that could be read in two ways is refused (CVE-2021-41190). Pure.
 */
import { CdiError } from '../../../src/errors.ts'
import { isDigest } from './digest.ts'
import { parseJsonObject } from './json.ts'
import type { JsonObject } from './json.ts'

/** A reference to content by its digest. */
export interface Descriptor {
  readonly mediaType: string
  readonly digest: string
  readonly sizeBytes: number
  readonly annotations: Readonly<Record<string, string>>
  /** Of members of an index. */
  readonly platform?: Platform
}

/** In the words of Go. */
export interface Platform {
  readonly architecture: string
  readonly os: string
  readonly variant: string
}

export interface ImageManifest {
  readonly kind: 'image'
  readonly mediaType: string
  readonly artifactType?: string
  readonly config: Descriptor
  /** Lowest first. */
  readonly layers: readonly Descriptor[]
}

export interface ImageIndex {
  readonly kind: 'index'
  readonly mediaType: string
  /** As errors call it: Docker's lists have another name. */
  readonly noun: 'image index' | 'manifest list'
  readonly members: readonly Descriptor[]
}

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
} as const

const indexTypes: ReadonlySet<string> = new Set([mediaTypes.ociIndex, mediaTypes.dockerList])
const imageTypes: ReadonlySet<string> = new Set([mediaTypes.ociManifest, mediaTypes.dockerManifest])
const schema1Types: ReadonlySet<string> = new Set([
  'application/vnd.docker.distribution.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v1+prettyjws',
])

/** Largest manifest, index or configuration, in bytes; what other clients and registries take at most. */
export const longestManifestBytes = 4 * 1024 * 1024
const mostMembers = 1000
const mostLayers = 1000
/** Largest blob: 1 PiB. */
const largestBlobBytes = 2 ** 50
const longestTypeChars = 255
/** Of architectures and the like. */
export const longestWordChars = 64

/**
 * Reads a manifest or an index. `toldType` is what it was said to be by a server or a descriptor; a general type such as
 * `application/json` says nothing. Throws CDI_REGISTRY_MANIFEST.
 */
export function parseManifest(bytes: Buffer, toldType?: string): ImageManifest | ImageIndex {
  const document = parseJsonObject(bytes, 'the manifest', invalidManifest)
  const mediaType = typeOf(document, toldType)
  if (schema1Types.has(mediaType)) {
    throw invalidManifest('the image has the old manifest format v2 schema 1, which names no digests and no sizes')
  }
  if (indexTypes.has(mediaType)) return parseIndex(document, mediaType)
  if (imageTypes.has(mediaType)) return parseImage(document, mediaType)
  throw invalidManifest(`the manifest is of the unknown type ${JSON.stringify(mediaType)}`)
}

function typeOf(document: JsonObject, toldType: string | undefined): string {
  const told = toldType?.split(';', 1)[0]?.trim().toLowerCase()
  const own = document['mediaType']
  if (own !== undefined && typeof own !== 'string') throw invalidManifest('its mediaType is not a text')
  const known = (type: string): boolean => indexTypes.has(type) || imageTypes.has(type) || schema1Types.has(type)
  if (told !== undefined && known(told)) {
    if (own !== undefined && own !== told) {
      throw invalidManifest(
        `the manifest says that it is ${JSON.stringify(own.slice(0, longestTypeChars))}, but ${told} was told`,
      )
    }
    return told
  }
  if (own !== undefined && own !== '') return own.slice(0, longestTypeChars)
  if (document['schemaVersion'] === 1) return 'application/vnd.docker.distribution.manifest.v1+json'
  if (document['manifests'] !== undefined) return mediaTypes.ociIndex
  if (document['config'] !== undefined) return mediaTypes.ociManifest
  return told ?? ''
}

function parseIndex(document: JsonObject, mediaType: string): ImageIndex {
  checkSchema(document)
  if (document['layers'] !== undefined || document['config'] !== undefined) throw ambiguous()
  return {
    kind: 'index',
    mediaType,
    noun: mediaType === mediaTypes.dockerList ? 'manifest list' : 'image index',
    members: parseDescriptors(document['manifests'], { what: 'manifests', most: mostMembers }),
  }
}

function parseImage(document: JsonObject, mediaType: string): ImageManifest {
  checkSchema(document)
  if (document['manifests'] !== undefined) throw ambiguous()
  const { artifactType } = document
  return {
    kind: 'image',
    mediaType,
    ...(artifactType === undefined || artifactType === ''
      ? {}
      : { artifactType: parseType(artifactType, 'artifactType') }),
    config: parseDescriptor(document['config'], 'config'),
    layers: parseDescriptors(document['layers'], { what: 'layers', most: mostLayers }),
  }
}

function checkSchema({ schemaVersion }: JsonObject): void {
  if (schemaVersion !== 2) throw invalidManifest('the schemaVersion of the manifest is not 2')
}

function ambiguous(): CdiError {
  return invalidManifest('the manifest could be read as an image and as an index')
}

function parseDescriptors(value: unknown, { what, most }: { what: string; most: number }): Descriptor[] {
  if (!Array.isArray(value)) throw invalidManifest(`the manifest has no list of ${what}`)
  if (value.length > most) throw invalidManifest(`the manifest has ${value.length} ${what}, more than ${most}`)
  return value.map((one, index) => parseDescriptor(one, `${what}[${index}]`))
}

function parseDescriptor(value: unknown, what: string): Descriptor {
  const descriptor = objectAt(value, what)
  const { digest, size, platform } = descriptor
  if (typeof digest !== 'string' || !isDigest(digest))
    throw invalidManifest(`${what} has no digest by sha256 or sha512`)
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > largestBlobBytes) {
    throw invalidManifest(`${what} has an impossible size`)
  }
  return {
    mediaType: parseType(descriptor['mediaType'], `the mediaType of ${what}`),
    digest,
    sizeBytes: size,
    annotations: parseTexts(descriptor['annotations'], `the annotations of ${what}`),
    ...(platform === undefined || platform === null ? {} : { platform: parsePlatform(platform, what) }),
  }
}

function parsePlatform(value: unknown, what: string): Platform {
  const platform = objectAt(value, `the platform of ${what}`)
  const text = (key: string): string => {
    const part = platform[key] ?? ''
    if (typeof part === 'string' && part.length <= longestWordChars) return part
    throw invalidManifest(`the platform of ${what} has an absurd ${key}`)
  }
  return { architecture: text('architecture'), os: text('os'), variant: text('variant') }
}

function parseType(value: unknown, what: string): string {
  if (typeof value !== 'string' || value === '' || value.length > longestTypeChars) {
    throw invalidManifest(`${what} is not a media type`)
  }
  return value
}

function parseTexts(value: unknown, what: string): Readonly<Record<string, string>> {
  if (value === undefined || value === null) return {}
  const texts = objectAt(value, what)
  for (const text of Object.values(texts)) {
    if (typeof text !== 'string') throw invalidManifest(`${what} are not all texts`)
  }
  return texts as Readonly<Record<string, string>>
}

function objectAt(value: unknown, what: string): JsonObject {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject
  throw invalidManifest(`${what} is not an object`)
}

/** The fault of a manifest, an index or a configuration that cannot be used. */
export function invalidManifest(text: string): CdiError {
  return new CdiError('CDI_REGISTRY_MANIFEST', text)
}
