/**
 * DataVolumes that are clones of a claim or a snapshot (contract/clone.md §1.3, §9). What is cloned is known only after a
 * sourceRef was resolved, so there is a kind for each clone; `../clone/` holds the steps that no other source has.
 */
import { annotations, cloneFallbacks, cloneStrategies, messages, reasons } from '../../../api/names.ts'
import { snapshotCopySourceName, sourcePodName, volumeCloneSourceName } from '../../../api/names.ts'
import { kinds } from '../../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim, VolumeCloneSource } from '../../../api/kinds.ts'
import { formatKey } from '../../../kube/object.ts'
import type { CloneOrder } from '../../clone/tokens.ts'
import { annotationOf, hasAnnotation } from '../../shared/annotated.ts'
import { claimPhase } from '../../shared/claim.ts'
import { normal } from '../../shared/told.ts'
import { cloneSourceOf } from '../../shared/upload-target.ts'
import { clonePhaseOf, isCloned, pathOf } from '../clone/clone-phase.ts'
import { endsOf, isAcrossNamespaces } from '../clone/order.ts'
import { usesPopulator } from '../work.ts'
import type { SourceKind } from './source-kind.ts'

export function cloneKind(order: CloneOrder): SourceKind {
  const { source } = order
  return {
    name: `${source.kind}-clone`,
    problemOf: () => undefined,

    resource: kinds.volumeCloneSource,
    resourceName: volumeCloneSourceName,
    resourceNamespace: source.namespace,
    resourcesOf: ({ cloneSources }) => cloneSources,
    resourceBody: (dataVolume) => ({ spec: resourceSpec(dataVolume, order) }),
    order: ({ metadata: { uid } }) => ({
      [annotations.cloneRequest]: formatKey(
        source.kind === 'snapshot' ? { namespace: source.namespace, name: snapshotCopySourceName(uid) } : source,
      ),
      [annotations.ownerUid]: uid,
      [annotations.cloneType]: cloneStrategies.copy,
      [annotations.cloneFallbackReason]: cloneFallbacks[reasons.noPopulator],
    }),
    permit: (dataVolume) => {
      const token = annotationOf(dataVolume, annotations.cloneToken)
      return isAcrossNamespaces(order) && token !== undefined ? { [annotations.cloneToken]: token } : {}
    },

    isDone: isCloned,
    hasWorker: (target) => usesPopulator(target) || (claimPhase(target) === 'Bound' && isCopiedInto(target)),
    phaseOf: (target, current) => clonePhaseOf(target, current, endsOf(order)),
    pathOf: (target) => pathOf(target, endsOf(order)),
    succeeded: () => normal(reasons.cloneSucceeded, messages.cloneSucceeded(endsOf(order))),
    workerOf: (target, { pods }) => {
      const from = cloneSourceOf(target)
      if (!from) return undefined
      // Not by what the claim says: its owner may write there whatever they like.
      const pod = pods.get({ namespace: from.namespace, name: sourcePodName(target.metadata.uid) })
      return pod && { pod, ownerUid: annotationOf(target, annotations.ownerUid) ?? target.metadata.uid }
    },
  }
}

/** Whether a claim is copied into by itself, without a populator. */
export function isCopiedInto(target: PersistentVolumeClaim): boolean {
  return hasAnnotation(target, annotations.cloneRequest)
}

function resourceSpec({ spec }: DataVolume, { source }: CloneOrder): VolumeCloneSource['spec'] {
  const { preallocation, priorityClassName } = spec
  const { group, kind } = source.kind === 'snapshot' ? kinds.volumeSnapshot : kinds.pvc
  return {
    source: { ...(group ? { apiGroup: group } : {}), kind, name: source.name },
    ...(preallocation === undefined ? {} : { preallocation }),
    ...(priorityClassName ? { priorityClassName } : {}),
  }
}
