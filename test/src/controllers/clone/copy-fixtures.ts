/** What takes part in a copy: the claim that is read, the one that receives, and the pod between them. */
import type { PersistentVolumeClaim, Pod } from '../../../../src/api/kinds.ts'
import { annotations, finalizers, labels, sourcePodName } from '../../../../src/api/names.ts'
import { claim, importerPod } from '../fixtures.ts'
import type { ClaimFacts, PodFacts } from '../fixtures.ts'

/** A claim that is to be read. */
export function source(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({ name: 'src', phase: 'Bound', ...facts })
}

/** A bound claim whose upload server is ready to receive `src`. */
export function receiver(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    name: 'tmp-pvc-1',
    uid: 'uid-u',
    phase: 'Bound',
    ...facts,
    annotated: {
      [annotations.cloneRequest]: 'vms/src',
      [annotations.podPhase]: 'Running',
      [annotations.podReady]: 'true',
      ...facts.annotated,
    },
  })
}

/** A receiver that has had a source pod. */
export function marked(facts: ClaimFacts = {}): PersistentVolumeClaim {
  const { metadata } = receiver()
  return receiver({
    finalizers: [finalizers.cloneSource],
    ...facts,
    annotated: { [annotations.sourceClonePodName]: sourcePodName(metadata.uid), ...facts.annotated },
  })
}

/** The pod that reads `src` for a receiver. */
export function sourcePod(owner: PersistentVolumeClaim, facts: PodFacts = {}): Pod {
  const pod = importerPod(source(), facts)
  const name = sourcePodName(owner.metadata.uid)
  const { ownerReferences: _, ...metadata } = pod.metadata
  const { namespace, name: ownerName } = owner.metadata
  return {
    ...pod,
    metadata: {
      ...metadata,
      name,
      annotations: { [annotations.ownerRef]: `${namespace}/${ownerName}` },
      labels: { [labels.component]: 'cdi-clone-source', [labels.cloneUniqueId]: name },
    },
  }
}
