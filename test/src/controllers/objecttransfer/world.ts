/**
 * A cluster in memory for the plans of transfers: the objects, and what Kubernetes and the DataVolume controller do about
 * them, one round at a time. A volume whose claim is gone is deleted unless its policy keeps it, as in a real cluster.
 */
import assert from 'node:assert/strict'
import { kinds } from '../../../../src/api/kinds.ts'
import type {
  DataVolume,
  ObjectTransfer,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
} from '../../../../src/api/kinds.ts'
import { annotations, claimTransferName } from '../../../../src/api/names.ts'
import { isPopulated } from '../../../../src/controllers/clone/source-use.ts'
import { ownershipOf } from '../../../../src/controllers/datavolume/work.ts'
import { planTransfer, statusWith } from '../../../../src/controllers/objecttransfer/plan.ts'
import { noteOf, sourcePlace, targetPlace } from '../../../../src/controllers/objecttransfer/transfer.ts'
import type { Step, TransferObservation, Write } from '../../../../src/controllers/objecttransfer/transfer.ts'
import { isEqual } from '../../../../src/kube/merge-patch.ts'
import { formatKey, keyOf } from '../../../../src/kube/object.ts'
import type { Kind, KubeObject, NewObject, ObjectKey } from '../../../../src/kube/object.ts'
import { controllerOf, controllerRef } from '../../../../src/kube/owners.ts'
import { merged } from '../../../fixtures/memory-api.ts'

export const transferName = 'move'
export const volumeName = 'pv-1'
export const home = { namespace: 'home', name: 'disk' } as const

const now = '2026-01-01T00:00:00Z'

export class World {
  readonly #objects = new Map<string, KubeObject>()
  #serial = 0
  /** Claims that an unfinished pod mounts. */
  readonly #used = new Set<string>()
  /** DataVolumes that would fill their volume anew. */
  readonly refilled: string[] = []
  readonly namespaces = new Set(['home', 'away'])
  /** Whoever binds a volume leaves the claim alone until it is changed. */
  isBinderLazy = false

  get<T extends KubeObject>(kind: Kind<T>, key: ObjectKey): T | undefined {
    return this.#objects.get(idOf(kind, key)) as T | undefined
  }

