/** Storage: the CSI driver and the sidecars that speak for it, snapshot controller, classes. */
import { mkdir, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { driverName } from './csi/driver.ts'
import type { Kubectl } from './kubectl.ts'
import { checkout, csiSocket, kubeconfigPath, kubeletDir, nodeName } from './layout.ts'
import { startProgram } from './processes.ts'
import type { BuildName } from './programs.ts'
import { waitFor } from './wait-for.ts'

export interface StorageOptions {
  readonly programs: Readonly<Record<BuildName, string>>
  readonly state: string
  readonly logDir: string
  readonly kubectl: Kubectl
}

export async function startStorage({ programs, state, logDir, kubectl }: StorageOptions): Promise<void> {
  const crds = join(programs['csi-snapshotter-resizer'], 'crds')
  const definitions = await Promise.all((await readdir(crds)).map((file) => readFile(join(crds, file), 'utf8')))
  await kubectl.apply(definitions.join('\n---\n'))
  const kinds = ['volumesnapshots', 'volumesnapshotcontents', 'volumesnapshotclasses']
  await kubectl.established(kinds.map((kind) => `${kind}.snapshot.storage.k8s.io`))
  await kubectl.apply(await readFile(new URL('manifests/storage.yaml', import.meta.url), 'utf8'))

  const dir = join(state, 'volumes')
  await mkdir(dir, { recursive: true })
  const main = join(checkout, 'test/cluster/csi/main.ts')
  const registration = join(kubeletDir, 'plugins_registry', `${driverName}-reg.sock`)
  await startProgram({
    name: 'csi-driver',
    command: process.execPath,
    args: [main, '--dir', dir, '--node', nodeName, '--socket', csiSocket, '--registration', registration],
    logDir,
  })
  await waitFor({ what: `the CSI driver on node ${nodeName}`, timeoutMs: 60_000 }, async () => {
    const node = await kubectl.get('csinode', nodeName)
    return ((node?.spec?.drivers ?? []) as { name: string }[]).some(({ name }) => name === driverName)
  })

  // Dozens of tests at once would wait for each other behind the five requests in a second that each sidecar may make.
  const client = [`--kubeconfig=${kubeconfigPath(state)}`, '--kube-api-qps=50', '--kube-api-burst=100']
  const connect = [...client, `--csi-address=${csiSocket}`]
  const sidecars = programs['csi-snapshotter-resizer']
  await startProgram({
    name: 'csi-provisioner',
    command: join(programs['csi-provisioner'], 'csi-provisioner'),
    args: [...connect, '--extra-create-metadata', '--feature-gates=Topology=true', '--volume-name-prefix=pvc'],
    logDir,
  })
  await startProgram({ name: 'csi-resizer', command: join(sidecars, 'csi-resizer'), args: connect, logDir })
  // A snapshot that is deleted while it is being taken can be overlooked: the sidecar leaves out the change that ends the
  // taking, and looks again only when it goes through everything, by default each quarter of an hour.
  const goThrough = '--resync-period=10s'
  await startProgram({
    name: 'csi-snapshotter',
    command: join(sidecars, 'csi-snapshotter'),
    args: [...connect, goThrough],
    logDir,
  })
  await startProgram({
    name: 'snapshot-controller',
    command: join(sidecars, 'snapshot-controller'),
    args: [...client, goThrough],
    logDir,
  })
}
