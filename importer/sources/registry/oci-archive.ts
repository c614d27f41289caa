/**
 * Images in an OCI layout that was packed into a tar file (`skopeo copy … oci-archive:`, `podman save --format
 * oci-archive`, `docker buildx build --output type=oci`). It is read in place: layers are pieces of the file.
 */
import { CdiError } from '../../../src/errors.ts'
import { detectEncoding } from '../../formats/detect.ts'
import { openFile } from '../file.ts'
import { readRange } from '../source.ts'
import type { ByteRange, RangedSource } from '../source.ts'
import { digestOf } from './digest.ts'
import { parseJsonObject } from './json.ts'
import { invalidManifest, longestManifestBytes, mediaTypes, parseManifest } from './manifest.ts'
import type { Descriptor } from './manifest.ts'
import type { ArchiveReference } from './reference.ts'
import { pullFault } from './refusal.ts'
import { assertContent, assertSmall } from './store.ts'
import type { ImageStore, ManifestBytes } from './store.ts'
import { indexTar } from './tar-index.ts'

const referenceAnnotation = 'org.opencontainers.image.ref.name'
/** References that an error lists. */
const mostListed = 10

/**
 * Opens the file and finds the image. Throws CDI_SOURCE_UNREACHABLE, CDI_ARCHIVE_INVALID, CDI_ENCODING_UNSUPPORTED for a
 * compressed file, CDI_REGISTRY_MANIFEST, CDI_REGISTRY_DIGEST, and CDI_REGISTRY_PULL if the image is not in it.
 */
export async function openOciArchive(reference: ArchiveReference, signal: AbortSignal): Promise<ImageStore> {
  const file = await openFile({ path: reference.path })
  try {
    await assertNotPacked(file, signal)
    const layout = new Layout(file, await indexTar(file, signal))
    return new ArchiveStore({ layout, name: reference.name, root: await findRoot({ layout, reference }, signal) })
  } catch (error) {
    await file[Symbol.asyncDispose]()
    throw error
  }
}

async function assertNotPacked(file: RangedSource, signal: AbortSignal): Promise<void> {
  const head = await readRange(file, { offset: 0, length: Math.min(512, file.sizeBytes) }, signal)
  const encoding = detectEncoding(head)
  if (encoding === undefined) return
  throw new CdiError(
    'CDI_ENCODING_UNSUPPORTED',
    `the archive is packed with ${encoding}; unpack it first, since it is read in place`,
  )
}

/** The files of a layout. */
class Layout {
  readonly file: RangedSource
  readonly #index: ReadonlyMap<string, ByteRange>

  constructor(file: RangedSource, index: ReadonlyMap<string, ByteRange>) {
    this.file = file
    this.#index = index
  }

  place(name: string): ByteRange | undefined {
    return this.#index.get(name)
  }

  async read(name: string, signal: AbortSignal): Promise<Buffer | undefined> {
    const place = this.place(name)
    if (place === undefined) return undefined
    if (place.length > longestManifestBytes) throw invalidManifest(`${name} in the archive is absurdly large`)
    return readRange(this.file, place, signal)
  }

  /** Where a blob lies. Throws CDI_REGISTRY_MANIFEST if it is not there, CDI_REGISTRY_DIGEST for another size. */
  placeOf({ digest, sizeBytes }: Descriptor): ByteRange {
    const place = this.place(`blobs/${digest.replace(':', '/')}`)
    if (place === undefined) throw invalidManifest(`blob ${digest} is missing in the archive`)
    if (place.length === sizeBytes) return place
    throw new CdiError('CDI_REGISTRY_DIGEST', `blob ${digest} has ${place.length} bytes instead of ${sizeBytes}`)
  }
}

async function findRoot(
  { layout, reference }: { layout: Layout; reference: ArchiveReference },
  signal: AbortSignal,
): Promise<ManifestBytes> {
  const bytes = await layout.read('index.json', signal)
  if (bytes === undefined) throw noLayout(layout)
  const version = await layout.read('oci-layout', signal)
  if (version !== undefined) checkVersion(version)
  const index = parseManifest(bytes, mediaTypes.ociIndex)
  if (index.kind !== 'index') throw invalidManifest('index.json in the archive is no index')
  const named = index.members.filter(
    ({ annotations }) => reference.image === undefined || annotations[referenceAnnotation] === reference.image,
  )
  const images = [...new Map(named.map((member) => [member.digest, member])).values()]
  const [image, ...more] = images
  if (image !== undefined && more.length === 0) return readManifest({ layout, descriptor: image }, signal)
  // Some tools write the images of several platforms straight into index.json.
  const isOneImage = images.length === index.members.length && images.every(({ platform }) => platform !== undefined)
  if (image !== undefined && isOneImage) return { bytes, digest: digestOf(bytes), toldType: mediaTypes.ociIndex }
  throw notFound({ reference, members: index.members, found: images.length })
}