  all<T extends KubeObject>(kind: Kind<T>): T[] {
    return [...this.#objects.entries()].filter(([id]) => id.startsWith(`${kind.plural} `)).map(([, each]) => each as T)
  }

  create<T extends KubeObject>(kind: Kind<T>, object: NewObject<T>): T {
    const { namespace, name = '' } = object.metadata
    const id = idOf(kind, { ...(namespace ? { namespace } : {}), name })
    assert.ok(!this.#objects.has(id), `${id} is created twice`)
    const uid = `uid-${++this.#serial}`
    return this.#store(id, { ...object, metadata: { ...object.metadata, uid } }) as T
  }

  patch(kind: Kind, key: ObjectKey, body: object): KubeObject {
    const id = idOf(kind, key)
    const before = this.#objects.get(id)
    assert.ok(before, `${id} is patched but not there`)
    const after = merged(before, body) as KubeObject
    const isDone = after.metadata.deletionTimestamp !== undefined && (after.metadata.finalizers ?? []).length === 0
    if (isDone) this.#objects.delete(id)
    return isDone ? after : this.#store(id, after)
  }

  delete(kind: Kind, key: ObjectKey): void {
    const found = this.get(kind, key)
    if (!found || found.metadata.deletionTimestamp) return
    if ((found.metadata.finalizers ?? []).length === 0) this.#objects.delete(idOf(kind, key))
    else this.patch(kind, key, { metadata: { deletionTimestamp: now } })
  }

  /** A pod that mounts a claim comes or goes. */
  use(key: ObjectKey, isUsed: boolean): void {
    if (isUsed) this.#used.add(formatKey(key))
    else this.#used.delete(formatKey(key))
  }

  transfer(name: string = transferName): ObjectTransfer | undefined {
    return this.get(kinds.objectTransfer, { name })
  }

  message(name: string = transferName): string {
    const { status } = this.transfer(name) ?? {}
    const condition = status?.conditions?.[0]
    const reason = condition?.reason ? ` (${condition.reason})` : ''
    return `${status?.phase} ${condition?.status}: ${condition?.message}${reason}`
  }

  observe(transfer: ObjectTransfer): TransferObservation {
    const [from, to] = [sourcePlace(transfer), targetPlace(transfer)]
    const { source, parentName } = transfer.spec
    const ofDataVolume = source.kind === 'DataVolume'
    const claim = this.get(kinds.pvc, from)
    const moving = noteOf(transfer, 'pvName') ?? claim?.spec?.volumeName
    return {
      transfer,
      claim,
      isPopulated: claim !== undefined && isPopulated({ dataVolumes: this.#held(kinds.dataVolume) }, claim),
      users: this.#used.has(formatKey(from)) ? [{} as Pod] : [],
      volume: moving ? this.get(kinds.pv, { name: moving }) : undefined,
      targetClaim: this.get(kinds.pvc, to),
      dataVolume: ofDataVolume ? this.get(kinds.dataVolume, from) : undefined,
      targetDataVolume: ofDataVolume ? this.get(kinds.dataVolume, to) : undefined,
      child: ofDataVolume ? this.transfer(claimTransferName(transfer.metadata.uid)) : undefined,
      parent: parentName ? this.transfer(parentName) : undefined,
      namespace: this.namespaces.has(to.namespace)
        ? { apiVersion: 'v1', kind: 'Namespace', metadata: { name: to.namespace, uid: 'n', resourceVersion: '1' } }
        : undefined,
    }
  }

  /** One step of a transfer; whether it wrote something. A controller that `dies` does so before it writes the status. */
  step(name: string = transferName, { dies = false }: { dies?: boolean } = {}): boolean {
    const transfer = this.transfer(name)
    const step = transfer && planTransfer(this.observe(transfer))
    if (!step) return false
    if (step.write) this.#apply(step.write)
    const told = dies ? false : this.#tell(transfer, step)
    return told || step.write !== undefined
  }

  /** Goes on until nothing happens any more. */
  settle(): void {
    for (let rounds = 0; rounds < 200; rounds++) {
      const steps = this.all(kinds.objectTransfer).map(({ metadata: { name } }) => this.step(name))
      const changed = this.kubernetes()
      if (!steps.some(Boolean) && !changed) return
    }
    assert.fail(`it does not come to rest: ${this.message()}`)
  }

  /** A round of those who look after volumes, garbage and DataVolumes; whether it changed something. */
  kubernetes(): boolean {
    const before = this.#serial
    const size = this.#objects.size
    for (const volume of this.all(kinds.pv)) this.#syncVolume(volume)
    for (const claim of this.all(kinds.pvc)) this.#collect(claim)
    for (const transfer of this.all(kinds.objectTransfer)) this.#collect(transfer)
    for (const dataVolume of this.all(kinds.dataVolume)) this.#syncDataVolume(dataVolume)
    return before !== this.#serial || size !== this.#objects.size
  }

  #syncVolume(volume: PersistentVolume): void {
    const { namespace, name = '', uid } = volume.spec?.claimRef ?? {}
    const claim = namespace ? this.get(kinds.pvc, { namespace, name }) : undefined
    if (uid && claim?.metadata.uid !== uid) {
      if (volume.spec?.persistentVolumeReclaimPolicy === 'Delete') this.delete(kinds.pv, keyOf(volume))
      else this.#change(kinds.pv, volume, { status: { phase: 'Released' } })
      return
    }
    if (!claim) {
      this.#change(kinds.pv, volume, { status: { phase: 'Available' } })
      return
    }
    if (claim.spec?.volumeName !== volume.metadata.name) return
    this.#change(kinds.pv, volume, { spec: { claimRef: { uid: claim.metadata.uid } }, status: { phase: 'Bound' } })
    if (this.isBinderLazy && !claim.metadata.annotations?.[annotations.objectTransferBound]) return
    this.#change(kinds.pvc, claim, {
      metadata: { annotations: { 'pv.kubernetes.io/bind-completed': 'yes' } },
      status: { phase: 'Bound' },
    })
  }

  #collect(object: PersistentVolumeClaim | ObjectTransfer): void {
    const owner = controllerOf(object)
    if (!owner) return
    const alive = [...this.#objects.values()].some(({ metadata }) => metadata.uid === owner.uid)
    if (!alive) this.delete(object.kind === 'ObjectTransfer' ? kinds.objectTransfer : kinds.pvc, keyOf(object))
  }

  /** As the DataVolume controller does it, with adoption allowed. */
  #syncDataVolume(dataVolume: DataVolume): void {
    if (dataVolume.metadata.deletionTimestamp) return
    const target = this.get(kinds.pvc, keyOf(dataVolume))
    if (!target) {
      this.refilled.push(formatKey(keyOf(dataVolume)))
      return
    }
    if (ownershipOf({ dataVolume, target, adoptionGate: true }) === 'free') {
      const ownerReferences = [...(target.metadata.ownerReferences ?? []), controllerRef(dataVolume)]
      this.#change(kinds.pvc, target, { metadata: { ownerReferences } })
    }
    if (
      target.status?.phase === 'Bound' &&
      target.metadata.annotations?.[annotations.populatedFor] === target.metadata.name
    ) {
      this.#change(kinds.dataVolume, dataVolume, { status: { phase: 'Succeeded' } })
    }
  }

