import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { validateCdi } from '../../../../src/apiserver/admission/cdi.ts'
import type { KubeClient, ListOptions } from '../../../../src/kube/client.ts'
import type { Kind, KubeObject } from '../../../../src/kube/object.ts'
import { request, told } from './requests.ts'

const { signal } = new AbortController()

describe('the deletion of the installation', () => {
  const list = (count: number): { lists: ListOptions[]; client: Pick<KubeClient, 'get' | 'list'> } => {
    const lists: ListOptions[] = []
    const items = Array.from({ length: count }, (_, at) => ({ metadata: { name: `dv${at}` } }))
    return {
      lists,
      client: {
        get: async () => undefined,
        list: async <T extends KubeObject>(_: Kind<T>, options: ListOptions = {}) => {
          lists.push(options)
          return { items: items as unknown as T[], resourceVersion: '1' }
        },
      },
    }
  }
  const deletion = (cdi: unknown): ReturnType<typeof request> =>
    request('cdis', { operation: 'DELETE', name: 'cdi', oldObject: cdi })
  const cdi = (phase: string, uninstallStrategy?: string): object => ({
    metadata: { name: 'cdi' },
    spec: { uninstallStrategy },
    status: { phase },
  })
  const blocked = (n: number): string =>
    `400:rejecting the uninstall request, since there are still ${n} DataVolumes present. Either delete all DataVolumes or change the uninstall strategy before uninstalling CDI`

  it('is blocked while DataVolumes are there that no DataImportCron makes anew', async () => {
    const { client, lists } = list(2)
    const verdict = await validateCdi(deletion(cdi('Deployed', 'BlockUninstallIfWorkloadsExist')), { client }, signal)
    assert.equal(told(verdict), blocked(2))
    assert.deepEqual(lists, [{ labelSelector: '!cdi.kubevirt.io/dataImportCron', limit: 2, signal }])
  })

  const rows: [string, object, number, string][] = [
    ['is blocked by one DataVolume', cdi('Deployed', 'BlockUninstallIfWorkloadsExist'), 1, blocked(1)],
    ['is allowed when there is none', cdi('Deployed', 'BlockUninstallIfWorkloadsExist'), 0, 'admitted'],
    ['is allowed by the usual strategy', cdi('Deployed'), 2, 'admitted'],
    ['is allowed by the strategy RemoveWorkloads', cdi('Deployed', 'RemoveWorkloads'), 2, 'admitted'],
    ['is allowed before anything was installed', cdi('', 'BlockUninstallIfWorkloadsExist'), 2, 'admitted'],
    ['is allowed in phase Error', cdi('Error', 'BlockUninstallIfWorkloadsExist'), 2, 'admitted'],
  ]
  for (const [name, object, count, expected] of rows) {
    it(name, async () => {
      assert.equal(told(await validateCdi(deletion(object), list(count), signal)), expected)
    })
  }

  it('is judged by the object in the cluster when the request does not bring it', async () => {
    const { client } = list(1)
    const get = async <T extends KubeObject>(): Promise<T> => cdi('Deployed', 'BlockUninstallIfWorkloadsExist') as T
    const verdict = await validateCdi(deletion(null), { client: { ...client, get } }, signal)
    assert.equal(told(verdict), blocked(1))
  })
})
