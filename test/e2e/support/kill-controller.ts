import { kinds } from '../../../src/api/kinds.ts'
import { waitFor } from '../../cluster/wait-for.ts'
import { installNamespace } from './cluster.ts'
import type { Scene } from './scene.ts'

/** Kills the controller; its Deployment starts another one. Of several tests that do so at once each kills one. */
export async function killController({ cluster: { kube } }: Pick<Scene, 'cluster'>): Promise<void> {
  const labelSelector = 'cdi.kubevirt.io=cdi-deployment'
  const items = await waitFor({ what: 'a controller to kill', timeoutMs: 60_000 }, async () => {
    const found = await kube.list(kinds.pod, { namespace: installNamespace, labelSelector })
    return found.items.length > 0 && found.items
  })
  for (const { metadata } of items) {
    await kube.delete(kinds.pod, { namespace: installNamespace, name: metadata.name }, { gracePeriodSeconds: 0 })
  }
}
