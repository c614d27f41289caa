/**
 * Artifacts in registries that are no container images: the blob of a layer is the disk as it stands (packed or not; that
 * is the pipeline's business). KubeVirt exports such (`application/vnd.kubevirt.disk.raw+zstd`, VEP 256), and
 * `oras push` and `podman artifact add` make them of any file. Pure.
 */
import { shownName } from '../../formats/tar-name.ts'
import { noDiskFault } from './container-disk-fault.ts'
import { isImageConfig } from './image-config.ts'
import type { ContainerImage, Layer } from './image.ts'

const kubevirtDisk = 'application/vnd.kubevirt.disk.'
/** Stands for nothing (OCI image specification, "Guidance for an Empty Descriptor"). */
const emptyType = 'application/vnd.oci.empty.v1+json'
const titleAnnotation = 'org.opencontainers.image.title'
/** ORAS packs directories that are pushed into a tar and says so. */
const unpackAnnotation = 'io.deis.oras.content.unpack'

const diskTitle = /\.(qcow2|img|raw|iso|vmdk|vdi|vhdx?)(\.(gz|xz|zstd?))?$/i
const diskType = /\b(disk|qcow2|vmdk|vdi|vhdx?)\b/i

/** A layer that is itself the disk, and what people call it. */
export interface DiskLayer {
  readonly layer: Layer
  readonly name: string
}

/**
 * Which layer of an artifact is the disk; undefined if the layers are file system trees to be searched. Throws
 * CDI_REGISTRY_NO_DISK if none or several could be meant.
 */
export function diskLayerOf({
  type,
  config,
  layers,
}: Pick<ContainerImage, 'type' | 'config' | 'layers'>): DiskLayer | undefined {
  const exported = layers.filter(({ mediaType }) => mediaType.startsWith(kubevirtDisk))
  if (exported.length > 0) return theOnly(exported)
  // An image that has an artifactType too is still made for a machine.
  if (isImageConfig(type) || config.architecture !== undefined) return undefined
  const files = layers.filter((layer) => layer.mediaType !== emptyType && !isTree(layer))
  if (files.length === 1) return theOnly(files)
  if (files.length === 0) {
    if (layers.some(isTree)) return undefined
    throw noDiskFault([`the artifact of type ${shown(type)} has no content`])
  }
  return theOnly(files.filter(looksLikeDisk), files)
}

function theOnly(disks: readonly Layer[], among = disks): DiskLayer {
  const [layer, ...more] = disks
  if (layer !== undefined && more.length === 0) return { layer, name: nameOf(layer) }
  const names = among.slice(0, 5).map(nameOf).join(', ')
  throw noDiskFault([
    layer === undefined
      ? `the artifact has ${among.length} layers, and none is named like a disk: ${names}`
      : `the artifact has ${disks.length} disks, and it cannot be told which one is meant: ${names}`,
  ])
}

/** True for the tar of a directory. A file that happens to be a tar has a title and stays what it is. */
function isTree({ annotations, mediaType }: Layer): boolean {
  if (annotations[unpackAnnotation] === 'true') return true
  return annotations[titleAnnotation] === undefined && /\btar\b/.test(mediaType)
}

function looksLikeDisk({ annotations, mediaType }: Layer): boolean {
  return diskTitle.test(annotations[titleAnnotation] ?? '') || diskType.test(mediaType)
}

function nameOf({ annotations, digest, mediaType }: Layer): string {
  const title = annotations[titleAnnotation]
  return shown(title === undefined || title === '' ? `${mediaType} ${digest}` : title)
}

function shown(text: string): string {
  return shownName(Buffer.from(text).toString('latin1'))
}
