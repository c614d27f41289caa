/**
 * The DataVolume controller: it makes the target claim T, and its source resource in populator mode, and tells in the
 * status how T fares. Gathering and acting are here; `plan.ts` decides about T, `status.ts` about the status.
 */
import { kinds } from '../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim } from '../../api/kinds.ts'
import { annotations, phases, primeName, quotaText, reasons, volumeImportSourceName } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { ApiError, isAlreadyExists, isForbidden, isInvalid } from '../../kube/api-error.ts'
import { formatTime } from '../../kube/clock.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { controllerOf, controllerRef } from '../../kube/owners.ts'
import { workerNameOf } from '../import/plan.ts'
import { progressOwnerUid } from '../import/pod.ts'
import { annotationOf, isEmpty } from '../shared/annotated.ts'
import type { MapPatch } from '../shared/annotated.ts'
import { besides, indexes, targetKeyOf, unclaimed } from '../shared/caches.ts'
import { isTerminating } from '../shared/claim.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import type { ProgressReader } from '../shared/progress.ts'
import { claimKeysOfWorker } from '../shared/worker.ts'
import { configOf, honorsFirstConsumer, isGateOpen } from '../shared/settings.ts'
import { bindingClassOf, isOurs, planSync } from './plan.ts'
import type { Failure, SyncObservation, SyncPlan } from './plan.ts'
import { statusOf, statusPatch } from './status.ts'
import { usesPopulator } from './work.ts'

export interface DataVolumeControllerDependencies extends Dependencies {
  readonly recorder: Recorder
  /** Tells on claims. */
  readonly claimRecorder: Recorder
  readonly progress: ProgressReader
  readonly installer: InstallerLabels
}

/** A quota that was raised shows itself to nobody, so a refused claim is tried again this often. */
const refusedDelayMs = 10_000

