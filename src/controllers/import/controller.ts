/**
 * The import controller: for each claim that carries an import order (P, T in the direct mode, or a claim that somebody
 * annotated by hand) it keeps one importer pod, and writes on the claim what the pod does. Gathering and acting are here,
 * deciding is in `plan.ts`.
 */
import { annotations, importProxyConfigMapName, scratchName } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { ConfigMap, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { ApiError, isAlreadyExists } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import type { NewObject, ObjectKey } from '../../kube/object.ts'
import { controllerOf, controllerRef, isControlledBy } from '../../kube/owners.ts'
import { besides, eventsOf, indexes, inNamespaceOf, targetKeyOf } from '../shared/caches.ts'
import { claimPhase, claimsOfPod, isTerminating, isUnfinished } from '../shared/claim.ts'
import { newestText } from '../shared/claim-events.ts'
import type { ContractLog } from '../shared/contract-log.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { wantsImport } from '../shared/import-source.ts'
import { makeScratch } from '../shared/make-scratch.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { overheadOf } from '../shared/overhead-of.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import { tellRefusedPod } from '../shared/refused-pod.ts'
import { activeCdi, configOf, honorsFirstConsumer } from '../shared/settings.ts'
import { TellOnce } from '../shared/tell-once.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import { isWorkerOf, unownedWorkerOf } from '../shared/worker.ts'
import { planImport, workerNameOf } from './plan.ts'
import type { ImportObservation, ImportPlan } from './plan.ts'
import { renderImporterPod } from './pod.ts'

export interface ImportControllerDependencies extends Dependencies {
  readonly recorder: Recorder
  readonly settings: WorkerSettings
  /** Namespace of the installation, where the proxy's CA lies. */
  readonly cdiNamespace: string
  readonly contractLog: ContractLog
}

const missingCaDelayMs = 5_000

export function importController(dependencies: ImportControllerDependencies): ControllerSpec {
  const { caches } = dependencies
  const { pvcs, pods, events, cdiConfigs } = caches
  const reconciler = new ImportReconciler(dependencies)
  return {
    name: 'import',
    concurrency: 8,
    watches: [
      watching(pvcs, (claim) => {
        const owner = controllerOf(claim)
        // A scratch claim concerns the claim whose worker it belongs to.
        const carriers =
          owner?.kind === 'Pod' ? pvcs.byIndex(indexes.importPod, inNamespaceOf(claim, owner.name)).map(keyOf) : []
        return [keyOf(claim), ...carriers]
      }),
      watching(pods, (pod) => [
        ...claimsOfPod(pod).map((name) => besides(pod, name)),
        ...pvcs.byIndex(indexes.importPod, inNamespaceOf(pod, pod.metadata.name)).map(keyOf),
      ]),
      watching(events, ({ involvedObject: { namespace, name } }) => {
        const claim = name ? pvcs.get({ ...(namespace ? { namespace } : {}), name }) : undefined
        return claim && wantsImport(claim) ? [keyOf(claim)] : []
      }),
      // A gate that closes or opens concerns all claims that wait for their consumer.
      watching(cdiConfigs, () =>
        pvcs
          .list()
          .filter((claim) => wantsImport(claim) && claimPhase(claim) === 'Pending')
          .map(keyOf),
      ),
      // Not a source of keys: nothing may be decided before these are known.
      watching(caches.storageClasses, () => []),
      watching(caches.cdis, () => []),
    ],
    reconcile: untilNamespaceGoes((key) => reconciler.reconcile(key)),
  }
}

class ImportReconciler {
  readonly #dependencies: ImportControllerDependencies
  /** UIDs of pods whose proxy CA was copied by this process; only spares requests. */
  readonly #caCopied = new Set<string>()
  /** UIDs of claims that were said to be none of ours. */
  readonly #skipped = new Set<string>()

  readonly #states: TellOnce

  constructor(dependencies: ImportControllerDependencies) {
    this.#dependencies = dependencies
    this.#states = new TellOnce(dependencies)
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, ownWrites } = this.#dependencies
    const carrier = caches.pvcs.get(key)
    await this.#clearOrphans(key, carrier)
    if (!carrier || ownWrites.isBehind(carrier)) return {}
    if (!wantsImport(carrier)) {
      this.#skip(carrier)
      return {}
    }
    const plan = planImport(this.#observe(carrier))
    if (typeof plan.pod === 'object') return this.#startWorker(key)
    return this.#act(carrier, plan)
  }

  /** Deletes workers without an owner whose claim has gone: what Kubernetes does for all others. */
  async #clearOrphans(key: ObjectKey, carrier: PersistentVolumeClaim | undefined): Promise<void> {
    const { client, caches, log } = this.#dependencies
    const suspects = caches.pods.byIndex(indexes.claim, formatKey(key)).filter((pod) => {
      const claimUid = unownedWorkerOf(pod)
      return claimUid !== undefined && claimUid !== carrier?.metadata.uid && !isTerminating(pod)
    })
    if (suspects.length === 0) return
    const live = await client.get(kinds.pvc, key)
    for (const pod of suspects) {
      if (unownedWorkerOf(pod) === live?.metadata.uid) continue
      log.info({ pvc: key, pod: pod.metadata.name }, 'importer pod without a claim deleted')
      await client.delete(kinds.pod, keyOf(pod), { uid: pod.metadata.uid })
    }
  }

  /** Says once of a claim that it is none of ours. */
  #skip({ metadata: { uid, name, namespace } }: PersistentVolumeClaim): void {
    if (this.#skipped.has(uid)) return
    if (this.#skipped.size > 10_000) this.#skipped.clear()
    this.#skipped.add(uid)
    this.#dependencies.contractLog('PVC annotation not found, skipping pvc', [
      ['PVC', { name, namespace }],
      ['annotation', annotations.importEndpoint],
    ])
  }

  #observe(carrier: PersistentVolumeClaim): ImportObservation {
    const { caches, clock } = this.#dependencies
    const config = configOf(caches)
    const worker = workerNameOf(carrier)
    return {
      carrier,
      pod: caches.pods.get(besides(carrier, worker)),
      otherUsers: caches.pods
        .byIndex(indexes.claim, inNamespaceOf(carrier, carrier.metadata.name))
        .filter((pod) => pod.metadata.name !== worker && isUnfinished(pod)),
      scratch: caches.pvcs.get(besides(carrier, scratchName(carrier.metadata.name))),
      config,
      honorWaitForFirstConsumer: honorsFirstConsumer(config),
      storageClass: caches.storageClasses.get({ name: carrier.spec?.storageClassName ?? '' }),
      newestEvent: claimPhase(carrier) === 'Pending' ? newestText(eventsOf(caches.events, carrier)) : undefined,
      now: clock.now(),
    }
  }

  /**
   * Makes a worker, if the claim as it is in the API still needs one: the caches of claims and pods are two streams, and a
   * claim that looks untouched while its worker is gone may be one that is done.
   */
  async #startWorker(key: ObjectKey): Promise<ReconcileResult> {
    const { client, caches } = this.#dependencies
    const carrier = await client.get(kinds.pvc, key)
    if (!carrier || !wantsImport(carrier)) return {}
    const plan = planImport(this.#observe(carrier))
    if (typeof plan.pod !== 'object') return this.#act(carrier, plan)
    const written = await this.#write(carrier, plan)
    const { create: podName, withScratch } = plan.pod
    const pod = renderImporterPod({
      carrier: written,
      labelled: caches.pvcs.get(targetKeyOf(written)) ?? written,
      podName,
      withScratch,
      settings: this.#dependencies.settings,
      config: configOf(caches),
      cdi: activeCdi(caches),
      filesystemOverhead: overheadOf(caches, written.spec?.storageClassName),
    })
    try {
      await client.create(kinds.pod, pod)
      this.#dependencies.log.info({ pvc: key, pod: podName, withScratch }, 'importer pod created')
      return {}
    } catch (error) {
      if (isAlreadyExists(error)) return await this.#meetNamesake(written, podName)
      if (!(error instanceof ApiError)) throw error
      return await tellRefusedPod(this.#dependencies, { carrier: written, podName, error })
    }
  }

  /** The name is taken: by our own pod that the cache does not show yet, or by something that has to go first. */
  async #meetNamesake(carrier: PersistentVolumeClaim, podName: string): Promise<ReconcileResult> {
    const pod = await this.#dependencies.client.get(kinds.pod, besides(carrier, podName))
    if (pod && isWorkerOf(pod, carrier)) return {}
    return { requeueAfterMs: 1_000 }
  }

  async #act(carrier: PersistentVolumeClaim, plan: ImportPlan): Promise<ReconcileResult> {
    const { client, log, settings } = this.#dependencies
    const written = await this.#write(carrier, plan)
    const pod = this.#dependencies.caches.pods.get(besides(written, workerNameOf(written)))
    let requeueAfterMs = plan.requeueAfterMs
    const later = (delayMs: number | undefined): void => {
      if (delayMs !== undefined) requeueAfterMs = Math.min(requeueAfterMs ?? delayMs, delayMs)
    }
    if (pod && plan.makeScratch) {
      later(await makeScratch({ ...this.#dependencies, installer: settings.installer }, written, pod))
    }
    if (pod && plan.copyProxyCa) later(await this.#copyProxyCa(written, pod, plan.copyProxyCa))
    if (plan.pod === 'delete' && pod && !isTerminating(pod)) {
      log.info({ pvc: keyOf(written), pod: pod.metadata.name, because: plan.because }, 'importer pod deleted')
      await client.delete(kinds.pod, keyOf(pod), { uid: pod.metadata.uid })
    }
    return requeueAfterMs === undefined ? {} : { requeueAfterMs }
  }

  /** Writes what the claim should say, and tells the events that belong to it. */
  async #write(carrier: PersistentVolumeClaim, plan: ImportPlan): Promise<PersistentVolumeClaim> {
    const written = await patchClaim(this.#dependencies, carrier, plan)
    for (const event of plan.events) this.#dependencies.recorder.event(written, event)
    if (plan.state) this.#states.tell(written, plan.state)
    return written
  }

  /** Puts the proxy's CA beside the pod, which waits for it. @returns when to come again, if it is not there yet */
  async #copyProxyCa(carrier: PersistentVolumeClaim, pod: Pod, name: string): Promise<number | undefined> {
    const { client, cdiNamespace, log } = this.#dependencies
    if (this.#caCopied.has(pod.metadata.uid)) return undefined
    const source = await client.get(kinds.configMap, { namespace: cdiNamespace, name })
    if (!source) {
      log.warn({ configMap: `${cdiNamespace}/${name}` }, 'the CA of the proxy is not there')
      return missingCaDelayMs
    }
    const copy: NewObject<ConfigMap> = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        ...besides(carrier, importProxyConfigMapName(carrier.metadata.name)),
        ownerReferences: [controllerRef(pod)],
      },
      ...(source.data ? { data: source.data } : {}),
      ...(source.binaryData ? { binaryData: source.binaryData } : {}),
    }
    try {
      await client.create(kinds.configMap, copy)
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const present = await client.get(kinds.configMap, besides(carrier, copy.metadata.name ?? ''))
      // One of a former pod is on its way out.
      if (!present || !isControlledBy(present, pod)) return 1_000
    }
    if (this.#caCopied.size > 10_000) this.#caCopied.clear()
    this.#caCopied.add(pod.metadata.uid)
    return undefined
  }
}
