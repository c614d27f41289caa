/** Where the file of an image may end. Tables that point further are the mark of an image that was cut. */
import { CdiError } from '../../src/errors.ts'
import type { ImageFacts } from './facts.ts'

/** Formats whose blocks are there as a whole or not at all. */
const wholeBlocks: ReadonlySet<ImageFacts['format']> = new Set(['vhd', 'vhdx'] as const)

/**
 * Where a file of `sizeBytes` would end if its last cluster were there as a whole: writers end it behind the last byte that
 * was written, and the rest reads as zeros.
 */
export function wholeEnd({ format, clusterBytes = 1 }: ImageFacts, sizeBytes: number): number {
  return wholeBlocks.has(format) ? sizeBytes : Math.ceil(sizeBytes / clusterBytes) * clusterBytes
}

/** The fault of an image whose tables point to `wantedBytes`. */
export function truncatedImage({
  name,
  sizeBytes,
  wantedBytes,
}: {
  readonly name: string
  readonly sizeBytes: number
  readonly wantedBytes: number
}): CdiError {
  return new CdiError(
    'CDI_CONVERT_FAILED',
    `Image ${name} is truncated: its tables point to byte ${wantedBytes}, but it has only ${sizeBytes} bytes`,
    { details: { sizeBytes, wantedBytes } },
  )
}
