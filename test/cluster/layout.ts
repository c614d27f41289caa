/**
 * Where the embedded cluster lives: addresses, names and directories, in one place. The addresses exist only inside the
 * cluster's own network namespace and on the veth pair that leads to it.
 */
import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const checkout = resolve(fileURLToPath(new URL('../..', import.meta.url)))

/** The namespace, and the host's end of the veth pair (15 characters at most). */
export const namespace = 'cdi-cluster'
export const hostLink = 'cdi-host'
export const hostAddress = '10.99.0.1'
export const nodeAddress = '10.99.0.2'
export const serviceRange = '10.96.0.0/16'
export const apiServiceAddress = '10.96.0.1'
export const dnsAddress = '10.96.0.10'
export const podRange = '10.244.0.0/24'
export const nodeName = 'node01'
export const registryPort = 5000
/** What images of the node's own registry are called in pods. */
export const registryName = 'cluster.local'

/**
 * Short and fixed, for two reasons: unix sockets have paths of at most 107 bytes, and whoever starts next finds here
 * what another checkout left running, even if that checkout is gone.
 */
export const runDir = '/run/cdi-cluster'
export const pidDir = join(runDir, 'pids')
/** The kubelet's root; a bind mount of the state directory's. */
export const kubeletDir = join(runDir, 'kubelet')
export const containerdSocket = join(runDir, 'containerd.sock')
export const csiSocket = join(runDir, 'csi.sock')
/** The cgroup under which all pods run, in every hierarchy. */
export const cgroupName = 'cdi-cluster'

/** Built programs, images and package downloads, kept between runs; each entry's name ends in the hash of its inputs. */
export function cacheDir(): string {
  return join(process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'cdi')
}

/** Everything that belongs to one cluster's life: `$CDI_STATE`, else `.state` of the checkout. */
export function stateDir(): string {
  return resolve(process.env['CDI_STATE'] ?? join(checkout, '.state'))
}

/** The administrator's kubeconfig of the embedded cluster. */
export function kubeconfigPath(state: string = stateDir()): string {
  return join(state, 'kubeconfig')
}
