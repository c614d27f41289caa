/**
 * The node's network: a namespace of its own, joined to the machine by one veth pair. Nothing is forwarded and no rule
 * is made outside the namespace; the machine gets two routes, so that tests reach pods and services directly.
 */
import { execa } from 'execa'
import { hostAddress, hostLink, namespace, nodeAddress, podRange, serviceRange } from './layout.ts'

const ip = async (...args: string[]): Promise<string> => (await execa('ip', args)).stdout

export async function makeNetwork(): Promise<void> {
  if (await networkExists()) return
  const inUse = await ip('-o', '-4', 'addr', 'show', 'to', `${hostAddress}/24`)
  if (inUse !== '') throw new Error(`${hostAddress}/24 is in use on this machine:\n${inUse}`)
  await ip('netns', 'add', namespace)
  try {
    await ip('link', 'add', hostLink, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace)
    await ip('addr', 'add', `${hostAddress}/24`, 'dev', hostLink)
    await ip('link', 'set', hostLink, 'up')
    await ip('-n', namespace, 'link', 'set', 'lo', 'up')
    await ip('-n', namespace, 'addr', 'add', `${nodeAddress}/24`, 'dev', 'eth0')
    await ip('-n', namespace, 'link', 'set', 'eth0', 'up')
    // Service addresses need a route before kube-proxy's rules see the packet.
    await ip('-n', namespace, 'route', 'add', 'default', 'via', hostAddress)
    for (const setting of ['net.ipv4.ip_forward=1', 'net.bridge.bridge-nf-call-iptables=1']) {
      // The second exists only where the bridge netfilter module is loaded, and is needed only there.
      await execa('nsenter', [`--net=/run/netns/${namespace}`, 'sysctl', '-qw', setting], { reject: false })
    }
    for (const range of [serviceRange, podRange]) await ip('route', 'replace', range, 'via', nodeAddress)
  } catch (error) {
    await removeNetwork()
    throw error
  }
}

export async function networkExists(): Promise<boolean> {
  const names = await ip('netns', 'list')
  return names.split('\n').some((line) => line.split(' ')[0] === namespace)
}

/** Deleting one end of the pair deletes the other, its addresses and the routes over it. */
export async function removeNetwork(): Promise<void> {
  await execa('ip', ['link', 'delete', hostLink], { reject: false })
  if (await networkExists()) await ip('netns', 'delete', namespace)
}