  #apply(write: Write): void {
    switch (write.do) {
      case 'create':
        this.create(write.kind, write.object)
        return
      case 'patch':
        this.patch(write.kind, write.key, write.body)
        return
      case 'delete': {
        const found = this.get(write.kind, write.key)
        assert.equal(found?.metadata.uid, write.uid)
        if (write.resourceVersion) assert.equal(found.metadata.resourceVersion, write.resourceVersion)
        this.delete(write.kind, write.key)
        return
      }
      default:
        write satisfies never
    }
  }

  #tell({ metadata: { name } }: ObjectTransfer, { status }: Step): boolean {
    const transfer = this.transfer(name)
    if (!status || !transfer) return false
    return this.#change(kinds.objectTransfer, transfer, { status: statusWith(transfer, status, now) })
  }

  /** Writes only news. */
  #change(kind: Kind, object: KubeObject, body: object): boolean {
    if (isEqual(object, merged(object, body))) return false
    this.patch(kind, keyOf(object), body)
    return true
  }

  #held<T extends KubeObject>(kind: Kind<T>): never {
    return { get: (key: ObjectKey) => this.get(kind, key) } as never
  }

  #store(id: string, object: unknown): KubeObject {
    const stored = structuredClone(object) as KubeObject
    stored.metadata.resourceVersion = String(++this.#serial)
    this.#objects.set(id, stored)
    return stored
  }
}

function idOf(kind: Kind, key: ObjectKey): string {
  return `${kind.plural} ${formatKey(key)}`
}

export interface WorldFacts {
  readonly kind?: 'PersistentVolumeClaim' | 'DataVolume'
  readonly target?: { namespace?: string; name?: string }
  readonly requiredAnnotations?: Record<string, string>
  readonly policy?: string
  readonly isBinderLazy?: boolean
  readonly annotated?: Record<string, string>
  readonly labels?: Record<string, string>
}

/** A bound claim, of a DataVolume that has succeeded if that is to be moved, and the wish to move it. */
export function worldWith({
  kind = 'PersistentVolumeClaim',
  target = { namespace: 'away' },
  requiredAnnotations,
  policy = 'Delete',
  annotated = {},
  labels = { team: 'blue' },
  isBinderLazy = false,
}: WorldFacts = {}): World {
  const world = new World()
  world.isBinderLazy = isBinderLazy
  const dataVolume = kind === 'DataVolume' ? makeDataVolume(world, annotated) : undefined
  const claim = world.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      ...home,
      labels,
      annotations: {
        'pv.kubernetes.io/bind-completed': 'yes',
        ...(dataVolume ? {} : annotated),
      },
      ...(dataVolume ? { ownerReferences: [controllerRef(dataVolume)] } : {}),
    },
    spec: { accessModes: ['ReadWriteOnce'], storageClassName: 'csi', volumeName },
  })
  world.patch(kinds.pvc, home, { status: { phase: 'Bound' } })
  world.create(kinds.pv, {
    apiVersion: 'v1',
    kind: 'PersistentVolume',
    metadata: { name: volumeName },
    spec: { persistentVolumeReclaimPolicy: policy, claimRef: { ...home, uid: claim.metadata.uid } },
  })
  world.patch(kinds.pv, { name: volumeName }, { status: { phase: 'Bound' } })
  world.create(kinds.objectTransfer, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'ObjectTransfer',
    metadata: { name: transferName },
    spec: {
      source: { kind, ...home, ...(requiredAnnotations ? { requiredAnnotations } : {}) },
      target,
    },
  })
  return world
}

function makeDataVolume(world: World, annotated: Record<string, string>): DataVolume {
  world.create(kinds.dataVolume, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { ...home, labels: { team: 'blue' }, annotations: annotated },
    spec: { source: { blank: {} }, storage: {} },
  })
  return world.patch(kinds.dataVolume, home, { status: { phase: 'Succeeded' } }) as DataVolume
}
