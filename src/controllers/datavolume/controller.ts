/**
 * The DataVolume controller: it makes the target claim T, and its source resource in populator mode, and tells in the
 * status how T fares. Gathering and acting are here; `plan.ts` decides about T, `status.ts` about the status.
 */
import { kinds } from '../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { annotations, phases, primeName, reasons } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { isAlreadyExists } from '../../kube/api-error.ts'
import { formatTime } from '../../kube/clock.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult, Watch } from '../../kube/controller.ts'
import { keyOf, parseKey } from '../../kube/object.ts'
import type { KubeObject, NewObject, ObjectKey } from '../../kube/object.ts'
import { controllerOf, controllerRef } from '../../kube/owners.ts'
import type { CloneOrder, CloneTokens } from '../clone/tokens.ts'
import { annotationOf, hasAnnotation } from '../shared/annotated.ts'
import { besides, madeForKey, receiverOf, targetKeyOf } from '../shared/caches.ts'
import { isTerminating } from '../shared/claim.ts'
import type { Caches } from '../shared/caches.ts'
import { toldKey } from '../shared/claim-events.ts'
import { createOnce } from '../shared/create-once.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import type { ProgressReader } from '../shared/progress.ts'
import { claimKeysOfWorker } from '../shared/worker.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import { configOf, honorsFirstConsumer, isGateOpen } from '../shared/settings.ts'
import { ToldMemory } from '../shared/told-memory.ts'
import { actOnClone, cleanUpAfter } from './clone/act.ts'
import { dataVolumesOf, observeClone, resolveOrder } from './clone/observe.ts'
import { patchDataVolume } from './patch-datavolume.ts'
import { bindingClassOf, isOurs, planSync } from './plan.ts'
import type { Failure, SyncObservation, SyncPlan } from './sync.ts'
import { failureOf } from './refused-claim.ts'
import { isExternallyPopulated } from './render.ts'
import { sourceKindOf } from './source-kinds.ts'
import type { SourceKind, SourceResource } from './sources/source-kind.ts'
import { statusOf, statusPatch } from './status.ts'
import type { Synced } from './synced.ts'
import { isServedByStorage, sourceKeyOf } from './target.ts'
import { usesPopulator } from './work.ts'

export interface DataVolumeControllerDependencies extends Dependencies {
  /** Tells on DataVolumes, by who fills them. */
  readonly recorders: Readonly<Record<SourceKind['name'], Recorder>>
  /** Tells on claims. */
  readonly claimRecorder: Recorder
  readonly progress: ProgressReader
  readonly installer: InstallerLabels
  /** Of the pods that find out sizes. */
  readonly settings: WorkerSettings
  readonly tokens: CloneTokens
}

export function dataVolumeController(dependencies: DataVolumeControllerDependencies): ControllerSpec {
  const { caches, progress } = dependencies
  const { dataVolumes, pvcs, pvs, pods, importSources, uploadSources } = caches
  const reconciler = new DataVolumeReconciler(dependencies)
  const withoutClaim = (dataVolume: DataVolume): boolean => pvcs.get(keyOf(dataVolume)) === undefined
  /** Those that wait for something to be rendered from, for the first time or because their claim was deleted. */
  const waiting = (): ObjectKey[] => dataVolumes.list().filter(withoutClaim).map(keyOf)
  /** Those that wait for the storage to fill their claim, which it may learn. */
  const waitingForStorage = (): ObjectKey[] =>
    dataVolumes
      .list()
      .filter((dataVolume) => isExternallyPopulated(dataVolume) && dataVolume.status?.phase !== phases.succeeded)
      .map(keyOf)
  return {
    name: 'datavolume',
    concurrency: 8,
    watches: [
      watching(dataVolumes, (dataVolume) => [keyOf(dataVolume)]),
      // T bears the name of its DataVolume, P leads to T.
      watching(pvcs, (claim) => [
        targetKeyOf(claim),
        ...dataVolumeMadeFor(claim),
        ...dataVolumesOf(caches, kinds.pvc.kind, keyOf(claim)),
      ]),
      watching(importSources, dataVolumeOfSource),
      watching(uploadSources, dataVolumeOfSource),
      watching(caches.cloneSources, dataVolumeMadeFor),
      // For progress in the direct mode, where the pod is T's, and for those that find out sizes.
      watching(pods, (pod) => [...claimKeysOfWorker(pod), ...receiverKeyOf(pod), ...dataVolumeMadeFor(pod)]),
      ...originWatches(caches),
      // Not a source of keys: with the key in it tokens are looked at.
      watching(caches.cdiSecrets, () => []),
      progress,
      watching(caches.storageClasses, waiting),
      watching(caches.storageProfiles, waiting),
      watching(caches.csiDrivers, waitingForStorage),
      watching(caches.cdiConfigs, waiting),
      watching(pvs, ({ spec, status }) => {
        const { namespace, name } = spec?.claimRef ?? {}
        const claimed = name ? [{ ...(namespace ? { namespace } : {}), name }] : []
        return status?.phase === 'Available' ? [...claimed, ...waiting()] : claimed
      }),
    ],
    reconcile: untilNamespaceGoes((key) => reconciler.reconcile(key)),
  }
}

