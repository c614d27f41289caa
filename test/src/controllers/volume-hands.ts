/**
 * Does by hand, for the whole cluster, what Kubernetes does about volumes and garbage: provisioning, binding, protection of
 * claims that pods use, and the end of volumes without a claim: one that its policy does not keep is deleted, and its data
 * would be lost.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/api/kinds.ts'
import { isConflict, isNotFound } from '../../../src/kube/api-error.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import { keyOf } from '../../../src/kube/object.ts'
import type { Kind, KubeObject } from '../../../src/kube/object.ts'
import { controllerOf } from '../../../src/kube/owners.ts'

/** Finalizers of others, whom the hands play; ours is for the controllers to take off. */
const isForeign = (finalizer: string): boolean => !finalizer.startsWith('cdi.kubevirt.io/')

export class VolumeHands implements AsyncDisposable {
  readonly #client: KubeClient
  readonly #stop = new AbortController()
  readonly #work: Promise<void>
  /** While set, no claim is bound. */
  isBindingHeld = false

  constructor(client: KubeClient) {
    this.#client = client
    this.#work = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#work
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const [{ items: claims }, { items: pods }] = await Promise.all([
        this.#client.list(kinds.pvc),
        this.#client.list(kinds.pod),
      ])
      // Listed after the claims: a volume that a listed claim is bound to is there.
      const { items: volumes } = await this.#client.list(kinds.pv)
      for (const claim of claims) await this.#tidy(() => this.#claim(claim, volumes, pods))
      for (const volume of volumes) await this.#tidy(() => this.#volume(volume))
      await this.#tidy(() => this.#garbage())
      await delay(10)
    }
  }

  /** Others write too: whatever changed meanwhile is done in the next round. */
  async #tidy(task: () => Promise<void>): Promise<void> {
    try {
      await task()
    } catch (error) {
      if (!isConflict(error) && !isNotFound(error)) throw error
    }
  }

  async #claim(
    claim: PersistentVolumeClaim,
    volumes: readonly PersistentVolume[],
    pods: readonly Pod[],
  ): Promise<void> {
    if (claim.metadata.deletionTimestamp) {
      const isUsed = pods.some(({ metadata, spec }) => {
        const names = (spec?.volumes ?? []).map(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName)
        return metadata.namespace === claim.metadata.namespace && names.includes(claim.metadata.name)
      })
      if (!isUsed) await this.#release(kinds.pvc, claim)
      return
    }
    if (claim.status?.phase === 'Bound' || this.isBindingHeld) return
    const { namespace, name, uid } = claim.metadata
    const { volumeName } = claim.spec ?? {}
    const volume = volumes.find(({ metadata, spec }) => {
      const holder = spec?.claimRef
      const isPromised = holder?.namespace === namespace && holder?.name === name && (!holder.uid || holder.uid === uid)
      return isPromised && (volumeName === undefined || volumeName === metadata.name)
    })
    if (volume) await this.#bind(claim, volume)
    else if (!volumeName && !claim.spec?.dataSourceRef) await this.#provision(claim)
  }

  async #provision(claim: PersistentVolumeClaim): Promise<void> {
    const { name, namespace, uid } = claim.metadata
    const { accessModes, volumeMode, storageClassName, resources } = claim.spec ?? {}
    await this.#client.create(kinds.pv, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: { name: `pv-${uid}` },
      spec: {
        accessModes: accessModes ?? [],
        capacity: { storage: resources?.requests?.['storage'] ?? '1Mi' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid },
        persistentVolumeReclaimPolicy: 'Delete',
        ...(storageClassName ? { storageClassName } : {}),
        ...(volumeMode ? { volumeMode } : {}),
        csi: { driver: 'csi.example', volumeHandle: uid },
      },
    })
  }

  async #bind(claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
    const { uid, resourceVersion } = claim.metadata
    const claimRef = { uid, resourceVersion }
    await this.#merge(kinds.pv, volume, {
      metadata: { resourceVersion: volume.metadata.resourceVersion },
      spec: { claimRef },
    })
    await this.#phase(kinds.pv, volume, 'Bound')
    await this.#merge(kinds.pvc, claim, {
      metadata: { annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } },
      spec: { volumeName: volume.metadata.name },
    })
    await this.#phase(kinds.pvc, claim, 'Bound')
  }

  async #volume(volume: PersistentVolume): Promise<void> {
    if (volume.metadata.deletionTimestamp) return this.#release(kinds.pv, volume)
    const { namespace, name = '', uid } = volume.spec?.claimRef ?? {}
    const claim = await this.#client.get(kinds.pvc, { ...(namespace ? { namespace } : {}), name })
    if (!uid) return claim ? undefined : this.#phase(kinds.pv, volume, 'Available')
    if (claim?.metadata.uid === uid) return undefined
    const { resourceVersion } = volume.metadata
    if (volume.spec?.persistentVolumeReclaimPolicy !== 'Delete') return this.#phase(kinds.pv, volume, 'Released')
    await this.#client.delete(kinds.pv, keyOf(volume), { resourceVersion })
  }

  /** Deletes what has lost its owner. */
  async #garbage(): Promise<void> {
    const kindsOfDependents: readonly Kind[] = [kinds.pvc, kinds.objectTransfer]
    // Before their owners: an owner is there before its dependents.
    const lists = await Promise.all(kindsOfDependents.map((kind) => this.#client.list(kind)))
    const owners = [
      ...(await this.#client.list(kinds.dataVolume)).items,
      ...(await this.#client.list(kinds.objectTransfer)).items,
      ...(await this.#client.list(kinds.pvc)).items,
    ]
    const alive = new Set(owners.map(({ metadata }) => metadata.uid))
    for (const [index, kind] of kindsOfDependents.entries()) {
      for (const object of lists[index]?.items ?? []) {
        const owner = controllerOf(object)
        if (!owner || alive.has(owner.uid) || object.metadata.deletionTimestamp) continue
        const { resourceVersion } = object.metadata
        await this.#client.delete(kind, keyOf(object), { resourceVersion })
      }
    }
  }

  async #release(kind: Kind, object: KubeObject): Promise<void> {
    const { resourceVersion, finalizers = [] } = object.metadata
    if (!finalizers.some(isForeign)) return
    const kept = finalizers.filter((finalizer) => !isForeign(finalizer))
    await this.#merge(kind, object, { metadata: { resourceVersion, finalizers: kept } })
  }

  async #phase(kind: Kind, object: KubeObject & { status?: unknown }, phase: string): Promise<void> {
    if ((object.status as { phase?: string } | undefined)?.phase === phase) return
    const options = { type: 'merge', subresource: 'status' } as const
    await this.#client.patch(kind, keyOf(object), { status: { phase } }, options)
  }

  async #merge(kind: Kind, object: KubeObject, body: object): Promise<void> {
    await this.#client.patch(kind, keyOf(object), body, { type: 'merge' })
  }
}
