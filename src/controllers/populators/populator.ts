/**
 * The populator protocol (contract/datavolume.md §8), the same for every kind of source: P is made for a claim T whose
 * dataSourceRef names a source resource, T follows P, and at the end P's volume becomes T's. Gathering and acting are here,
 * deciding is in `plan.ts`; what differs between sources is a {@link Population}.
 */
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import { annotations, primeName, quotaText, reasons } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { ApiError, isAlreadyExists, isForbidden } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult, Watch } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { annotationOf, changesOf } from '../shared/annotated.ts'
import { boundAnnotations } from '../shared/bound-annotations.ts'
import { besides, eventsOf, indexes, targetKeyOf } from '../shared/caches.ts'
import { claimPhase, isPrime } from '../shared/claim.ts'
import { toldKey } from '../shared/claim-events.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { handOver } from '../shared/hand-over.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import type { ProgressReader } from '../shared/progress.ts'
import { ToldMemory } from '../shared/told-memory.ts'
import { warning } from '../shared/told.ts'
import type { Told } from '../shared/told.ts'
import { claimKeysOfWorker } from '../shared/worker.ts'
import { planPopulation } from './plan.ts'
import type { PopulationObservation, PopulationPlan, PopulatorWords } from './plan.ts'

/** One kind of source. */
export interface Population {
  /** Name of the controller in logs and metrics. */
  readonly name: string
  readonly words: PopulatorWords
  /** What the source resource puts on P; undefined if it is not there or not for this claim. */
  readonly sourceAnnotationsOf: (target: PersistentVolumeClaim) => Readonly<Record<string, string>> | undefined
  /** Keys of claims whose source resource has changed. */
  readonly sources: Watch
  /** The pod that works on P, and the UID under which it reports progress; without it none is shown. */
  readonly workerOf?: (prime: PersistentVolumeClaim) => Parameters<ProgressReader['follow']>[1]
}

export interface PopulatorDependencies extends Dependencies {
  readonly population: Population
  readonly recorder: Recorder
  readonly progress: ProgressReader
  readonly installer: InstallerLabels
}

/** A quota that was raised shows itself to nobody, so a refused P is tried again this often. */
const refusedDelayMs = 10_000

export function populatorController(dependencies: PopulatorDependencies): ControllerSpec {
  const { caches, population, progress } = dependencies
  const { pvcs, pvs, pods, events, storageClasses } = caches
  const reconciler = new Populator(dependencies)
  const targetOfPrime = (key: ObjectKey): ObjectKey[] => {
    const claim = pvcs.get(key)
    return claim && isPrime(claim) ? [targetKeyOf(claim)] : []
  }
  return {
    name: population.name,
    concurrency: 8,
    watches: [
      watching(pvcs, (claim) => [targetKeyOf(claim)]),
      population.sources,
      progress,
      watching(pods, (pod) => claimKeysOfWorker(pod).flatMap(targetOfPrime)),
      watching(pvs, ({ spec }) => {
        const { namespace, name } = spec?.claimRef ?? {}
        return name ? targetOfPrime({ ...(namespace ? { namespace } : {}), name }) : []
      }),
      watching(events, ({ involvedObject: { namespace, name } }) =>
        name ? targetOfPrime({ ...(namespace ? { namespace } : {}), name }) : [],
      ),
      watching(storageClasses, ({ metadata: { name } }) =>
        pvcs
          .byIndex(indexes.storageClass, name)
          .filter((claim) => claimPhase(claim) === 'Pending')
          .map(targetKeyOf),
      ),
      // Not a source of keys: its preallocation must be known before P is made.
      watching(caches.cdiConfigs, () => []),
    ],
    reconcile: untilNamespaceGoes((key) => reconciler.reconcile(key)),
  }
}

class Populator {
  readonly #dependencies: PopulatorDependencies
  readonly #told = new ToldMemory()

  constructor(dependencies: PopulatorDependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, population, progress, ownWrites } = this.#dependencies
    const target = caches.pvcs.get(key)
    if (target && ownWrites.isBehind(target)) return {}
    if (!target || !this.#isOurs(target)) {
      progress.follow(key, undefined)
      return {}
    }
    const prime = caches.pvcs.get(besides(target, primeName(target.metadata.uid)))
    const runs = prime !== undefined && annotationOf(prime, annotations.podPhase) === 'Running'
    progress.follow(key, runs ? population.workerOf?.(prime) : undefined)

