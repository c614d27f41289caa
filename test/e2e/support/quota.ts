/** Quotas that are in force by the time that a test goes on. */
import { kinds } from '../../../src/api/kinds.ts'
import { waitFor } from '../../cluster/wait-for.ts'
import type { Scene } from './scene.ts'

/** More storage than any test uses, for quotas that are about something else; and what no quota here admits. */
const [plenty, tooMuch] = ['1Ti', '2Ti'] as const

/**
 * Limits what may be in the scene's namespace, by the ResourceQuota `quota`. The API server hears of quotas by a watch of its
 * own, which may be behind what a quota says of itself; so each limits storage as well, and a claim that asks for more is
 * tried until it is refused.
 */
export async function limit(scene: Scene, hard: Readonly<Record<string, string>>): Promise<void> {
  await scene.create(kinds.resourceQuota, {
    apiVersion: 'v1',
    kind: 'ResourceQuota',
    metadata: { name: 'quota' },
    spec: { hard: { 'requests.storage': plenty, ...hard } },
  })
  const trial = {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name: 'trial' },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: tooMuch } } },
  }
  const path = `/api/v1/namespaces/${scene.namespace}/persistentvolumeclaims?dryRun=All`
  await waitFor({ what: 'the quota to be in force', timeoutMs: 120_000 }, async () => {
    const { status, body } = await scene.cluster.kube.raw('POST', path, trial)
    return status === 403 && JSON.stringify(body).includes('exceeded quota')
  })
}
