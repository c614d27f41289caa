/** Registries on this machine that pods reach, and the addresses at which they are told not to verify anything. */
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import { startDockerRegistry } from '../../fixtures/docker-registry.ts'
import type { DockerRegistry, DockerRegistryOptions } from '../../fixtures/docker-registry.ts'
import type { TestCluster } from './cluster.ts'
import { startRelay } from './relay.ts'
import type { Relay } from './relay.ts'
import type { Stage } from './stage.ts'

export interface PodRegistry extends Pick<DockerRegistry, 'push' | 'port'> {
  /** How pods reach it. */
  readonly relay: Relay
  /** The URL of an image: `docker://HOST:PORT/NAME`. */
  url(name: string): string
}

/** Starts a registry that lives as long as the stage. */
export async function openRegistry(
  { cluster, keep }: Pick<Stage, 'cluster' | 'keep'>,
  options: DockerRegistryOptions = {},
): Promise<PodRegistry> {
  const registry = keep(await startDockerRegistry(options))
  return registryBehind(registry, keep(await startRelay(cluster, registry.port)))
}

/** The same registry at another address. */
export function registryBehind({ push, port }: Pick<PodRegistry, 'push' | 'port'>, relay: Relay): PodRegistry {
  return { push, port, relay, url: (name) => `docker://${relay.host}/${name}` }
}

/**
 * Puts entries on the list of registries that are not verified, until disposed of. Other tests do not notice: the entries
 * are of servers that nobody else knows.
 */
export async function trustBlindly(
  { kube }: Pick<TestCluster, 'kube'>,
  entries: readonly string[],
): Promise<AsyncDisposable> {
  const key = { name: 'cdi' }
  const listed = async (): Promise<readonly string[]> =>
    (await kube.get(kinds.cdi, key))?.spec.config?.insecureRegistries ?? []
  const list = async (insecureRegistries: readonly string[]): Promise<void> => {
    await kube.patch(kinds.cdi, key, { spec: { config: { insecureRegistries } } }, { type: 'merge' })
  }
  await list([...(await listed()), ...entries])
  for (let tries = 0; tries < 1200; tries += 1) {
    const config = await kube.get(kinds.cdiConfig, { name: 'config' })
    if (entries.every((entry) => config?.spec.insecureRegistries?.includes(entry))) {
      return {
        [Symbol.asyncDispose]: async () => list((await listed()).filter((entry) => !entries.includes(entry))),
      }
    }
    await delay(100)
  }
  throw new Error('the list of insecure registries did not come into force')
}
