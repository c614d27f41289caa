/**
 * Does by hand what a cluster does around the controllers, on an API server without nodes and controllers of its own:
 * volumes for claims, binding, garbage, and workers whose life a test writes.
 */
import { setTimeout as delay } from 'node:timers/promises'
import { cdiGroup, kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolume, PersistentVolumeClaim, Pod } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import { isConflict, isNotFound } from '../../../src/kube/api-error.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import { keyOf } from '../../../src/kube/object.ts'
import type { Kind, KubeObject } from '../../../src/kube/object.ts'
import { controllerOf } from '../../../src/kube/owners.ts'
import { tryParseQuantity } from '../../../src/quantity.ts'

type ContainerStatus = NonNullable<NonNullable<Pod['status']>['containerStatuses']>[number]

/** A state of a worker's pod: its phase and that of its first container. */
export interface WorkerState {
  readonly phase: string
  /** Absent while no node has the pod. */
  readonly state?: ContainerStatus['state']
  /** Of the container with the user's image, where there is one; absent: as the first. */
  readonly server?: ContainerStatus['state']
  /** No node takes the pod. */
  readonly unschedulable?: boolean
  readonly lastState?: ContainerStatus['lastState']
  readonly restarts?: number
  /** All containers can be sent to. */
  readonly ready?: boolean
  readonly podIP?: string
}

/** Finalizers of others, whom the hands play; ours is for the controllers to take off. */
const isForeign = (finalizer: string): boolean => !finalizer.startsWith('cdi.kubevirt.io/')

/** On a volume that the storage made of something: `<kind> <name>` of it. */
export const madeOf = 'test/made-of'

function isLarger(claim: PersistentVolumeClaim, volume: PersistentVolume): boolean {
  const bytesOf = (text: string | undefined): number => tryParseQuantity(text) ?? 0
  return bytesOf(claim.spec?.resources?.requests?.['storage']) > bytesOf(volume.spec?.capacity?.['storage'])
}

/** What the n-th pod of a claim goes through, one state after the other. */
export type Script = (pod: Pod, nth: number) => readonly WorkerState[]

export const starting: WorkerState = { phase: 'Pending', state: { waiting: { reason: 'ContainerCreating' } } }
export const atWork: WorkerState = { phase: 'Running', state: { running: {} } }
export const serving: WorkerState = { ...atWork, ready: true }

export function ended(exitCode: number, message: string): WorkerState {
  return {
    phase: exitCode === 0 ? 'Succeeded' : 'Running',
    state: { terminated: { exitCode, message, reason: exitCode === 0 ? 'Completed' : 'Error' } },
  }
}

/** The hands of one namespace; they work until they are disposed of. */
export class Hands implements AsyncDisposable {
  readonly #client: KubeClient
  readonly #namespace: string
  readonly #script: Script
  readonly #delayed: readonly string[]
  readonly #stop = new AbortController()
  readonly #work: Promise<void>
  /** Pods by UID: which one of the claim, and the next state. */
  readonly #pods = new Map<string, { nth: number; next: number }>()
  readonly #counts = new Map<string, number>()

  constructor({
    client,
    namespace,
    script,
    delayed = [],
  }: {
    client: KubeClient
    namespace: string
    script: Script
    /** Classes whose volumes are made only for who has a node. */
    delayed?: readonly string[]
  }) {
    this.#client = client
    this.#delayed = delayed
    this.#namespace = namespace
    this.#script = script
    this.#work = this.#run()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await this.#work
  }

  async #run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      await this.#tidy(() => this.#claims())
      await this.#tidy(() => this.#workers())
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

  async #claims(): Promise<void> {
    const { items: claims } = await this.#client.list(kinds.pvc, { namespace: this.#namespace })
    const { items: volumes } = await this.#client.list(kinds.pv)
    for (const claim of claims) {
      if (claim.metadata.deletionTimestamp && claim.metadata.finalizers?.some(isForeign)) await this.#release(claim)
      const volume = volumes.find(({ spec }) => spec?.claimRef?.uid === claim.metadata.uid)
      if (claim.status?.phase === 'Bound') {
        const own = volumes.find((candidate) => candidate.metadata.name === claim.spec?.volumeName)
        if (own && own.spec?.claimRef?.uid !== claim.metadata.uid) await this.#setPhase(claim, 'Lost')
        else if (own && isLarger(claim, own) && (await this.#isMounted(claim))) await this.#grow(claim, own)
      } else if (claim.status?.phase === 'Pending') {
        if (volume) await this.#bind(claim, volume)
        else if (claim.spec?.dataSourceRef?.apiGroup !== cdiGroup && (await this.#hasPlace(claim))) {
          await this.#provision(claim)
        }
      }
    }
  }

  /** Whether the volume may be made: at once, or because somebody who mounts it has a node. */
  async #hasPlace(claim: PersistentVolumeClaim): Promise<boolean> {
    const waits = this.#delayed.includes(claim.spec?.storageClassName ?? '')
    return !waits || claim.metadata.annotations?.[annotations.selectedNode] !== undefined || this.#isMounted(claim)
  }

  async #isMounted({ metadata: { name } }: PersistentVolumeClaim): Promise<boolean> {
    const { items } = await this.#client.list(kinds.pod, { namespace: this.#namespace })
    return items.some(({ spec }) => spec?.volumes?.some((volume) => volume.persistentVolumeClaim?.claimName === name))
  }

