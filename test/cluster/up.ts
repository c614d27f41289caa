/** Starts the embedded cluster; steps that are done already are skipped. */
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { startControlPlane } from './control-plane.ts'
import { installDns } from './dns.ts'
import { cleanUp } from './down.ts'
import { kubectlIn, type Kubectl } from './kubectl.ts'
import { kubeconfigPath, stateDir } from './layout.ts'
import { makeNetwork } from './network.ts'
import { nodeIsReady, startContainerd, startNode } from './node.ts'
import { holdMachine, readOwner, writeOwner } from './ownership.ts'
import { makePki } from './pki.ts'
import { isRunning, knownPrograms } from './processes.ts'
import { allPrograms } from './programs.ts'
import { startRegistry } from './registry.ts'
import { say } from './say.ts'
import { startStorage } from './storage.ts'
import { waitFor } from './wait-for.ts'

/** Everything that runs when the cluster is up. */
export const clusterPrograms = [
  'containerd',
  'csi-driver',
  'csi-provisioner',
  'csi-resizer',
  'csi-snapshotter',
  'etcd',
  'kube-apiserver',
  'kube-controller-manager',
  'kube-proxy',
  'kube-scheduler',
  'kubelet',
  'registry',
  'snapshot-controller',
] as const

/**
 * Leaves a whole, ready cluster of this state directory. One of another checkout is stopped first; what a crash or a
 * power loss left is cleaned away, and the cluster is made anew, because etcd did not sync.
 */
export async function up(state: string = stateDir()): Promise<Kubectl> {
  const programs = await allPrograms()
  await using _held = await holdMachine()
  const kubectl = kubectlIn(programs.kubectl, kubeconfigPath(state))
  const owner = await readOwner()
  if (owner?.state === state && (await isWhole(kubectl))) {
    say(`the cluster is up: ${kubeconfigPath(state)}`)
    return kubectl
  }
  if (owner !== undefined) {
    const alive = (await Promise.all((await knownPrograms()).map(isRunning))).filter(Boolean).length
    if (owner.state !== state) say(`a cluster of ${owner.state} has the machine (${alive} programs): stopping it`)
    else say(`the cluster of this directory is not whole (${alive} programs): making it anew`)
    await cleanUp(owner.state)
  }
  if (owner?.state !== state) await cleanUp(state)
  // Logs of the cluster before stay readable until the next one starts.
  await rm(join(state, 'log'), { recursive: true, force: true })
  await mkdir(state, { recursive: true })
  await writeOwner({ state, since: new Date().toISOString() })

  const pki = join(state, 'pki')
  const logDir = join(state, 'log')
  say('network, certificates')
  await makeNetwork()
  await makePki({ dir: pki, state })
  say('control plane, containerd, registry')
  const options = { programs, state, pki, logDir }
  await Promise.all([
    startControlPlane({ binDir: programs.kubernetes, state, pki, logDir, kubectl }),
    startContainerd(options),
    startRegistry({ state, logDir }),
  ])
  say('node, storage, DNS')
  await startNode({ ...options, kubectl })
  await installDns(kubectl)
  await waitFor({ what: 'the node', timeoutMs: 120_000 }, () => nodeIsReady(kubectl))
  await startStorage({ programs, state, logDir, kubectl })
  await kubectl.run(['-n', 'kube-system', 'rollout', 'status', 'deployment/coredns', '--timeout=120s'])
  say(`the cluster is up: KUBECONFIG=${kubeconfigPath(state)}`)
  return kubectl
}

async function isWhole(kubectl: Kubectl): Promise<boolean> {
  for (const name of clusterPrograms) if (!(await isRunning(name))) return false
  return await nodeIsReady(kubectl).catch(() => false)
}
