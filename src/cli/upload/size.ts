/** How large the new volume's disk shall be, and whether the image fits into it. */
import { CdiError } from '../../errors.ts'
import { formatBytes, roundUpToMebibyte } from '../../quantity.ts'
import type { LocalImage } from './local-image.ts'

export interface SizeInput {
  /** `--size`. */
  readonly askedBytes: number | undefined
  /** Absent for standard input. */
  readonly image: Pick<LocalImage, 'path' | 'format' | 'virtualSizeBytes' | 'plainSizeBytes'> | undefined
}

/** Bytes of the new disk. Throws CDI_IMAGE_TOO_LARGE, and CDI_USAGE where only the user can tell. */
export function decideSize({ askedBytes, image }: SizeInput): number {
  const needed = neededBytes(image)
  if (askedBytes === undefined) {
    if (needed === undefined)
      throw new CdiError('CDI_USAGE', `say how large the volume shall be: --size. ${why(image)}`)
    return roundUpToMebibyte(needed)
  }
  if (image !== undefined) assertFits({ image, capacityBytes: askedBytes, whose: `--size ${formatBytes(askedBytes)}` })
  return askedBytes
}

/** Throws CDI_IMAGE_TOO_LARGE if the image certainly does not fit. */
export function assertFits(o: { image: NonNullable<SizeInput['image']>; capacityBytes: number; whose: string }): void {
  const needed = neededBytes(o.image)
  if (needed === undefined || needed <= o.capacityBytes) return
  throw new CdiError(
    'CDI_IMAGE_TOO_LARGE',
    `the disk in ${o.image.path} has ${needed} bytes, more than ${o.whose}: use --size ${formatBytes(roundUpToMebibyte(needed))}`,
    { details: { neededBytes: needed, capacityBytes: o.capacityBytes } },
  )
}

function neededBytes(image: SizeInput['image']): number | undefined {
  return image === undefined || image.format === 'archive'
    ? undefined
    : (image.virtualSizeBytes ?? image.plainSizeBytes)
}

function why(image: SizeInput['image']): string {
  if (image === undefined) return 'Standard input does not tell.'
  return image.format === 'archive'
    ? `It must have room for all files of ${image.path}.`
    : `${image.path} does not tell before it is unpacked.`
}
