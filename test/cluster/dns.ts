/** Cluster DNS: CoreDNS as a Deployment of one. */
import { readFile } from 'node:fs/promises'
import type { Kubectl } from './kubectl.ts'

export async function installDns(kubectl: Kubectl): Promise<void> {
  await kubectl.apply(await readFile(new URL('manifests/coredns.yaml', import.meta.url), 'utf8'))
}
