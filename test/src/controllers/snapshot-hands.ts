/** Does by hand what the snapshot controller and a driver's snapshotter do, in one namespace. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parse } from 'yaml'
import { kinds } from '../../../src/api/kinds.ts'
import type { CustomResourceDefinition, VolumeSnapshot } from '../../../src/api/kinds.ts'
import { isConflict, isNotFound } from '../../../src/kube/api-error.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import { keyOf } from '../../../src/kube/object.ts'
import type { NewObject } from '../../../src/kube/object.ts'
import { builtPrograms } from '../../cluster/programs.ts'
import { eventually } from './control-plane.ts'

/** Installs the CRDs of snapshots, as the external snapshotter brings them. */
export async function installSnapshots(client: KubeClient): Promise<void> {
  const dir = join(await builtPrograms('csi-snapshotter-resizer'), 'crds')
  for (const file of await readdir(dir)) {
    const crd = parse(await readFile(join(dir, file), 'utf8')) as NewObject<CustomResourceDefinition>
    await client.create(kinds.customResourceDefinition, crd)
  }
  await eventually('snapshots are served', async () => {
    await client.list(kinds.volumeSnapshot)
    await client.list(kinds.volumeSnapshotClass)
    await client.list(kinds.volumeSnapshotContent)
    return true
  })
}

/** Takes every snapshot of a bound claim at once; works until it is disposed of. */
export class SnapshotHands implements AsyncDisposable {
  readonly #client: KubeClient
  readonly #namespace: string
  readonly #stop = new AbortController()
  readonly #work: Promise<void>

  constructor({ client, namespace }: { client: KubeClient; namespace: string }) {
    this.#client = client
    this.#namespace = namespace
    this.#work = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#work
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const { items } = await this.#client.list(kinds.volumeSnapshot, { namespace: this.#namespace })
      for (const snapshot of items) {
        if (snapshot.status?.readyToUse) continue
        await this.#take(snapshot).catch((error: unknown) => {
          if (!isConflict(error) && !isNotFound(error)) throw error
        })
      }
      await delay(10)
    }
  }

  async #take(snapshot: VolumeSnapshot): Promise<void> {
    const { namespace = '', name, uid } = snapshot.metadata
    const claim = await this.#client.get(kinds.pvc, {
      namespace,
      name: snapshot.spec.source.persistentVolumeClaimName ?? '',
    })
    const capacity = claim?.status?.capacity?.['storage']
    if (!claim || capacity === undefined) return
    const content = `content-${uid}`
    const spec = {
      driver: 'csi.example',
      deletionPolicy: 'Delete',
      source: { volumeHandle: claim.metadata.uid },
      sourceVolumeMode: claim.spec?.volumeMode === 'Block' ? 'Block' : 'Filesystem',
      volumeSnapshotRef: { namespace, name, uid },
    } as const
    await this.#client.create(kinds.volumeSnapshotContent, {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshotContent',
      metadata: { name: content },
      spec,
    })
    const status = {
      boundVolumeSnapshotContentName: content,
      creationTime: '2026-01-01T00:00:00Z',
      readyToUse: true,
      restoreSize: capacity,
    }
    await this.#client.patch(
      kinds.volumeSnapshot,
      keyOf(snapshot),
      { status },
      { type: 'merge', subresource: 'status' },
    )
  }
}