function dataVolumeOfSource(source: SourceResource): ObjectKey[] {
  const owner = controllerOf(source)
  return owner?.kind === 'DataVolume' ? [besides(source, owner.name)] : []
}

/** The DataVolume that something beside T was made for; a T says itself whose it is. */
function dataVolumeMadeFor(object: KubeObject): ObjectKey[] {
  const key = madeForKey(object)
  return key ? [parseKey(key)] : []
}

/** The claim that the source pod of a copy sends to, which in the direct mode is T. */
function receiverKeyOf(pod: Pod): ObjectKey[] {
  const key = receiverOf(pod)
  return key ? [parseKey(key)] : []
}

/** What clones are made of, beside claims. */
function originWatches(caches: Caches): Watch[] {
  const { dataSources, volumeSnapshots, volumeSnapshotContents } = caches
  return [
    watching(dataSources, (dataSource) => dataVolumesOf(caches, kinds.dataSource.kind, keyOf(dataSource))),
    watching(volumeSnapshots, (snapshot) => dataVolumesOf(caches, kinds.volumeSnapshot.kind, keyOf(snapshot))),
    watching(volumeSnapshotContents, ({ spec }) => {
      const { namespace, name } = spec.volumeSnapshotRef ?? {}
      return namespace && name ? dataVolumesOf(caches, kinds.volumeSnapshot.kind, { namespace, name }) : []
    }),
  ]
}

class DataVolumeReconciler {
  readonly #dependencies: DataVolumeControllerDependencies
  readonly #told = new ToldMemory()