    const plan = planPopulation(this.#observe(target, prime))
    if (plan.createPrime) return this.#makePrime(key)
    return this.#act(target, prime, plan)
  }

  #isOurs({ spec }: PersistentVolumeClaim): boolean {
    const reference = spec?.dataSourceRef
    return (
      reference?.apiGroup === 'cdi.kubevirt.io' &&
      reference.kind === this.#dependencies.population.words.sourceKind &&
      !reference.namespace
    )
  }

  #observe(target: PersistentVolumeClaim, prime: PersistentVolumeClaim | undefined): PopulationObservation {
    const { caches, population, progress, installer } = this.#dependencies
    const volumeName = prime?.spec?.volumeName
    return {
      target,
      sourceAnnotations: population.sourceAnnotationsOf(target),
      prime,
      primeVolume: volumeName ? caches.pvs.get({ name: volumeName }) : undefined,
      storageClass: caches.storageClasses.get({ name: target.spec?.storageClassName ?? '' }),
      targetEvents: prime ? eventsOf(caches.events, target) : [],
      primeEvents: prime ? eventsOf(caches.events, prime) : [],
      alreadyTold: this.#told.of(target),
      progressPercent: progress.percentOf(keyOf(target)),
      installer,
      words: population.words,
    }
  }

  /**
   * Makes P, if T as it is in the API still needs one: a P that the cache does not show may have done its work and be gone
   * already, while the cache's T is of before.
   */
  async #makePrime(key: ObjectKey): Promise<ReconcileResult> {
    const { client, log } = this.#dependencies
    const target = await client.get(kinds.pvc, key)
    if (!target || !this.#isOurs(target)) return {}
    const plan = planPopulation(this.#observe(target, undefined))
    if (!plan.createPrime) return this.#act(target, undefined, plan)
    try {
      await client.create(kinds.pvc, plan.createPrime)
    } catch (error) {
      if (!isAlreadyExists(error)) return this.#refused(target, error)
      // Ours of a moment ago, or somebody else's; the cache will show which.
      return this.#act(target, undefined, { ...plan, events: [] })
    }
    log.info({ pvc: key, prime: plan.createPrime.metadata.name }, 'P created')
    return this.#act(target, undefined, plan)
  }

  /** P was not accepted. A quota is told on T, from where it reaches the DataVolume: only the user can put it right. */
  async #refused(target: PersistentVolumeClaim, error: unknown): Promise<ReconcileResult> {
    if (!(error instanceof ApiError)) throw error
    this.#dependencies.recorder.event(target, warning(reasons.errCreatingPvcPrime, error.message))
    if (!isForbidden(error) || !error.message.includes(quotaText)) throw error
    const told = changesOf(target.metadata.annotations, boundAnnotations(reasons.errExceededQuota, error.message))
    await patchClaim(this.#dependencies, target, { annotations: told })
    return { requeueAfterMs: refusedDelayMs }
  }

  async #act(
    target: PersistentVolumeClaim,
    prime: PersistentVolumeClaim | undefined,
    plan: PopulationPlan,
  ): Promise<ReconcileResult> {
    const { client, recorder, log } = this.#dependencies
    if (plan.rebind) await handOver(this.#dependencies, plan.rebind, target)
    const written = await patchClaim(this.#dependencies, target, plan)
    for (const event of plan.events) {
      recorder.event(written, event)
      this.#told.remember(written, event)
    }
    if (prime) for (const event of plan.primeEvents) this.#tellOnce(prime, event)
    if (prime && plan.deletePrime) {
      await client.delete(kinds.pvc, keyOf(prime), { uid: prime.metadata.uid })
      log.info({ pvc: keyOf(target), prime: prime.metadata.name }, 'P deleted, its volume is with the claim')
    }
    if (plan.error) throw new Error(plan.error)
    return plan.requeueAfterMs === undefined ? {} : { requeueAfterMs: plan.requeueAfterMs }
  }

  #tellOnce(claim: PersistentVolumeClaim, event: Told): void {
    if (this.#told.of(claim).has(toldKey(event))) return
    this.#dependencies.recorder.event(claim, event)
    this.#told.remember(claim, event)
  }
}
