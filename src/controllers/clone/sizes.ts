/** How large the volumes of a clone have to be (contract/clone.md §4.1, §4.3, §4.4). Bytes throughout. Pure. */
import { messages } from '../../api/names.ts'
import { requiredBytes, usableBytes } from '../../quantity.ts'

/** A volume, as far as its size matters. */
export interface VolumeSize {
  /** `Block` or `Filesystem`. */
  readonly mode: string
  /** What a file system of its class takes, as a decimal text such as `0.06`. */
  readonly overhead: string
  readonly bytes: number
}

/** The room for a disk in a volume. */
export function roomIn({ mode, overhead, bytes }: VolumeSize): number {
  return mode === 'Block' ? bytes : usableBytes(overhead, bytes)
}

/** The size of a volume of this mode and class that has room for a disk of so many bytes. */
export function sizeFor({ mode, overhead }: Omit<VolumeSize, 'bytes'>, diskBytes: number): number {
  return mode === 'Block' ? diskBytes : requiredBytes(overhead, diskBytes)
}

/**
 * What is wrong with what T asks for; undefined if nothing is. T gets at least the smallest volume of its class. What nobody
 * knows is not compared.
 */
export function tooSmallForSource({
  sourceBytes,
  targetBytes,
  minimumBytes = 0,
}: {
  readonly sourceBytes: number | undefined
  readonly targetBytes: number | undefined
  readonly minimumBytes?: number | undefined
}): string | undefined {
  if (sourceBytes === undefined || targetBytes === undefined) return undefined
  const target = Math.max(targetBytes, minimumBytes)
  return target < sourceBytes ? messages.cloneTooSmall(target, sourceBytes) : undefined
}

/** What is wrong with a volume that the disk of another one is to be copied to; undefined if nothing is. */
export function tooSmallForCopy(source: VolumeSize, target: VolumeSize): string | undefined {
  const needed = roomIn(source)
  const room = roomIn(target)
  return room < needed ? messages.cloneTooSmall(room, needed) : undefined
}

/**
 * What the claim asks for that receives a copy. A claim that the webhook completes says only how much is to be copied, so room
 * for the file system is added here, as far as the source needs it; everybody else has said how large the volume is to be.
 */
export function receiverBytes({
  source,
  target,
  isCompleted,
}: {
  readonly source: VolumeSize
  readonly target: VolumeSize
  readonly isCompleted: boolean
}): number {
  const copiedBytes = Math.min(target.bytes, roomIn(source))
  return isCompleted ? Math.max(target.bytes, sizeFor(target, copiedBytes)) : target.bytes
}
