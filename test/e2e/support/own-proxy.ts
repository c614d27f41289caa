/**
 * An upload proxy of a test's own, made from the template of the installed one, so that it can be killed without
 * disturbing the uploads of other tests.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import type { Pod } from '../../../src/api/kinds.ts'
import type { NewObject } from '../../../src/kube/object.ts'
import { installNamespace } from './cluster.ts'
import type { TestCluster } from './cluster.ts'
import { wayTo } from './proxy.ts'
import type { Address } from './proxy.ts'

export interface OwnProxy extends AsyncDisposable {
  /** Where the pod that is there now is reached. */
  readonly address: Address
  /** Kills the pod and puts another one in its place; gives its address. */
  replace(): Promise<Address>
}

const patienceMs = 120_000

export async function startOwnProxy({ kube }: Pick<TestCluster, 'kube'>): Promise<OwnProxy> {
  const things = new AsyncDisposableStack()
  let name = ''
  let address: Address

  const start = async (): Promise<Address> => {
    const manifest = await template({ kube })
    name = manifest.metadata.name ?? ''
    await kube.create(kinds.pod, manifest)
    const end = performance.now() + patienceMs
    for (;;) {
      const pod = await kube.get(kinds.pod, { namespace: installNamespace, name })
      const isReady = pod?.status?.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True')
      if (isReady && pod?.status?.podIP) {
        const direct = { host: pod.status.podIP, port: 8443 }
        return wayTo(things, direct, { namespace: installNamespace, target: `pod/${name}`, port: 8443 })
      }
      if (performance.now() > end) throw new Error(`the proxy ${name} did not become ready`)
      await delay(200)
    }
  }
  const kill = (): Promise<boolean> =>
    kube.delete(kinds.pod, { namespace: installNamespace, name }, { gracePeriodSeconds: 0 })

  address = await start()
  return {
    get address() {
      return address
    },
    async replace() {
      await kill()
      address = await start()
      return address
    },
    async [Symbol.asyncDispose]() {
      await kill()
      await things.disposeAsync()
    },
  }
}

async function template({ kube }: Pick<TestCluster, 'kube'>): Promise<NewObject<Pod>> {
  const deployment = await kube.get(kinds.deployment, { namespace: installNamespace, name: 'cdi-uploadproxy' })
  const spec = deployment?.spec?.template.spec
  if (!spec) throw new Error('there is no Deployment of the upload proxy')
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `e2e-proxy-${randomBytes(5).toString('hex')}`,
      namespace: installNamespace,
      // None that a Service selects by.
      labels: { 'cdi-e2e': '' },
    },
    spec,
  }
}
