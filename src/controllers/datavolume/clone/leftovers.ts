/**
 * What is made for a clone beside T and is of no use any more when the DataVolume has succeeded or is gone
 * (contract/clone.md §3). In another namespace nobody but this controller takes it away.
 */
import { annotations, labels, labelValues } from '../../../api/names.ts'
import { kinds } from '../../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim, Pod, VolumeCloneSource } from '../../../api/kinds.ts'
import type { KubeClient } from '../../../kube/client.ts'
import { formatKey, keyOf } from '../../../kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../../kube/object.ts'
import { isAnnotatedTrue } from '../../shared/annotated.ts'
import { indexes } from '../../shared/caches.ts'
import type { Caches } from '../../shared/caches.ts'
import { isTerminating } from '../../shared/claim.ts'

export interface Leftovers {
  readonly sources: readonly VolumeCloneSource[]
  /** Those that find out sizes. */
  readonly pods: readonly Pod[]
  /** Those that snapshots were restored to. */
  readonly claims: readonly PersistentVolumeClaim[]
}

export const noLeftovers: Leftovers = { sources: [], pods: [], claims: [] }

/** What was made for the DataVolume of this key, or for an earlier one of the same name, and is not going away yet. */
export function leftoversOf(
  { cloneSources, pods, pvcs }: Pick<Caches, 'cloneSources' | 'pods' | 'pvcs'>,
  key: ObjectKey,
): Leftovers {
  const made = formatKey(key)
  const stays = (object: KubeObject): boolean => !isTerminating(object)
  return {
    sources: cloneSources
      .byIndex(indexes.madeFor, made)
      .filter((source) => stays(source) && isNamed(source, sourceName)),
    pods: pods.byIndex(indexes.madeFor, made).filter((pod) => stays(pod) && isNamed(pod, podName)),
    // An annotation alone is not enough to take somebody's data away.
    claims: pvcs
      .byIndex(indexes.madeFor, made)
      .filter(
        (claim) =>
          stays(claim) &&
          isNamed(claim, claimName) &&
          claim.metadata.labels?.[labels.component] === labelValues.snapshotCopySource,
      ),
  }
}

/** What of it has to go from a DataVolume that has succeeded: a pod may have been asked to be kept. */
export function unwantedBy(dataVolume: DataVolume, leftovers: Leftovers): Leftovers {
  return isAnnotatedTrue(dataVolume, annotations.podRetainAfterCompletion) ? { ...leftovers, pods: [] } : leftovers
}

export function isNothing({ sources, pods, claims }: Leftovers): boolean {
  return sources.length + pods.length + claims.length === 0
}

/** Whatever of it is gone already is no trouble; a namesake made since is left alone. */
export async function removeLeftovers(client: Pick<KubeClient, 'delete'>, leftovers: Leftovers): Promise<void> {
  const remove = async (kind: Kind, objects: readonly KubeObject[]): Promise<void> => {
    for (const object of objects) await client.delete(kind, keyOf(object), { uid: object.metadata.uid })
  }
  await remove(kinds.volumeCloneSource, leftovers.sources)
  await remove(kinds.pod, leftovers.pods)
  await remove(kinds.pvc, leftovers.claims)
}

const sourceName = /^volume-clone-source-/
const podName = /^size-detection-/
const claimName = /-host-assisted-source-pvc$/

function isNamed({ metadata: { name } }: KubeObject, pattern: RegExp): boolean {
  return pattern.test(name)
}
