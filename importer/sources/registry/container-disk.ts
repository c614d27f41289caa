/**
 * The disk in a container image or artifact as a forward source (docs/design/0005-registry-and-object-sources.md): the
 * layers are searched from the top, and the disk's bytes flow on from where they are found, in the middle of a layer. The
 * stream ends well only when that layer was read to its end and its digest was right.
 *
 * container-disk-search.ts    which entry is the disk
 * container-disk-overlay.ts   which names upper layers hide
 * container-disk-layer.ts     one layer as an archive
 * container-disk-blob.ts      a blob in order, with its digest
 * container-disk-artifact.ts  artifacts whose layer is the disk itself
 * container-disk-fault.ts     what is said when there is none
 */
import { CdiError, prefixError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import { Peekable } from '../peekable.ts'
import type { ForwardSource, Sink } from '../source.ts'
import { assertNoBootcLabels } from './bootc.ts'
import { diskLayerOf } from './container-disk-artifact.ts'
import { streamBlob } from './container-disk-blob.ts'
import { Refused } from './container-disk-fault.ts'
import { readLayer } from './container-disk-layer.ts'
import { Overlay } from './container-disk-overlay.ts'
import { LayerSearch } from './container-disk-search.ts'
import type { FoundDisk } from './container-disk-search.ts'
import type { ContainerImage, Layer } from './image.ts'
import { labelsOf } from './labels.ts'

/** What every fault of reading an image begins with (contract: import §11). */
export const readingFailed = 'Failed to read registry image'

export interface ImageDisk {
  /** Closed with the source, or when opening fails. */
  readonly image: ContainerImage
  readonly log: Log
}

/**
 * Finds the disk and resolves with the source of its bytes; what was read to get there is not read again. Throws
 * CDI_REGISTRY_NO_DISK, _BOOTC, _DIGEST, _MANIFEST, CDI_DECODE_* and CDI_ARCHIVE_INVALID for layers that are damaged, and
 * the blobs' errors; the stream throws the same. All texts begin with {@link readingFailed}.
 */
export async function openImageDisk({ image, log }: ImageDisk, signal: AbortSignal): Promise<ForwardSource> {
  const labels = labelsOf({ env: image.config.env, log })
  let found: FoundDisk | undefined
  const onFound = (disk: FoundDisk): void => {
    found = disk
    log.info({ image: image.name, disk: disk.name, sizeBytes: disk.sizeBytes }, 'disk found in the image')
  }
  const peekable = new Peekable((sink, stop) => readDisk({ image, log, onFound, sink }, stop))
  const close = async (): Promise<void> => {
    await peekable[Symbol.asyncDispose]()
    await image[Symbol.asyncDispose]()
  }
  try {
    await peekable.peek(signal)
    if (found === undefined) throw new CdiError('CDI_INTERNAL', 'an image was read and no disk was named')
  } catch (error) {
    await close()
    throw error
  }
  return {
    kind: 'forward',
    name: `${image.name} (${found.name})`,
    sizeBytes: found.sizeBytes,
    validator: `${image.digest} ${found.name}`,
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    peek: (signal, leastBytes) => peekable.peek(signal, leastBytes),
    stream: (sink, signal) => peekable.stream(sink, signal),
    [Symbol.asyncDispose]: close,
  }
}

interface Reading extends ImageDisk {
  readonly onFound: (disk: FoundDisk) => void
  readonly sink: Sink
}

/** Hands the disk to the sink; what the sink throws passes as it is. */
async function readDisk(reading: Reading, signal: AbortSignal): Promise<void> {
  let sinkFault: { readonly error: unknown } | undefined
  const sink: Sink = async (chunk) => {
    try {
      await reading.sink(chunk)
    } catch (error) {
      sinkFault = { error }
      throw error
    }
  }
  try {
    assertNoBootcLabels(reading.image.config.labels)
    const layer = diskLayerOf(reading.image)
    if (layer === undefined) await readLayers({ ...reading, sink }, signal)
    else await readArtifact({ ...reading, sink }, layer, signal)
  } catch (error) {
    if (sinkFault !== undefined) throw sinkFault.error
    signal.throwIfAborted()
    throw prefixError(readingFailed, error)
  }
}

async function readArtifact(
  { onFound, sink }: Reading,
  { layer, name }: { layer: Layer; name: string },
  signal: AbortSignal,
): Promise<void> {
  onFound({ name, sizeBytes: layer.sizeBytes })
  await streamBlob({ layer, sink }, signal)
}

async function readLayers({ image, log, onFound, sink }: Reading, signal: AbortSignal): Promise<void> {
  const overlay = new Overlay()
  const refused = new Refused()
  const common = { overlay, refused, onFound, sink, signal, log }
  let hidden: { readonly layer: Layer; readonly path: string } | undefined
  for (const layer of image.layers.toReversed()) {
    const search = new LayerSearch(common)
    const why = await readLayer({ layer, handler: search }, signal)
    if (search.hasFound) return
    if (why !== undefined) {
      log.warn({ layer: layer.digest, mediaType: layer.mediaType, why }, 'layer passed over')
      refused.note(`layer ${layer.digest} was passed over: ${why}`)
    }
    if (search.hiddenPath !== undefined) hidden ??= { layer, path: search.hiddenPath }
    overlay.descend()
    if (overlay.hidesAll) break
  }
  if (hidden === undefined) throw refused.noDisk()
  // There is nothing else, so it is meant. Its bytes have passed: they are fetched again.
  const search = new LayerSearch({ ...common, overlay: new Overlay(), wantedPath: hidden.path })
  await readLayer({ layer: hidden.layer, handler: search }, signal)
}
