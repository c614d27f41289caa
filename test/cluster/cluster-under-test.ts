/**
 * What cluster tests stand on: the cluster given by KUBECONFIG (with CDI_IMAGE and, if wanted, CDI_TEST_CONTEXT), else
 * the embedded one, which must be up.
 */
import { randomBytes } from 'node:crypto'
import { provideAppImage } from './app-image.ts'
import { kubectlIn, type Kubectl } from './kubectl.ts'
import { kubeconfigPath } from './layout.ts'
import { readOwner } from './ownership.ts'
import { kubectlDir } from './programs.ts'

export interface ClusterUnderTest {
  readonly kubectl: Kubectl
  /** The service's image, as the cluster's nodes pull it. */
  readonly image: string
  /** True for the embedded cluster, whose node is this machine. */
  readonly embedded: boolean
}

/** The cluster given from outside, if there is one. */
export async function givenCluster(): Promise<ClusterUnderTest | undefined> {
  const kubeconfig = process.env['KUBECONFIG']
  if (kubeconfig === undefined || kubeconfig === '' || kubeconfig === kubeconfigPath()) return undefined
  const image = process.env['CDI_IMAGE']
  if (image === undefined) throw new Error('with KUBECONFIG, set CDI_IMAGE to the image that the cluster can pull')
  return { kubectl: kubectlIn(await kubectlDir(), kubeconfig, process.env['CDI_TEST_CONTEXT']), image, embedded: false }
}

export async function clusterUnderTest(): Promise<ClusterUnderTest> {
  const given = await givenCluster()
  if (given !== undefined) return given
  const owner = await readOwner()
  if (owner === undefined) throw new Error('no cluster is up: use npm test -- cluster, or node test/cluster/main.ts up')
  const kubectl = kubectlIn(await kubectlDir(), kubeconfigPath(owner.state))
  return { kubectl, image: process.env['CDI_IMAGE'] ?? (await provideAppImage()), embedded: true }
}

/** A namespace of its own for one test, which refuses pods that are not restricted; deleted with all in it. */
export async function testNamespace(kubectl: Kubectl): Promise<AsyncDisposable & { readonly name: string }> {
  const name = `cdi-test-${randomBytes(4).toString('hex')}`
  await kubectl.create({
    apiVersion: 'v1',
    kind: 'Namespace',
    metadata: { name, labels: { 'pod-security.kubernetes.io/enforce': 'restricted' } },
  })
  return {
    name,
    async [Symbol.asyncDispose]() {
      await kubectl.delete('namespace', name)
    },
  }
}
