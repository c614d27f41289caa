/** A quota in a control plane that has no quota controller: its status is written here. */
import { kinds } from '../../../src/api/kinds.ts'
import type { KubeClient } from '../../../src/kube/client.ts'

export interface Quota {
  /** Lets in as much as this. */
  raise(to: Record<string, string>): Promise<void>
}

/** The quota `limit`, in force when this resolves; what counts as used is what the tests say, and admission from then on. */
export async function limit(
  client: KubeClient,
  namespace: string,
  { hard, used }: { hard: Record<string, string>; used?: Record<string, string> },
): Promise<Quota> {
  const key = { namespace, name: 'limit' }
  const unused = Object.fromEntries(Object.keys(hard).map((resource) => [resource, '0']))
  await client.create(kinds.resourceQuota, {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: key,
    spec: { hard },
  })
  const write = (status: object): Promise<unknown> =>
    client.patch(kinds.resourceQuota, key, { status }, { type: 'merge', subresource: 'status' })
  await write({ hard, used: used ?? unused })
  return {
    raise: async (to) => {
      await client.patch(kinds.resourceQuota, key, { spec: { hard: to } }, { type: 'merge' })
      await write({ hard: to })
    },
  }
}
