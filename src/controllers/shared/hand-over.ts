/** How a volume that was filled for a claim becomes that claim's (contract/datavolume.md §8.8, contract/clone.md §6.2 Rebind). */
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { keyOf } from '../../kube/object.ts'
import type { Dependencies } from './dependencies.ts'

/** Promises a volume to a claim; Kubernetes then binds the two. Throws a conflict if the volume has changed meanwhile. */
export async function handOver(
  { client, log }: Pick<Dependencies, 'client' | 'log'>,
  volume: PersistentVolume,
  target: PersistentVolumeClaim,
): Promise<void> {
  const { name, namespace, uid, resourceVersion } = target.metadata
  await client.patch(
    kinds.pv,
    { name: volume.metadata.name },
    {
      metadata: { resourceVersion: volume.metadata.resourceVersion },
      spec: { claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid, resourceVersion } },
    },
    { type: 'merge' },
  )
  log.info({ pvc: keyOf(target), volume: volume.metadata.name }, 'volume handed over')
}
