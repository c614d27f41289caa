/** Whether a claim can be copied into another one at all (contract/clone.md §4.3, point 3). Pure. */
import { annotations, messages } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { hasAnnotation } from '../shared/annotated.ts'
import { contentTypeOf, requestedBytesOf, volumeModeOf } from './origin.ts'
import { tooSmallForCopy } from './sizes.ts'
import type { VolumeSize } from './sizes.ts'

/** A claim with the share that the file systems of its class take, as a decimal text; a block volume has none. */
export interface CopyEnd {
  readonly claim: PersistentVolumeClaim
  readonly overhead: string
}

/** What is wrong, in the words of the contract; undefined if nothing is. */
export function faultOfCopy(source: CopyEnd, receiver: CopyEnd): string | undefined {
  const difference = differenceOf(source.claim, receiver.claim)
  if (difference !== undefined) return difference
  if (hasAnnotation(receiver.claim, annotations.permissiveClone)) return undefined
  return tooSmallForCopy(sizeOf(source), sizeOf(receiver))
}

/** What differs between two claims, so that the one cannot be copied into the other, however large they are. */
export function differenceOf(source: PersistentVolumeClaim, receiver: PersistentVolumeClaim): string | undefined {
  const [sourceType, receiverType] = [contentTypeOf(source), contentTypeOf(receiver)]
  if (sourceType !== receiverType) return messages.copyContentTypesDiffer(sourceType, receiverType)
  const [sourceMode, receiverMode] = [volumeModeOf(source.spec), volumeModeOf(receiver.spec)]
  return sourceMode !== receiverMode && sourceType !== 'kubevirt'
    ? messages.copyVolumeModesDiffer(sourceMode, receiverMode, sourceType)
    : undefined
}

function sizeOf({ claim, overhead }: CopyEnd): VolumeSize {
  const bytes = requestedBytesOf(claim.spec) ?? 0
  return { mode: volumeModeOf(claim.spec), overhead, bytes }
}
