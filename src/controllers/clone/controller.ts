/**
 * The clone populator: fills a claim T whose dataSourceRef names a VolumeCloneSource (contract/clone.md §6). The storage makes,
 * or pods copy, a volume for a temporary claim beside the source, and in the end that volume becomes T's. Deciding is in
 * `plan.ts` and `steps/`; here it is acted.
 */
import { annotations, clonePhases, labels, quotaText, reasons } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { isForbidden, isInvalid, isNamespaceTerminating, isNotFound } from '../../kube/api-error.ts'
import type { ApiError } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { annotationOf } from '../shared/annotated.ts'
import { claimPhase, isTerminating, isUnfinished } from '../shared/claim.ts'
import { cloneSourceKeyOf, isClone } from '../shared/clone-reference.ts'
import { createOnce } from '../shared/create-once.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { handOver } from '../shared/hand-over.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import { reportOfRefusedPod } from '../shared/pod-state.ts'
import type { ProgressReader } from '../shared/progress.ts'
import { refusedDelayMs } from '../shared/refused-pod.ts'
import { ToldMemory } from '../shared/told-memory.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import { gather, labelledWith, orderOf } from './gather.ts'
import { byClaim, byCloneSource, byLabel, byNameOfClaim, byOrigin, byPod, byStorageClass } from './keys.ts'
import type { CloneObservation } from './observation.ts'
import { planClone, stopped } from './plan.ts'
import type { ClonePlan } from './plan.ts'
import { CloneTokenError } from './tokens.ts'
import type { CloneTokens } from './tokens.ts'

/** Whether the API server gave an answer that only people can change. */
function isRefusal(error: unknown): error is ApiError {
  return !isNamespaceTerminating(error) && (isForbidden(error) || isInvalid(error))
}

export interface ClonePopulatorDependencies extends Dependencies {
  /** Speaks as `clone-populator`. */
  readonly recorder: Recorder
  readonly progress: ProgressReader
  readonly tokens: CloneTokens
  readonly settings: WorkerSettings
}

export function clonePopulatorController(dependencies: ClonePopulatorDependencies): ControllerSpec {
  const { caches, progress } = dependencies
  const populator = new ClonePopulator(dependencies)
  const keyIn = ({ namespace, name }: { namespace?: string | undefined; name?: string | undefined }): ObjectKey => ({
    ...(namespace ? { namespace } : {}),
    name: name ?? '',
  })
  return {
    name: 'clone-populator',
    concurrency: 8,
    watches: [
      watching(caches.pvcs, (claim) => byClaim(caches, claim)),
      watching(caches.cloneSources, (cloneSource) => byCloneSource(caches, keyOf(cloneSource))),
      watching(caches.volumeSnapshots, (snapshot) => [
        ...byLabel(caches, snapshot),
        ...byOrigin(caches, 'volumeSnapshot', keyOf(snapshot)),
      ]),
      watching(caches.volumeSnapshotContents, ({ spec: { volumeSnapshotRef } }) =>
        byOrigin(caches, 'volumeSnapshot', keyIn(volumeSnapshotRef ?? {})),
      ),
      watching(caches.pods, (pod) => byPod(caches, pod)),
      watching(caches.pvs, ({ spec }) => byNameOfClaim(caches, keyIn(spec?.claimRef ?? {}))),
      watching(caches.events, ({ involvedObject }) => byNameOfClaim(caches, keyIn(involvedObject))),
      watching(caches.storageClasses, ({ metadata: { name } }) => byStorageClass(caches, name)),
      watching(caches.storageProfiles, ({ metadata: { name } }) => byStorageClass(caches, name)),
      // A claim bears the name of the DataVolume that fills it.
      watching(caches.dataVolumes, (dataVolume) => byOrigin(caches, 'pvc', keyOf(dataVolume))),
      progress,
      // Not sources of keys: nothing may be decided before these are known.
      watching(caches.volumeSnapshotClasses, () => []),
      watching(caches.cdiConfigs, () => []),
      watching(caches.cdis, () => []),
      watching(caches.cdiSecrets, () => []),
    ],
    reconcile: untilNamespaceGoes((key) => populator.reconcile(key)),
  }
}

