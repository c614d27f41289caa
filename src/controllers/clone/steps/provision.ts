/** The steps CSIClone and SnapshotClone: the storage makes a volume of the source, or of a snapshot. Pure. */
import { clonePhases, messages } from '../../../api/names.ts'
import type { ClonePhase } from '../../../api/names.ts'
import type { PersistentVolumeClaim, VolumeSnapshot } from '../../../api/kinds.ts'
import { restoreBytesOf, snapshotModeOf } from '../origin.ts'
import { claimPhase, isTerminating, isWaitForFirstConsumer } from '../../shared/claim.ts'
import { classToCopyFrom } from '../facts.ts'
import type { ClaimOrigin, CloneObservation, Origin, SnapshotOrigin } from '../observation.ts'
import { claimReference, renderTemporaryClaim, renderTemporarySource, snapshotReference } from '../temporary.ts'
import { sourceGate } from './source-gate.ts'
import { failed, goneFirst, missingSource, storageRequestOf } from './step.ts'
import type { Step } from './step.ts'

/** Lets the storage make the temporary claim's volume of a snapshot. */
export function snapshotClone(
  seen: CloneObservation,
  origin: Origin,
  from: VolumeSnapshot | undefined,
): Step | undefined {
  const { target, temporary } = seen
  const phase = clonePhases.snapshotClone
  if (temporary.claim) return untilProvisioned(seen, phase, temporary.claim)
  if (!from) return missingSource(origin)
  if (!from.status?.readyToUse) return { phase, because: 'the snapshot is not ready yet' }
  return {
    phase,
    because: 'the snapshot is to be restored',
    action: {
      do: 'createClaim',
      claim: renderTemporaryClaim({
        target,
        namespace: origin.namespace,
        storage: storageOf(from, target),
        content: { by: 'storage', of: snapshotReference(from.metadata.name) },
      }),
    },
  }
}

/** Lets the storage make the temporary claim's volume of the source's. */
export function csiClone(seen: CloneObservation, origin: ClaimOrigin): Step | undefined {
  const { target, temporary } = seen
  const phase = clonePhases.csiClone
  if (temporary.claim) return untilProvisioned(seen, phase, temporary.claim)
  const gate = sourceGate(phase, origin)
  if ('because' in gate) return gate
  const storage = gate.source.status?.capacity?.['storage']
  if (storage === undefined) return failed(phase, messages.sizesMissing)
  const { namespace, name } = origin
  return {
    phase,
    because: 'the source is to be cloned',
    action: {
      do: 'createClaim',
      claim: renderTemporaryClaim({ target, namespace, storage, content: { by: 'storage', of: claimReference(name) } }),
    },
  }
}

/** Restores a snapshot to a claim of its own, which is then copied like any other. */
export function restoreToCopy(seen: CloneObservation, origin: SnapshotOrigin): Step | undefined {
  const { target, temporary, storageClasses } = seen
  const { snapshot: from, content, namespace, name } = origin
  const phase = clonePhases.snapshotClone
  const present = temporary.sourceClaim
  if (present) {
    const { storageClassName } = present.spec ?? {}
    const storageClass = storageClasses.find(({ metadata }) => metadata.name === storageClassName)
    return untilProvisioned({ storageClass }, phase, present)
  }
  if (!from) return missingSource(origin)
  if (!content || !from.status?.readyToUse) return { phase, because: 'the snapshot is not ready yet' }
  const storageClass = classToCopyFrom(seen, content.spec.driver)
  if (!storageClass) return failed(phase, messages.noTemporarySourceClass)
  return {
    phase,
    because: 'the snapshot is to be restored, to be copied from',
    action: {
      do: 'createClaim',
      claim: renderTemporarySource({
        target,
        namespace,
        storage: storageOf(from, target),
        volumeMode: snapshotModeOf({ snapshot: from, content }) ?? 'Filesystem',
        storageClassName: storageClass.metadata.name,
        snapshotName: name,
      }),
    },
  }
}

/** A claim that the storage fills counts as done when it is bound, or will be once somebody mounts it. */
function untilProvisioned(
  { storageClass }: Pick<CloneObservation, 'storageClass'>,
  phase: ClonePhase,
  claim: PersistentVolumeClaim,
): Step | undefined {
  if (claimPhase(claim) !== 'Pending') return undefined
  if (isTerminating(claim)) return goneFirst(phase)
  return isWaitForFirstConsumer(storageClass) ? undefined : { phase, because: 'the storage makes the volume' }
}

/** What a restored snapshot asks for; a driver that does not know says zero. */
function storageOf(from: VolumeSnapshot, target: PersistentVolumeClaim): string {
  const { restoreSize } = from.status ?? {}
  return restoreSize !== undefined && (restoreBytesOf(from) ?? 0) > 0 ? restoreSize : storageRequestOf(target)
}
