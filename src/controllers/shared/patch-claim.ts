/** The one way in which claims are changed here. */
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import type { KubeClient } from '../../kube/client.ts'
import { keyOf } from '../../kube/object.ts'
import type { MapPatch } from './annotated.ts'
import { isEmpty } from './annotated.ts'
import type { OwnWrites } from './own-writes.ts'

/**
 * Changes annotations, labels and (as a whole) finalizers of a claim as it was read; with nothing to change it is returned
 * as it is. Throws a conflict if somebody has changed it meanwhile, so that what was decided holds for what is written.
 */
export async function patchClaim(
  { client, ownWrites }: { client: Pick<KubeClient, 'patch'>; ownWrites: OwnWrites },
  claim: PersistentVolumeClaim,
  {
    annotations = {},
    labels = {},
    finalizers,
  }: {
    annotations?: MapPatch
    labels?: Readonly<Record<string, string>>
    finalizers?: readonly string[] | undefined
  },
): Promise<PersistentVolumeClaim> {
  if (isEmpty(annotations) && isEmpty(labels) && !finalizers) return claim
  const metadata = {
    resourceVersion: claim.metadata.resourceVersion,
    ...(isEmpty(annotations) ? {} : { annotations }),
    ...(isEmpty(labels) ? {} : { labels }),
    ...(finalizers ? { finalizers } : {}),
  }
  const written = await client.patch(kinds.pvc, keyOf(claim), { metadata }, { type: 'merge' })
  ownWrites.wrote(written)
  return written
}
