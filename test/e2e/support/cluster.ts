/**
 * The cluster that the tests run against: the one of `KUBECONFIG`, else the embedded one. The service must be installed
 * (`npm start` does it); nothing here changes what is cluster-wide.
 */
import { existsSync } from 'node:fs'
import { kinds } from '../../../src/api/kinds.ts'
import { connect } from '../../../src/kube/client.ts'
import type { ConnectedClient } from '../../../src/kube/client.ts'
import { hostAddress, kubeconfigPath } from '../../cluster/layout.ts'

export interface TestCluster extends AsyncDisposable {
  readonly kube: ConnectedClient
  /** Image of the service; it has bash, coreutils and qemu-img and serves the tests' own pods too. */
  readonly image: string
  /** Address of this machine as pods see it. */
  readonly hostAddress: string
}

/** Namespace that the service is installed in. */
export const installNamespace = 'cdi'

/** StorageClasses of the embedded cluster (docs/design/0003). */
export const classes = {
  immediate: 'csi-immediate',
  waitForFirstConsumer: 'csi-wffc',
  /** Of the same driver as the first one, with another file system. */
  xfs: 'csi-xfs',
  /** Without a CSI driver: the direct path. */
  local: 'local',
} as const

/** Connects; rejects with what to do if there is no cluster or no service in it. */
export async function openCluster(): Promise<TestCluster> {
  const kubeconfig = process.env['KUBECONFIG'] ?? kubeconfigPath()
  if (!existsSync(kubeconfig)) throw new Error('no cluster: run `npm start` or set KUBECONFIG')
  const kube = connect({ kubeconfig, userAgent: 'cdi-e2e' })
  const deployment = await kube.get(kinds.deployment, { namespace: installNamespace, name: 'cdi-deployment' })
  const image = deployment?.spec?.template.spec?.containers[0]?.env?.find(
    ({ name }) => name === 'IMPORTER_IMAGE',
  )?.value
  if (image === undefined) {
    await kube.close()
    throw new Error('the service is not installed in this cluster: run `npm start`')
  }
  return {
    kube,
    image,
    hostAddress: process.env['CDI_TEST_HOST'] ?? hostAddress,
    [Symbol.asyncDispose]: () => kube.close(),
  }
}
