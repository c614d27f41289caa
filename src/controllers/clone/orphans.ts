/**
 * Temporary objects of clones whose claim T is gone, although its finalizer should have kept it: somebody took that off, or
 * what was made last came to light when T had gone. They lie in the namespace of the source, use its quota, and nobody else
 * looks for them. Keys are the UIDs of claims.
 */
import {
  annotations,
  labels,
  prepPodName,
  temporaryPvcName,
  temporarySnapshotName,
  temporarySourcePvcName,
} from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { keyOf, parseKey } from '../../kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../kube/object.ts'
import { annotationOf, isAnnotatedTrue } from '../shared/annotated.ts'
import { indexes } from '../shared/caches.ts'
import { isTerminating } from '../shared/claim.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { labelledWith } from './gather.ts'

/** Caches are several streams: so old is an object whose claim must have been seen, if there is one. */
export const orphanAgeMs = 30_000

type OrphanDependencies = Pick<Dependencies, 'caches' | 'client' | 'clock' | 'log'>

export function cloneOrphansController(dependencies: OrphanDependencies): ControllerSpec {
  const { pvcs, pods, volumeSnapshots } = dependencies.caches
  const ownerOf = ({ metadata }: KubeObject): ObjectKey[] => {
    const uid = metadata.labels?.[labels.ownedByUid]
    return uid ? [{ name: uid }] : []
  }
  return {
    name: 'clone-orphans',
    concurrency: 1,
    watches: [
      watching(pods, ownerOf),
      watching(volumeSnapshots, ownerOf),
      watching(pvcs, (claim) => {
        const { uid } = claim.metadata
        return [...ownerOf(claim), ...(made(dependencies, uid).length > 0 ? [{ name: uid }] : [])]
      }),
    ],
    reconcile: ({ name: uid }) => sweep(dependencies, uid),
  }
}

/** What bears the label and the name of something that was made for a clone into the claim with this UID. */
function made({ caches }: Pick<OrphanDependencies, 'caches'>, uid: string): (readonly [Kind, KubeObject])[] {
  const names = new Set([
    temporaryPvcName(uid),
    temporarySnapshotName(uid),
    temporarySourcePvcName(uid),
    prepPodName(uid),
  ])
  return labelledWith(caches, uid).flatMap(([kind, objects]) =>
    objects.filter(({ metadata }) => names.has(metadata.name)).map((object) => [kind, object] as const),
  )
}

async function sweep(dependencies: OrphanDependencies, uid: string): Promise<ReconcileResult> {
  const { caches, client, clock, log } = dependencies
  const orphans = made(dependencies, uid).filter(
    ([, object]) => !isTerminating(object) && !isAnnotatedTrue(object, annotations.podRetainAfterCompletion),
  )
  if (orphans.length === 0 || caches.pvcs.byIndex(indexes.uid, uid).length > 0) return {}
  const youngMs = Math.max(...orphans.map(([, { metadata }]) => bornAt(metadata) + orphanAgeMs - clock.now()))
  if (youngMs > 0) return { requeueAfterMs: youngMs }
  if (await isThere(dependencies, orphans, uid)) return {}
  for (const [kind, object] of orphans) {
    await client.delete(kind, keyOf(object), { uid: object.metadata.uid })
    log.info({ kind: kind.kind, temporary: keyOf(object) }, 'temporary object deleted, its claim is gone')
  }
  return {}
}

function bornAt({ creationTimestamp = '' }: KubeObject['metadata']): number {
  return Date.parse(creationTimestamp) || 0
}

/** Whether the API server knows the claim by the name that one of its objects remembers. */
async function isThere(
  { client }: OrphanDependencies,
  orphans: readonly (readonly [Kind, KubeObject])[],
  uid: string,
): Promise<boolean> {
  for (const [, object] of orphans) {
    const home = annotationOf(object, annotations.eventSource)
    const claim = home === undefined ? undefined : await client.get(kinds.pvc, parseKey(home))
    if (claim?.metadata.uid === uid) return true
  }
  return false
}