export function dataVolumeController(dependencies: DataVolumeControllerDependencies): ControllerSpec {
  const { caches, progress } = dependencies
  const { dataVolumes, pvcs, pvs, pods, importSources } = caches
  const reconciler = new DataVolumeReconciler(dependencies)
  /** Those that wait for something to be rendered from. */
  const waiting = (): ObjectKey[] => dataVolumes.byIndex(indexes.unclaimed, unclaimed).map(keyOf)
  return {
    name: 'datavolume',
    concurrency: 8,
    watches: [
      watching(dataVolumes, (dataVolume) => [keyOf(dataVolume)]),
      // T bears the name of its DataVolume, P leads to T.
      watching(pvcs, (claim) => [targetKeyOf(claim)]),
      watching(importSources, (source) => {
        const owner = controllerOf(source)
        return owner?.kind === 'DataVolume' ? [besides(source, owner.name)] : []
      }),
      // Only for progress in the direct mode: there the pod is T's.
      watching(pods, claimKeysOfWorker),
      progress,
      watching(caches.storageClasses, waiting),
      watching(caches.storageProfiles, waiting),
      watching(caches.csiDrivers, () => []),
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

/** What is known after T was looked after. */
interface Synced {
  readonly dataVolume: DataVolume
  readonly target: PersistentVolumeClaim | undefined
  readonly failure?: Failure
  readonly requeueAfterMs?: number
}

class DataVolumeReconciler {
  readonly #dependencies: DataVolumeControllerDependencies

  constructor(dependencies: DataVolumeControllerDependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, progress, log, ownWrites } = this.#dependencies
    const dataVolume = caches.dataVolumes.get(key)
    if (dataVolume && ownWrites.isBehind(dataVolume)) return {}
    if (!dataVolume || isTerminating(dataVolume) || !isOurs(dataVolume)) {
      progress.follow(key, undefined)
      return {}
    }
    const plan = planSync(this.#observe(dataVolume))
    log.trace({ dataVolume: key, act: plan.act, because: plan.because }, 'planned')
    if (plan.act === 'wait') return {}
    const synced = plan.act === 'create' ? await this.#create(dataVolume) : await this.#act(dataVolume, plan)
    if (!synced) return {}
    await this.#writeStatus(synced)
    return synced.requeueAfterMs === undefined ? {} : { requeueAfterMs: synced.requeueAfterMs }
  }

  #observe(dataVolume: DataVolume): SyncObservation {
    const { caches, installer } = this.#dependencies
    const target = caches.pvcs.get(keyOf(dataVolume))
    const cdiConfig = configOf(caches)
    return {
      dataVolume,
      target,
      prime: target && this.#primeOf(target),
      importSource: caches.importSources.get(besides(dataVolume, volumeImportSourceName(dataVolume.metadata.uid))),
      storageClasses: caches.storageClasses.list(),
      storageProfiles: caches.storageProfiles.list(),
      csiDrivers: caches.csiDrivers.list(),
      // Volumes matter only while there is no claim.
      persistentVolumes: target ? [] : caches.pvs.list(),
      cdiConfig,
      honorWaitForFirstConsumer: honorsFirstConsumer(cdiConfig),
      adoptionGate: isGateOpen(cdiConfig, 'claimAdoption'),
      installer,
    }
  }

  #primeOf(target: PersistentVolumeClaim): PersistentVolumeClaim | undefined {
    return this.#dependencies.caches.pvcs.get(besides(target, primeName(target.metadata.uid)))
  }

  async #act(dataVolume: DataVolume, plan: Exclude<SyncPlan, { act: 'wait' | 'create' }>): Promise<Synced> {
    const { client, caches, recorder, claimRecorder, log } = this.#dependencies
    const target = caches.pvcs.get(keyOf(dataVolume))
    switch (plan.act) {
      case 'none':
        for (const event of plan.events ?? []) recorder.event(dataVolume, event)
        if (target) for (const event of plan.targetEvents ?? []) claimRecorder.event(target, event)
        return { dataVolume, target }
      case 'refuse':
        if (!isTold(dataVolume, plan.failure)) for (const event of plan.events) recorder.event(dataVolume, event)
        return { dataVolume, target, failure: plan.failure }
      case 'adopt':
        return { dataVolume, target: target && (await this.#adopt(dataVolume, target)) }
      case 'annotateTarget':
        return {
          dataVolume,
          target: target && (await patchClaim(this.#dependencies, target, { annotations: plan.annotations })),
        }
      case 'annotateDataVolume':
        return { dataVolume: await this.#patch(dataVolume, { annotations: plan.annotations }), target }
      case 'labelDataVolume':
        return { dataVolume: await this.#patch(dataVolume, { labels: plan.labels }), target }
      case 'makeImportSource':
        await this.#createUnlessThere(() => client.create(kinds.volumeImportSource, plan.importSource))
        return { dataVolume, target }
      case 'deleteImportSource': {
        const name = volumeImportSourceName(dataVolume.metadata.uid)
        await client.delete(kinds.volumeImportSource, besides(dataVolume, name))
        return { dataVolume, target }
      }
      case 'deleteTarget':
        if (target) await client.delete(kinds.pvc, keyOf(target), { uid: target.metadata.uid })
        log.warn({ dataVolume: keyOf(dataVolume) }, plan.message)
        return { dataVolume, target }
      default:
        return plan satisfies never
    }
  }

  /** Makes T for the DataVolume as it is in the API: it may have been marked as pre-populated a moment ago. */
  async #create({ metadata }: DataVolume): Promise<Synced | undefined> {
    const { client, recorder, log } = this.#dependencies
    const live = await client.get(kinds.dataVolume, keyOf({ metadata }))
    if (!live || live.metadata.uid !== metadata.uid || isTerminating(live)) return undefined
    const plan = planSync(this.#observe(live))
    if (plan.act === 'wait') return undefined
    if (plan.act !== 'create') return this.#act(live, plan)
    const dataVolume = await this.#patch(live, { annotations: plan.dataVolumeAnnotations })
    const { importSource, claim } = plan
    try {
      if (importSource) await this.#createUnlessThere(() => client.create(kinds.volumeImportSource, importSource))
      const target = await client.create(kinds.pvc, claim)
      log.info({ dataVolume: keyOf(dataVolume), because: plan.because }, 'target claim created')
      for (const event of plan.events ?? []) {
        recorder.event(dataVolume, event)
        this.#dependencies.claimRecorder.event(target, event)
      }
      return { dataVolume, target }
    } catch (error) {
      // The cache does not show it yet; it will come with the next change.
      if (isAlreadyExists(error)) return undefined
      return { dataVolume, target: undefined, ...failureOf(error) }
    }
  }

  async #createUnlessThere(create: () => Promise<unknown>): Promise<void> {
    try {
      await create()
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
  }

  async #patch(
    dataVolume: DataVolume,
    { annotations: annotated = {}, labels = {} }: { annotations?: MapPatch; labels?: Readonly<Record<string, string>> },
  ): Promise<DataVolume> {
    if (isEmpty(annotated) && isEmpty(labels)) return dataVolume
    const { client, ownWrites } = this.#dependencies
    const written = await client.patch(
      kinds.dataVolume,
      keyOf(dataVolume),
      { metadata: { annotations: annotated, labels, resourceVersion: dataVolume.metadata.resourceVersion } },
      { type: 'merge' },
    )
    ownWrites.wrote(written)
    return written
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
    const { client, caches, progress, recorder, clock, ownWrites } = this.#dependencies
    const key = keyOf(dataVolume)
    const config = configOf(caches)
    this.#followWorker(key, target)
    const { status, events } = statusOf({
      dataVolume,
      target,
      carrier: target && (usesPopulator(target) ? this.#primeOf(target) : target),
      storageClass: bindingClassOf(target, caches.storageClasses.list()),
      honorWaitForFirstConsumer: honorsFirstConsumer(config),
      adoptionGate: isGateOpen(config, 'claimAdoption'),
      failure,
      progressPercent: progress.percentOf(key),
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
    for (const event of events) recorder.event(written, event)
  }

  /** In the direct mode the worker is T's own; a populator follows its workers itself. */
  #followWorker(key: ObjectKey, target: PersistentVolumeClaim | undefined): void {
    const { caches, progress } = this.#dependencies
    const runs = target && !usesPopulator(target) && annotationOf(target, annotations.podPhase) === 'Running'
    const pod = runs ? caches.pods.get(besides(target, workerNameOf(target))) : undefined
    progress.follow(key, target && pod && { pod, ownerUid: progressOwnerUid(target) })
  }
}

/** Whether the Bound condition says this failure already. */
function isTold({ status }: DataVolume, { reason, message }: Failure): boolean {
  const bound = status?.conditions?.find((condition) => condition.type === 'Bound')
  return bound?.reason === reason && bound.message === message
}

/** What a refused claim means for the DataVolume; other errors are thrown on. */
function failureOf(error: unknown): Pick<Synced, 'failure' | 'requeueAfterMs'> {
  if (!(error instanceof ApiError)) throw error
  const { message } = error
  if (isForbidden(error) && message.includes(quotaText)) {
    return {
      failure: { phase: phases.pending, reason: reasons.errExceededQuota, message },
      requeueAfterMs: refusedDelayMs,
    }
  }
  if (isInvalid(error)) return { failure: { phase: phases.unset, reason: reasons.errClaimNotValid, message } }
  throw error
}
