/** The one way in which claims are changed here. */
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import type { KubeClient } from '../../kube/client.ts'
import { keyOf } from '../../kube/object.ts'
import type { MapPatch } from './annotated.ts'
import { isEmpty } from './annotated.ts'
import type { OwnWrites } from './own-writes.ts'

/**
 * Changes annotations and labels of a claim as it was read; with nothing to change it is returned as it is. Throws a
 * conflict if somebody has changed it meanwhile, so that what was decided holds for what is written.
 */
export async function patchClaim(
  { client, ownWrites }: { client: Pick<KubeClient, 'patch'>; ownWrites: OwnWrites },
  claim: PersistentVolumeClaim,
  { annotations = {}, labels = {} }: { annotations?: MapPatch; labels?: Readonly<Record<string, string>> },
): Promise<PersistentVolumeClaim> {
  if (isEmpty(annotations) && isEmpty(labels)) return claim
  const metadata = {
    resourceVersion: claim.metadata.resourceVersion,
    ...(isEmpty(annotations) ? {} : { annotations }),
    ...(isEmpty(labels) ? {} : { labels }),
  }
  const written = await client.patch(kinds.pvc, keyOf(claim), { metadata }, { type: 'merge' })
  ownWrites.wrote(written)
  return written
}