  constructor(dependencies: DataVolumeControllerDependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, progress, log, ownWrites } = this.#dependencies
    const dataVolume = caches.dataVolumes.get(key)
    if (dataVolume && ownWrites.isBehind(dataVolume)) return {}
    if (!dataVolume || isTerminating(dataVolume) || !isOurs(dataVolume)) {
      progress.follow(key, undefined)
      if (!dataVolume || isTerminating(dataVolume)) await cleanUpAfter(this.#dependencies, key, dataVolume)
      return {}
    }
    const plan = planSync(await this.#observe(dataVolume))
    log.trace({ dataVolume: key, act: plan.act, because: plan.because }, 'planned')
    if (plan.act === 'wait') return {}
    const synced = plan.act === 'create' ? await this.#create(dataVolume) : await this.#act(dataVolume, plan)
    if (!synced) return {}
    await this.#writeStatus(synced)
    if (synced.error !== undefined) throw synced.error
    return synced.requeueAfterMs === undefined ? {} : { requeueAfterMs: synced.requeueAfterMs }
  }

  async #observe(dataVolume: DataVolume): Promise<SyncObservation> {
    const { caches, installer, clock } = this.#dependencies
    const target = caches.pvcs.get(keyOf(dataVolume))
    const cdiConfig = configOf(caches)
    const adoptionGate = isGateOpen(cdiConfig, 'claimAdoption')
    const clone = await observeClone({ ...this.#dependencies, now: clock.now() }, { dataVolume, target, adoptionGate })
    const kind = sourceKindOf(dataVolume, clone?.order)
    return {
      dataVolume,
      target,
      prime: target && this.#primeOf(target),
      source: kind?.resourcesOf(caches).get(sourceKeyOf(dataVolume, kind)),
      clone,
      storageClasses: caches.storageClasses.list(),
      storageProfiles: caches.storageProfiles.list(),
      csiDrivers: caches.csiDrivers.list(),
      // Volumes matter only while there is no claim.
      persistentVolumes: target ? [] : caches.pvs.list(),
      cdiConfig,
      honorWaitForFirstConsumer: honorsFirstConsumer(cdiConfig),
      adoptionGate,
      installer,
    }
  }

  #primeOf(target: PersistentVolumeClaim): PersistentVolumeClaim | undefined {
    return this.#dependencies.caches.pvcs.get(besides(target, primeName(target.metadata.uid)))
  }

  async #act(dataVolume: DataVolume, plan: Exclude<SyncPlan, { act: 'wait' | 'create' }>): Promise<Synced> {
    const { client, caches, claimRecorder, log } = this.#dependencies
    const recorder = this.#recorderOf(dataVolume)
    const target = caches.pvcs.get(keyOf(dataVolume))
    switch (plan.act) {
      case 'none':
        for (const event of plan.events ?? []) recorder.event(dataVolume, event)
        if (target) for (const event of plan.targetEvents ?? []) claimRecorder.event(target, event)
        return { dataVolume, target }
      case 'refuse':
        if (!isTold(dataVolume, plan.failure)) for (const event of plan.events) recorder.event(dataVolume, event)
        return {
          dataVolume: await patchDataVolume(this.#dependencies, dataVolume, {
            annotations: plan.dataVolumeAnnotations ?? {},
          }),
          target,
          failure: plan.failure,
        }
      case 'tell':
        if (!this.#told.of(dataVolume).has(toldKey(plan.event))) recorder.event(dataVolume, plan.event)
        this.#told.remember(dataVolume, plan.event)
        return { dataVolume, target }
      case 'adopt':
        return { dataVolume, target: target && (await this.#adopt(dataVolume, target)) }
      case 'annotateTarget':
        return {
          dataVolume,
          target: target && (await patchClaim(this.#dependencies, target, { annotations: plan.annotations })),
        }
      case 'annotateDataVolume':
        return {
          dataVolume: await patchDataVolume(this.#dependencies, dataVolume, { annotations: plan.annotations }),
          target,
        }
      case 'labelDataVolume':
        return { dataVolume: await patchDataVolume(this.#dependencies, dataVolume, { labels: plan.labels }), target }
      case 'makeSource':
        try {
          await this.#makeSource(dataVolume, plan.source)
        } catch (error) {
          // Its namespace may be another one, which goes away: what becomes of T is told all the same.
          return { dataVolume, target, error }
        }
        return { dataVolume, target }
      case 'deleteSource': {
        const kind = this.#kindOf(dataVolume)
        if (kind) await client.delete(kind.resource, sourceKeyOf(dataVolume, kind))
        return { dataVolume, target }
      }
      case 'deleteTarget':
        if (target) await client.delete(kinds.pvc, keyOf(target), { uid: target.metadata.uid })
        log.warn({ dataVolume: keyOf(dataVolume) }, plan.message)
        return { dataVolume, target }
      case 'extendToken':
      case 'extendTargetToken':
      case 'schedule':
      case 'block':
      case 'makeCopySource':
      case 'cleanUp':
        return actOnClone({ ...this.#dependencies, recorder, told: this.#told }, { dataVolume, target }, plan)
      default:
        return plan satisfies never
    }
  }

  /** Makes T for the DataVolume as it is in the API: it may have been marked as pre-populated a moment ago. */
  async #create({ metadata }: DataVolume): Promise<Synced | undefined> {
    const { client, log } = this.#dependencies
    const live = await client.get(kinds.dataVolume, keyOf({ metadata }))
    if (!live || live.metadata.uid !== metadata.uid || isTerminating(live)) return undefined
    const observation = await this.#observe(live)
    // A volume that was restored a moment ago must not be missed: it would be filled from the source instead.
    const volumes = hasAnnotation(live, annotations.checkStaticVolume) ? await client.list(kinds.pv) : undefined
    const plan = planSync({ ...observation, persistentVolumes: volumes?.items ?? observation.persistentVolumes })
    if (plan.act === 'wait') return undefined
    if (plan.act !== 'create') return this.#act(live, plan)
    const dataVolume = await patchDataVolume(this.#dependencies, live, { annotations: plan.dataVolumeAnnotations })
    const { source, claim, sourceMarks } = plan
    try {
      if (source) await this.#makeSource(dataVolume, source)
      if (sourceMarks) await patchClaim(this.#dependencies, sourceMarks.claim, sourceMarks)
      const target = await client.create(kinds.pvc, claim)
      log.info({ dataVolume: keyOf(dataVolume), because: plan.because }, 'target claim created')
      for (const event of plan.events ?? []) {
        this.#recorderOf(dataVolume).event(dataVolume, event)
        this.#dependencies.claimRecorder.event(target, event)
      }
      for (const event of plan.targetEvents ?? []) this.#dependencies.claimRecorder.event(target, event)
      return { dataVolume, target }
    } catch (error) {
      // The cache does not show it yet; it will come with the next change.
      if (isAlreadyExists(error)) return undefined
      return { dataVolume, target: undefined, ...failureOf(error) }
    }
  }

  /** Tells in the name of the controller that users know for this kind of source. */
  #recorderOf(dataVolume: DataVolume): Recorder {
    return this.#dependencies.recorders[this.#kindOf(dataVolume)?.name ?? 'import']
  }

  #kindOf(dataVolume: DataVolume): SourceKind | undefined {
    return sourceKindOf(dataVolume, this.#orderOf(dataVolume))
  }

  /** What a clone is made of. */
  #orderOf(dataVolume: DataVolume): CloneOrder | undefined {
    return resolveOrder(this.#dependencies.caches, dataVolume)?.order
  }

  async #makeSource(dataVolume: DataVolume, source: NewObject<SourceResource>): Promise<void> {
    const kind = this.#kindOf(dataVolume)
    if (kind) await createOnce(this.#dependencies.client, kind.resource, source)
  }

  async #adopt(dataVolume: DataVolume, target: PersistentVolumeClaim): Promise<PersistentVolumeClaim> {
    const { client, log } = this.#dependencies
    const adopted = await client.patch(
      kinds.pvc,
      keyOf(target),
      {
        metadata: {
          resourceVersion: target.metadata.resourceVersion,
          ownerReferences: [...(target.metadata.ownerReferences ?? []), controllerRef(dataVolume)],
        },
      },
      { type: 'merge' },
    )
    log.info({ dataVolume: keyOf(dataVolume) }, 'claim adopted')
    return adopted
  }

  async #writeStatus({ dataVolume, target, failure }: Synced): Promise<void> {
    const { client, caches, progress, clock, ownWrites } = this.#dependencies
    const key = keyOf(dataVolume)
    const config = configOf(caches)
    const storage = { storageClasses: caches.storageClasses.list(), csiDrivers: caches.csiDrivers.list() }
    this.#followWorker(dataVolume, target)
    const { status, events } = statusOf({
      dataVolume,
      target,
      carrier: target && (usesPopulator(target) ? this.#primeOf(target) : target),
      storageClass: bindingClassOf(target, storage.storageClasses),
      isServedByStorage: target?.spec !== undefined && isServedByStorage(target.spec, storage),
      honorWaitForFirstConsumer: honorsFirstConsumer(config),
      adoptionGate: isGateOpen(config, 'claimAdoption'),
      clone: this.#orderOf(dataVolume),
      failure,
      progressPercent: progress.percentOf(key),
      alreadyTold: this.#told.of(dataVolume),
      now: formatTime(clock.now()),
    })
    if (!status) return
    const written = await client.patch(
      kinds.dataVolume,
      key,
      {
        metadata: { resourceVersion: dataVolume.metadata.resourceVersion },
        status: statusPatch(dataVolume.status, status),
      },
      { type: 'merge', subresource: 'status' },
    )
    ownWrites.wrote(written)
    for (const event of events) {
      this.#recorderOf(written).event(written, event)
      if (event.reason === reasons.pending) this.#told.remember(written, event)
    }
  }

  /** In the direct mode the worker is T's own; a populator follows its workers itself. */
  #followWorker(dataVolume: DataVolume, target: PersistentVolumeClaim | undefined): void {
    const { caches, progress } = this.#dependencies
    const runs = target && !usesPopulator(target) && annotationOf(target, annotations.podPhase) === 'Running'
    progress.follow(keyOf(dataVolume), runs ? this.#kindOf(dataVolume)?.workerOf?.(target, caches) : undefined)
  }
}

/** Whether the Bound condition says this failure already. */
function isTold({ status }: DataVolume, { reason, message }: Failure): boolean {
  const bound = status?.conditions?.find((condition) => condition.type === 'Bound')
  return bound?.reason === reason && bound.message === message
}
