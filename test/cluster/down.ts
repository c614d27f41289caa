/** Stops the embedded cluster and removes everything it made, except caches and logs. */
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { containerdSocket, hostAddress, podRange, runDir, serviceRange, stateDir } from './layout.ts'
import {
  detachLoops,
  ourLoops,
  ourMounts,
  podCgroups,
  podPids,
  removeCgroup,
  shimPids,
  unmountAll,
} from './kernel-objects.ts'
import { networkExists, removeNetwork } from './network.ts'
import { holdMachine, readOwner } from './ownership.ts'
import { isRunning, knownPrograms, signal, stopProgram } from './processes.ts'
import { say } from './say.ts'

/** What a cluster with that state directory should have taken with it and did not, in words; empty after a `down`. */
export async function leftovers(state: string = stateDir()): Promise<string[]> {
  const found: string[] = []
  for (const name of await knownPrograms()) found.push(`pid file of ${name}`)
  for (const pid of await podPids()) found.push(`process ${pid} of a pod`)
  for (const dir of await podCgroups()) found.push(`cgroup ${dir}`)
  for (const pid of await shimPids()) found.push(`containerd shim ${pid}`)
  for (const point of await ourMounts(state)) found.push(`mount ${point}`)
  for (const { name } of await ourLoops(state)) found.push(`loop device ${name}`)
  if (await networkExists()) found.push('network namespace')
  const { stdout } = await execa('ip', ['-o', 'addr', 'show', 'to', `${hostAddress}/24`])
  if (stdout !== '') found.push(`link: ${stdout}`)
  for (const range of [serviceRange, podRange]) {
    const routes = await execa('ip', ['route', 'show', range])
    if (routes.stdout !== '') found.push(`route: ${routes.stdout}`)
  }
  for (const entry of await readdir(runDir).catch(() => [])) found.push(join(runDir, entry))
  for (const entry of await readdir(state).catch(() => [])) if (entry !== 'log') found.push(join(state, entry))
  return found
}

/** Stops this state directory's cluster; false if it has none. The cluster of another checkout is left alone. */
export async function down(state: string = stateDir()): Promise<boolean> {
  await using _held = await holdMachine()
  const owner = await readOwner()
  if (owner !== undefined && owner.state !== state) {
    say(`the cluster on this machine belongs to ${owner.state}: left alone`)
    return false
  }
  if (owner === undefined) {
    say('no cluster is up')
    await removeState(state)
    return false
  }
  await cleanUp(state)
  say(`the cluster is down; its logs stay in ${join(state, 'log')}`)
  return true
}

/** Takes away the programs that have pid files and whatever a cluster with that state directory left behind. */
export async function cleanUp(state: string): Promise<void> {
  const names = await knownPrograms()
  const first = ['kubelet', 'kube-proxy', 'kube-controller-manager', 'kube-scheduler', 'csi-provisioner', 'csi-resizer']
  // The kubelet before containers, or it starts them again; containerd after them, because it ends their shims.
  await Promise.all(names.filter((name) => first.includes(name)).map((name) => stopProgram(name)))
  await stopContainers()
  await removeCgroup()
  await Promise.all(names.filter((name) => name !== 'etcd').map((name) => stopProgram(name)))
  await stopProgram('etcd')
  for (const pid of await shimPids()) signal(pid, 'SIGKILL')
  await removeShimSockets(state)
  await unmountAll(state)
  await detachLoops(state)
  await removeNetwork()
  await removeState(state)
  for (const entry of await readdir(runDir).catch(() => [])) {
    if (entry !== 'busy.json') await rm(join(runDir, entry), { recursive: true, force: true })
  }
}

/** Containers end through containerd where it still runs, so that their shims end with them. */
async function stopContainers(): Promise<void> {
  if (!(await isRunning('containerd'))) return
  const ctr = (...args: string[]): Promise<{ readonly stdout?: string }> =>
    execa('ctr', ['--address', containerdSocket, '--namespace', 'k8s.io', ...args], { reject: false, timeout: 20_000 })
  const { stdout = '' } = await ctr('tasks', 'list', '--quiet')
  const ids = stdout.split('\n').filter((id) => id !== '')
  await Promise.all(ids.map((id) => ctr('tasks', 'delete', '--force', id)))
}

/** A shim that was killed leaves its socket in containerd's fixed directory; its bundle says which. */
async function removeShimSockets(state: string): Promise<void> {
  const bundles = join(state, 'containerd/state/io.containerd.runtime.v2.task/k8s.io')
  for (const bundle of await readdir(bundles).catch(() => [])) {
    const address = await readFile(join(bundles, bundle, 'address'), 'utf8').catch(() => '')
    if (address.startsWith('unix:///run/containerd/s/')) await rm(address.slice('unix://'.length), { force: true })
  }
}

async function removeState(state: string): Promise<void> {
  for (const entry of await readdir(state).catch(() => [])) {
    if (entry !== 'log') await rm(join(state, entry), { recursive: true, force: true })
  }
}