function noLayout(layout: Layout): CdiError {
  if (layout.place('manifest.json') !== undefined) {
    return invalidManifest(
      'the archive is one of `docker save` in its old form; convert it with `skopeo copy docker-archive:FILE oci-archive:FILE`',
    )
  }
  return invalidManifest('the archive has no index.json, so it is no OCI layout')
}

function checkVersion(bytes: Buffer): void {
  const { imageLayoutVersion } = parseJsonObject(bytes, 'oci-layout in the archive', invalidManifest)
  if (typeof imageLayoutVersion === 'string' && imageLayoutVersion.startsWith('1.')) return
  throw invalidManifest('the OCI layout in the archive is of an unknown version')
}

function notFound({
  reference,
  members,
  found,
}: {
  reference: ArchiveReference
  members: readonly Descriptor[]
  found: number
}): CdiError {
  const names = [...new Set(members.map(({ annotations }) => annotations[referenceAnnotation] ?? ''))]
    .filter((name) => name !== '')
    .slice(0, mostListed)
    .map((name) => JSON.stringify(name.slice(0, 200)))
  const there = names.length === 0 ? 'its images have no names' : `it has ${names.join(', ')}`
  const { image } = reference
  if (found > 0)
    return pullFault(`the archive has ${found} images to choose from; append :REFERENCE to the path (${there})`)
  if (image === undefined) return pullFault('the archive has no image')
  return pullFault(`the archive has no image ${JSON.stringify(image)}; ${there}`)
}

async function readManifest(
  { layout, descriptor }: { layout: Layout; descriptor: Descriptor },
  signal: AbortSignal,
): Promise<ManifestBytes> {
  const bytes = await readSmall({ layout, descriptor }, signal)
  return { bytes, digest: descriptor.digest, toldType: descriptor.mediaType }
}

async function readSmall(
  { layout, descriptor }: { layout: Layout; descriptor: Descriptor },
  signal: AbortSignal,
): Promise<Buffer> {
  assertSmall(descriptor)
  const bytes = await readRange(layout.file, layout.placeOf(descriptor), signal)
  assertContent({ bytes, descriptor })
  return bytes
}

class ArchiveStore implements ImageStore {
  readonly name: string
  readonly root: ManifestBytes
  readonly #layout: Layout

  constructor({ layout, name, root }: { layout: Layout; name: string; root: ManifestBytes }) {
    this.#layout = layout
    this.name = name
    this.root = root
  }

  manifest(descriptor: Descriptor, signal: AbortSignal): Promise<ManifestBytes> {
    return readManifest({ layout: this.#layout, descriptor }, signal)
  }

  smallBlob(descriptor: Descriptor, signal: AbortSignal): Promise<Buffer> {
    return readSmall({ layout: this.#layout, descriptor }, signal)
  }

  // oxlint-disable-next-line require-await -- a fault must come as a rejection
  async openBlob(descriptor: Descriptor): Promise<RangedSource> {
    return pieceOf(this.#layout.file, { place: this.#layout.placeOf(descriptor), digest: descriptor.digest })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#layout.file[Symbol.asyncDispose]()
  }
}

/** A piece of a file as a source of its own; the file stays open when it is closed. */
function pieceOf(file: RangedSource, { place, digest }: { place: ByteRange; digest: string }): RangedSource {
  return {
    kind: 'ranged',
    name: `${file.name} (${digest})`,
    sizeBytes: place.length,
    pinned: file.pinned,
    parallel: file.parallel,
    validator: digest,
    async stream({ offset, length }, sink, signal) {
      if (offset < 0 || offset + length > place.length) {
        throw new RangeError(`${offset}+${length} is beyond ${place.length} bytes`)
      }
      await file.stream({ offset: place.offset + offset, length }, sink, signal)
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  }
}
