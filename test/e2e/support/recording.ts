/**
 * What happens in one namespace, written down from the outside by watches: the course of each DataVolume and the first and
 * the last sight of everything, also of what lived for a moment only.
 */
import { kinds } from '../../../src/api/kinds.ts'
import type {
  DataVolume,
  Event,
  PersistentVolumeClaim,
  Pod,
  Service,
  VolumeCloneSource,
  VolumeImportSource,
  VolumeSnapshot,
  VolumeUploadSource,
} from '../../../src/api/kinds.ts'
import { Cache } from '../../../src/kube/cache.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import type { Kind, KubeObject } from '../../../src/kube/object.ts'
import { silentLog } from '../../../src/log.ts'

/** An object as it was first and last seen. */
export interface Sighting<T extends KubeObject> {
  readonly first: T
  last: T
  gone: boolean
}

/** A state of a DataVolume, reduced to what clients show. */
export interface Moment {
  readonly phase: string | undefined
  readonly progress: string | undefined
  readonly restartCount: number | undefined
  /** `Bound=False Pending: PVC dv Pending`. */
  readonly conditions: readonly string[]
}

/** Keeps every incarnation of the objects of one kind. */
class Observer<T extends KubeObject> {
  readonly cache: Cache<T>
  readonly sightings = new Map<string, Sighting<T>>()

  constructor(client: KubeClient, kind: Kind<T>, namespace: string, { optional = false } = {}) {
    this.cache = new Cache({ client, kind, namespace, optional, log: silentLog() })
  }

  /** Watches until the signal; resolves when that is over. */
  start(signal: AbortSignal): Promise<unknown> {
    return this.cache.start(signal)
  }

  get synced(): Promise<unknown> {
    return this.cache.synced
  }

  onSight(handler: (object: T) => void): void {
    this.cache.onChange(({ old, new: current }) => {
      const object = current ?? old
      if (!object) return
      const { uid } = object.metadata
      const sighting = this.sightings.get(uid)
      if (sighting) Object.assign(sighting, { last: object, gone: current === undefined })
      else this.sightings.set(uid, { first: object, last: object, gone: current === undefined })
      handler(object)
    })
  }

  /** Whether an object was seen as it is given, or later. */
  hasSeen({ metadata }: KubeObject): boolean {
    const sighting = this.sightings.get(metadata.uid)
    if (sighting === undefined) return false
    return sighting.gone || BigInt(sighting.last.metadata.resourceVersion) >= BigInt(metadata.resourceVersion)
  }

  /** Every name that was seen. */
  names(): string[] {
    return [...new Set([...this.sightings.values()].map(({ last }) => last.metadata.name))]
  }

  named(name: string): Sighting<T>[] {
    return [...this.sightings.values()].filter(({ last }) => last.metadata.name === name)
  }
}

/** An observer of whatever kind. */
interface Watched {
  start(signal: AbortSignal): Promise<unknown>
  readonly synced: Promise<unknown>
  onSight(handler: () => void): void
}

export class Recording implements AsyncDisposable {
  readonly dataVolumes: Observer<DataVolume>
  readonly pvcs: Observer<PersistentVolumeClaim>
  readonly pods: Observer<Pod>
  readonly events: Observer<Event>
  readonly importSources: Observer<VolumeImportSource>
  readonly uploadSources: Observer<VolumeUploadSource>
  readonly cloneSources: Observer<VolumeCloneSource>
  readonly snapshots: Observer<VolumeSnapshot>
  readonly services: Observer<Service>
  readonly #stop = new AbortController()
  readonly #running: Promise<unknown>[] = []
  readonly #courses = new Map<string, Moment[]>()
  readonly #waiters = new Set<() => void>()