  /** A volume grows when it is mounted. */
  async #grow(claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
    const capacity = { storage: claim.spec?.resources?.requests?.['storage'] }
    await this.#client.patch(kinds.pv, keyOf(volume), { spec: { capacity } }, { type: 'merge' })
    await this.#client.patch(
      kinds.pvc,
      keyOf(claim),
      { status: { capacity } },
      { type: 'merge', subresource: 'status' },
    )
  }

  async #provision(claim: PersistentVolumeClaim): Promise<void> {
    const { name, namespace, uid } = claim.metadata
    const { accessModes, volumeMode, storageClassName, resources, dataSourceRef } = claim.spec ?? {}
    await this.#client.create(kinds.pv, {
      apiVersion: 'v1',
      kind: 'PersistentVolume',
      metadata: {
        name: `pv-${uid}`,
        ...(dataSourceRef ? { annotations: { [madeOf]: `${dataSourceRef.kind} ${dataSourceRef.name}` } } : {}),
      },
      spec: {
        accessModes: accessModes ?? [],
        capacity: { storage: resources?.requests?.['storage'] ?? '1Mi' },
        claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', name, namespace, uid },
        ...(storageClassName ? { storageClassName } : {}),
        ...(volumeMode ? { volumeMode } : {}),
        csi: { driver: 'csi.example', volumeHandle: uid },
      },
    })
  }

  async #bind(claim: PersistentVolumeClaim, volume: PersistentVolume): Promise<void> {
    if (claim.spec?.volumeName !== volume.metadata.name) {
      await this.#client.patch(
        kinds.pvc,
        keyOf(claim),
        { spec: { volumeName: volume.metadata.name } },
        { type: 'merge' },
      )
    }
    const status = { phase: 'Bound', capacity: volume.spec?.capacity }
    await this.#client.patch(kinds.pvc, keyOf(claim), { status }, { type: 'merge', subresource: 'status' })
  }

  async #setPhase(claim: PersistentVolumeClaim, phase: string): Promise<void> {
    await this.#client.patch(kinds.pvc, keyOf(claim), { status: { phase } }, { type: 'merge', subresource: 'status' })
  }

  async #release(claim: PersistentVolumeClaim): Promise<void> {
    const { resourceVersion, finalizers = [] } = claim.metadata
    const kept = finalizers.filter((finalizer) => !isForeign(finalizer))
    const metadata = { resourceVersion, finalizers: kept }
    await this.#client.patch(kinds.pvc, keyOf(claim), { metadata }, { type: 'merge' })
  }

  async #workers(): Promise<void> {
    const { items: pods } = await this.#client.list(kinds.pod, { namespace: this.#namespace })
    for (const pod of pods) {
      if (pod.metadata.deletionTimestamp) {
        // Whoever has a node is let go by its kubelet; all others are gone at once.
        if (pod.spec?.nodeName) await this.#client.delete(kinds.pod, keyOf(pod), { gracePeriodSeconds: 0 })
        continue
      }
      const state = this.#nextState(pod)
      if (!state) continue
      await this.#client.patch(
        kinds.pod,
        keyOf(pod),
        {
          status: {
            phase: state.phase,
            conditions: state.unschedulable
              ? [{ type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: 'no node' }]
              : [],
            ...(state.podIP ? { podIP: state.podIP, podIPs: [{ ip: state.podIP }] } : {}),
            ...(state.state ? { containerStatuses: containerStatuses(pod, state, state.state) } : {}),
          },
        },
        { type: 'merge', subresource: 'status' },
      )
    }
  }

  #nextState(pod: Pod): WorkerState | undefined {
    let known = this.#pods.get(pod.metadata.uid)
    if (!known) {
      const nth = this.#counts.get(pod.metadata.name) ?? 0
      this.#counts.set(pod.metadata.name, nth + 1)
      known = { nth, next: 0 }
      this.#pods.set(pod.metadata.uid, known)
    }
    // A script may grow while it is played.
    const state = this.#script(pod, known.nth)[known.next]
    if (state) known.next++
    return state
  }

  /** Deletes what has lost its owner. */
  async #garbage(): Promise<void> {
    const namespace = this.#namespace
    // After what they own: an owner is there before its dependents.
    const dependents = await this.#all(ownedKinds)
    const owners = await this.#all([kinds.pvc, kinds.pod, kinds.dataVolume])
    const alive = new Set(owners.map(({ object }) => object.metadata.uid))
    for (const { kind, object } of dependents) {
      const owner = controllerOf(object)
      const isLost = owner !== undefined && !alive.has(owner.uid) && object.metadata.deletionTimestamp === undefined
      if (isLost) await this.#client.delete(kind, { namespace, name: object.metadata.name })
    }
  }

  async #all(all: readonly Kind[]): Promise<{ kind: Kind; object: KubeObject }[]> {
    const lists = all.map(async (kind) => {
      const { items } = await this.#client.list(kind, { namespace: this.#namespace })
      return items.map((object) => ({ kind, object }))
    })
    return (await Promise.all(lists)).flat()
  }
}

/** Kinds whose objects go with their owners. */
const ownedKinds: readonly Kind[] = [
  kinds.pvc,
  kinds.pod,
  kinds.volumeImportSource,
  kinds.volumeUploadSource,
  kinds.volumeCloneSource,
  kinds.service,
  kinds.secret,
]

function containerStatuses(pod: Pod, told: WorkerState, state: NonNullable<WorkerState['state']>): ContainerStatus[] {
  return (pod.spec?.containers ?? []).map(({ name, image = '' }, index) => ({
    name,
    image,
    imageID: '',
    ready: told.ready ?? false,
    restartCount: index === 0 ? (told.restarts ?? 0) : 0,
    state: index === 0 ? state : (told.server ?? state),
    ...(index === 0 && told.lastState ? { lastState: told.lastState } : {}),
  }))
}
