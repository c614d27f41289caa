/** The one way in which the metadata of DataVolumes is changed here. */
import { kinds } from '../../api/kinds.ts'
import type { DataVolume } from '../../api/kinds.ts'
import { keyOf } from '../../kube/object.ts'
import { isEmpty } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import type { Dependencies } from '../shared/dependencies.ts'

/**
 * Changes annotations, labels and (as a whole) finalizers of a DataVolume as it was read; with nothing to change it is
 * returned as it is. Throws a conflict if somebody has changed it meanwhile.
 */
export async function patchDataVolume(
  { client, ownWrites }: Pick<Dependencies, 'client' | 'ownWrites'>,
  dataVolume: DataVolume,
  {
    annotations = {},
    labels = {},
    finalizers,
  }: {
    readonly annotations?: MapPatch
    readonly labels?: Readonly<Record<string, string>>
    readonly finalizers?: readonly string[] | undefined
  },
): Promise<DataVolume> {
  if (isEmpty(annotations) && isEmpty(labels) && !finalizers) return dataVolume
  const { resourceVersion } = dataVolume.metadata
  const written = await client.patch(
    kinds.dataVolume,
    keyOf(dataVolume),
    { metadata: { annotations, labels, resourceVersion, ...(finalizers ? { finalizers } : {}) } },
    { type: 'merge' },
  )
  ownWrites.wrote(written)
  return written
}