  constructor(client: KubeClient, namespace: string) {
    this.dataVolumes = new Observer(client, kinds.dataVolume, namespace)
    this.pvcs = new Observer(client, kinds.pvc, namespace)
    this.pods = new Observer(client, kinds.pod, namespace)
    this.events = new Observer(client, kinds.event, namespace)
    this.importSources = new Observer(client, kinds.volumeImportSource, namespace)
    this.uploadSources = new Observer(client, kinds.volumeUploadSource, namespace)
    this.cloneSources = new Observer(client, kinds.volumeCloneSource, namespace)
    this.snapshots = new Observer(client, kinds.volumeSnapshot, namespace, { optional: true })
    this.services = new Observer(client, kinds.service, namespace)
    const wake = (): void => {
      for (const waiter of this.#waiters) waiter()
    }
    this.dataVolumes.onSight((object) => {
      this.#note(object)
      wake()
    })
    for (const observer of this.#others()) observer.onSight(wake)
  }

  #others(): Watched[] {
    return [
      this.pvcs,
      this.pods,
      this.events,
      this.importSources,
      this.uploadSources,
      this.cloneSources,
      this.snapshots,
      this.services,
    ]
  }

  /** Resolves when all watches are running. */
  async start(): Promise<void> {
    const observers = [this.dataVolumes, ...this.#others()]
    for (const observer of observers) this.#running.push(observer.start(this.#stop.signal))
    await Promise.all(observers.map(({ synced }) => synced))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled(this.#running)
  }

  /** The distinct states that a DataVolume went through. */
  course(name: string): readonly Moment[] {
    return this.#courses.get(name) ?? []
  }

  /** The phases that a DataVolume went through, without repetitions; an absent phase is `''`. */
  phases(name: string): string[] {
    return this.course(name)
      .map(({ phase }) => phase ?? '')
      .filter((phase, index, all) => phase !== all[index - 1])
  }

  /** `Type Reason: message` of the events about an object, in the order of their first sight, once each. */
  eventsOf(kind: string, name: string): string[] {
    return [
      ...new Set(
        [...this.events.sightings.values()]
          .map(({ last }) => last)
          .filter(({ involvedObject }) => involvedObject.kind === kind && involvedObject.name === name)
          .map(({ type, reason, message }) => `${type} ${reason}: ${message}`),
      ),
    ]
  }

  /** The importer pods of a claim, in the order of their appearance. */
  importerPods(pvcName: string): Sighting<Pod>[] {
    return this.#workers('importer', pvcName)
  }

  /** The upload pods of a claim, in the order of their appearance. */
  uploadPods(pvcName: string): Sighting<Pod>[] {
    return this.#workers('cdi-upload-server', pvcName)
  }

  #workers(label: string, pvcName: string): Sighting<Pod>[] {
    return [...this.pods.sightings.values()].filter(
      ({ last }) =>
        last.metadata.labels?.['cdi.kubevirt.io'] === label &&
        last.metadata.ownerReferences?.some(({ name }) => name === pvcName),
    )
  }

  /** Asks after every change until the answer is neither undefined nor false. */
  async until<T>(what: string, timeoutMs: number, question: () => T | undefined | false): Promise<T> {
    const done = Promise.withResolvers<T>()
    const look = (): void => {
      try {
        const answer = question()
        if (answer !== undefined && answer !== false) done.resolve(answer)
      } catch (error) {
        done.reject(error)
      }
    }
    const patience = setTimeout(() => {
      done.reject(new Error(`waited ${timeoutMs / 1000} s in vain for ${what}`))
    }, timeoutMs)
    this.#waiters.add(look)
    look()
    try {
      return await done.promise
    } finally {
      clearTimeout(patience)
      this.#waiters.delete(look)
    }
  }

  /** Everything that was seen, for the message of a failed test. */
  report(): string {
    const lines: string[] = []
    for (const [name, course] of this.#courses) {
      lines.push(`DataVolume ${name}:`)
      for (const { phase = '-', progress = '-', restartCount = 0, conditions } of course) {
        lines.push(`  ${phase} ${progress} restarts=${restartCount} ${conditions.join(' | ')}`)
      }
    }
    for (const { last, gone } of this.pvcs.sightings.values()) {
      lines.push(
        `PVC ${last.metadata.name}: ${last.status?.phase}${gone ? ' (gone)' : ''} ${JSON.stringify(last.metadata.annotations)}`,
      )
    }
    for (const { last, gone } of this.snapshots.sightings.values()) {
      const { name, deletionTimestamp, finalizers } = last.metadata
      const end = JSON.stringify({ deletionTimestamp, finalizers })
      lines.push(`VolumeSnapshot ${name}:${gone ? ' (gone)' : ''} ${JSON.stringify(last.status)} ${end}`)
    }
    for (const { last, gone } of this.pods.sightings.values()) {
      const states = last.status?.containerStatuses?.map(({ state, lastState }) => ({ state, lastState }))
      lines.push(`Pod ${last.metadata.name}: ${last.status?.phase}${gone ? ' (gone)' : ''} ${JSON.stringify(states)}`)
    }
    for (const { last } of this.events.sightings.values()) {
      const { involvedObject, type, reason, message, count } = last
      lines.push(`Event ${involvedObject.kind}/${involvedObject.name}: ${type} ${reason}: ${message} x${count}`)
    }
    return lines.join('\n')
  }

  #note({ metadata: { name }, status = {} }: DataVolume): void {
    const moment: Moment = {
      phase: status.phase,
      progress: status.progress,
      restartCount: status.restartCount,
      conditions: (status.conditions ?? []).map(
        ({ type, status, reason = '', message = '' }) => `${type}=${status} ${reason}: ${message}`,
      ),
    }
    const course = this.#courses.get(name) ?? []
    this.#courses.set(name, course)
    if (JSON.stringify(course.at(-1)) !== JSON.stringify(moment)) course.push(moment)
  }
}