class ClonePopulator {
  readonly #dependencies: ClonePopulatorDependencies
  readonly #told = new ToldMemory()

  constructor(dependencies: ClonePopulatorDependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, client, progress, ownWrites } = this.#dependencies
    const target = caches.pvcs.get(key)
    if (target && ownWrites.isBehind(target)) return {}
    if (!target || !isClone(target)) {
      progress.follow(key, undefined)
      return {}
    }
    const seen = await this.#observe(target)
    this.#follow(seen)
    const plan = planClone(seen)
    if (!plan.action || plan.action.do === 'cleanUp') return this.#act(seen, plan)
    // Caches are several streams: what looks as if it were missing may be what T, as it is now, does not need any more.
    const present = await client.get(kinds.pvc, key)
    if (!present || present.metadata.uid !== target.metadata.uid) return {}
    const seenNow = await this.#observe(present)
    return this.#act(seenNow, planClone(seenNow))
  }

  async #observe(target: PersistentVolumeClaim): Promise<CloneObservation> {
    const { caches, settings, progress, clock } = this.#dependencies
    const gathered = gather(caches, target)
    return {
      ...gathered,
      isAllowed: await this.#isAllowed(gathered),
      settings,
      alreadyTold: this.#told.of(target),
      progressPercent: progress.percentOf(keyOf(target)),
      now: clock.now(),
    }
  }

  /** Asked anew before each step; a claim that is served or going away is asked nothing. */
  async #isAllowed({ target, origin }: Pick<CloneObservation, 'target' | 'origin'>): Promise<boolean | undefined> {
    const { tokens, log } = this.#dependencies
    if (!origin || isTerminating(target) || claimPhase(target) !== 'Pending') return undefined
    const order = orderOf(target, origin)
    if (!order) return true
    try {
      await tokens.assertAllowed(target, order)
      return true
    } catch (err) {
      if (!(err instanceof CloneTokenError)) throw err
      log.warn({ pvc: keyOf(target), source: order.source, err }, 'the claim may not be cloned from there')
      return false
    }
  }

  /** Asks the pod that reads the source how far it is, while the claim is being copied. */
  #follow({ target, temporary: { claim } }: CloneObservation): void {
    const { caches, progress } = this.#dependencies
    const name = claim && annotationOf(claim, annotations.sourceClonePodName)
    const isCopying = annotationOf(target, annotations.clonePhase) === clonePhases.hostClone
    const pod = claim && name && isCopying ? caches.pods.get({ ...keyOf(claim), name }) : undefined
    const isAtWork = pod !== undefined && isUnfinished(pod)
    progress.follow(keyOf(target), isAtWork ? { pod, ownerUid: target.metadata.uid } : undefined)
  }

  async #act(seen: CloneObservation, plan: ClonePlan): Promise<ReconcileResult> {
    try {
      await this.#perform(seen, plan.action)
    } catch (error) {
      if (isRefusal(error)) return await this.#refused(seen, plan.action, error)
      throw error
    }
    return await this.#tell(seen, plan)
  }

  async #perform({ target }: CloneObservation, action: ClonePlan['action']): Promise<void> {
    if (!action) return
    const { client, log } = this.#dependencies
    const pvc = keyOf(target)
    switch (action.do) {
      case 'createClaim':
        await createOnce(client, kinds.pvc, action.claim)
        log.info({ pvc, temporary: action.claim.metadata.name }, 'temporary claim created')
        return
      case 'createSnapshot':
        await createOnce(client, kinds.volumeSnapshot, action.snapshot)
        log.info({ pvc, temporary: action.snapshot.metadata.name }, 'temporary snapshot created')
        return
      case 'createPod':
        await createOnce(client, kinds.pod, action.pod)
        log.info({ pvc, pod: action.pod.metadata.name }, 'pod created that mounts a temporary claim')
        return
      case 'deletePod':
        await client.delete(kinds.pod, keyOf(action.pod), { uid: action.pod.metadata.uid })
        return
      case 'enlarge': {
        const { resourceVersion } = action.claim.metadata
        const spec = { resources: { requests: { storage: action.storage } } }
        await client.patch(kinds.pvc, keyOf(action.claim), { metadata: { resourceVersion }, spec }, { type: 'merge' })
        return
      }
      case 'rebind':
        await handOver(this.#dependencies, action.volume, target)
        return
      case 'cleanUp':
        await this.#cleanUp(target)
        return
      default:
        action satisfies never
    }
  }

  /**
   * Deletes what was made for T. The API server is asked about the namespace where that lies: of what was made a moment ago
   * caches may know nothing, and nobody comes back for it once T is gone. Of other namespaces, which a T that was changed
   * may have named before, the caches know enough.
   */
  async #cleanUp(target: PersistentVolumeClaim): Promise<void> {
    const { client, caches, log } = this.#dependencies
    const { uid, namespace: home = '' } = target.metadata
    const labelSelector = `${labels.ownedByUid}=${uid}`
    const namespace = cloneSourceKeyOf(target)?.namespace ?? home
    for (const [kind, cached] of labelledWith(caches, uid)) {
      // Where snapshots are not installed there are none.
      const { items } = await client.list(kind, { namespace, labelSelector }).catch((error: unknown) => {
        if (!isNotFound(error)) throw error
        return { items: [] }
      })
      const elsewhere = cached.filter(({ metadata }) => metadata.namespace !== namespace)
      for (const object of [...items, ...elsewhere]) {
        if (isTerminating(object)) continue
        await client.delete(kind, keyOf(object), { uid: object.metadata.uid })
        log.info({ pvc: keyOf(target), kind: kind.kind, temporary: keyOf(object) }, 'temporary object deleted')
      }
    }
  }

  /**
   * Something was not accepted. A quota is that of the source's namespace, so it is told on T, and tried again; of a pod it is
   * told as of any worker's (contract/clone.md §6.3).
   */
  async #refused(seen: CloneObservation, action: ClonePlan['action'], error: ApiError): Promise<ReconcileResult> {
    const isQuota = isForbidden(error) && error.message.includes(quotaText)
    if (action?.do === 'createPod') {
      const podName = action.pod.metadata.name ?? ''
      const { event } = reportOfRefusedPod({ podName, exceededQuota: isQuota })
      this.#dependencies.log.warn(
        { pvc: keyOf(seen.target), pod: podName, err: error },
        'the pod of a clone was refused',
      )
      await this.#tell(seen, { ...stopped(seen, event.message, [event], event.reason), error: undefined })
      return { requeueAfterMs: refusedDelayMs }
    }
    const events = isQuota ? [warning(reasons.errExceededQuota, error.message)] : []
    await this.#tell(seen, { ...stopped(seen, error.message, events), error: undefined })
    if (!isQuota) throw error
    return { requeueAfterMs: refusedDelayMs }
  }

  /** Writes what T says, and tells what belongs to it. */
  async #tell({ target, temporary }: CloneObservation, plan: ClonePlan): Promise<ReconcileResult> {
    const written = await patchClaim(this.#dependencies, target, plan)
    for (const event of plan.events) this.#say(written, event)
    if (temporary.claim) for (const event of plan.temporaryEvents) this.#say(temporary.claim, event)
    if (plan.error) throw new Error(plan.error)
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs }
  }

  #say(claim: PersistentVolumeClaim, event: Told): void {
    this.#dependencies.recorder.event(claim, event)
    this.#told.remember(claim, event)
  }
}
