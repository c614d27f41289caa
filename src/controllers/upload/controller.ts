/**
 * The upload controller: for each claim that a client shall fill (P, T in the direct mode, or a claim that somebody
 * annotated), and for each that is copied from another one, it keeps one upload server with its Service and its
 * certificates, and writes on the claim what the server does. Who sends to the server of a copy is the business of
 * `clone/copy-controller.ts`. Gathering and acting are here, deciding is in `plan.ts`.
 */
import { annotations, messages, reasons, scratchName } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { resumptionPath, uploadServerPort } from '../../api/upload-env.ts'
import { certificateNames } from '../../certs/names.ts'
import { lifetimesOf } from '../../certs/lifetimes.ts'
import { ApiError, isAlreadyExists } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { keyOf } from '../../kube/object.ts'
import type { KubeObject, ObjectKey } from '../../kube/object.ts'
import { controllerOf, isControlledBy } from '../../kube/owners.ts'
import { annotationOf } from '../shared/annotated.ts'
import { besides, eventsOf, indexes, inNamespaceOf, unfilled } from '../shared/caches.ts'
import { claimPhase, claimsOfPod, isTerminating, isUnfinished } from '../shared/claim.ts'
import { newestText } from '../shared/claim-events.ts'
import { oncePerState } from '../shared/contract-log.ts'
import type { ContractLog } from '../shared/contract-log.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { makeScratch } from '../shared/make-scratch.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { overheadOf } from '../shared/overhead-of.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import { formerSecretDelayMs, PodSecrets } from '../shared/pod-secrets.ts'
import { tellRefusedPod } from '../shared/refused-pod.ts'
import { activeCdi, configOf, honorsFirstConsumer } from '../shared/settings.ts'
import { TellOnce } from '../shared/tell-once.ts'
import { warning } from '../shared/told.ts'
import { isCloneTarget, isServed, isUploadTarget } from '../shared/upload-target.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import { issueServerIdentity, uploadAuthorities } from './identity.ts'
import type { ServerIdentity } from './identity.ts'
import { isLeftAlone, planUpload, takenServiceDelayMs, uploadServerOf, uploadServiceOf } from './plan.ts'
import type { UploadObservation, UploadPlan } from './plan.ts'
import { renderUploadPod, renderUploadSecret, renderUploadService } from './pod.ts'
import type { ResumptionReader, UploadServerAddress } from './resumption.ts'

export interface UploadControllerDependencies extends Dependencies {
  readonly recorder: Recorder
  readonly settings: WorkerSettings
  /** Namespace of the installation, where the authorities lie. */
  readonly cdiNamespace: string
  readonly contractLog: ContractLog
  readonly resumptions: ResumptionReader
}

export function uploadController(dependencies: UploadControllerDependencies): ControllerSpec {
  const { caches, resumptions, cdiNamespace } = dependencies
  const { pvcs, pods, services, events, cdiConfigs, cdiSecrets, cdiConfigMaps } = caches
  const reconciler = new UploadReconciler(dependencies)
  const waiting = (): ObjectKey[] =>
    pvcs
      .byIndex(indexes.unfilled, unfilled)
      .filter((claim) => claimPhase(claim) === 'Pending')
      .map(keyOf)
  const { uploadServer, uploadClient } = certificateNames
  const authorities = new Set<string>([
    uploadServer.signer,
    uploadServer.bundle,
    uploadClient.signer,
    uploadClient.bundle,
  ])
  /** An authority that appears is what claims without a server wait for. */
  const unserved = ({ metadata: { name, namespace } }: KubeObject): ObjectKey[] =>
    namespace === cdiNamespace && authorities.has(name)
      ? pvcs
          .byIndex(indexes.unfilled, unfilled)
          .filter((claim) => !pods.get(besides(claim, uploadServerOf(claim))))
          .map(keyOf)
      : []
  return {
    name: 'upload',
    concurrency: 8,
    watches: [
      watching(pvcs, (claim) => {
        const owner = controllerOf(claim)
        // A scratch claim concerns the claim whose server it belongs to.
        return [keyOf(claim), ...(owner?.kind === 'Pod' ? claimOfPod(pods.get(besides(claim, owner.name))) : [])]
      }),
      watching(pods, (pod) => [...claimsOfPod(pod).map((name) => besides(pod, name)), ...claimOfPod(pod)]),
      watching(services, (service) => claimOfPod(service)),
      watching(events, ({ involvedObject: { namespace, name } }) => {
        const claim = name ? pvcs.get({ ...(namespace ? { namespace } : {}), name }) : undefined
        return claim && isServed(claim) ? [keyOf(claim)] : []
      }),
      // A gate that closes or opens concerns all claims that wait for their consumer.
      watching(cdiConfigs, waiting),
      watching(cdiSecrets, unserved),
      watching(cdiConfigMaps, unserved),
      resumptions,
      // Not a source of keys: nothing may be decided before these are known.
      watching(caches.storageClasses, () => []),
      watching(caches.cdis, () => []),
    ],
    reconcile: untilNamespaceGoes((key) => reconciler.reconcile(key)),
  }
}

/** The claim that owns a pod or a Service. */
function claimOfPod(object: KubeObject | undefined): ObjectKey[] {
  const owner = object && controllerOf(object)
  return object && owner?.kind === 'PersistentVolumeClaim' ? [besides(object, owner.name)] : []
}

class UploadReconciler {
  readonly #dependencies: UploadControllerDependencies
  readonly #secrets: PodSecrets
  readonly #states: TellOnce
  readonly #sayOnce: ReturnType<typeof oncePerState>

  constructor(dependencies: UploadControllerDependencies) {
    this.#dependencies = dependencies
    this.#secrets = new PodSecrets(dependencies)
    this.#states = new TellOnce(dependencies)
    this.#sayOnce = oncePerState(dependencies.contractLog)
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, ownWrites, resumptions } = this.#dependencies
    const carrier = caches.pvcs.get(key)
    if (!carrier) resumptions.follow(key, undefined)
    if (!carrier || ownWrites.isBehind(carrier)) return {}
    const seen = this.#observe(carrier)
    if (isServed(carrier) && isLeftAlone(seen)) this.#say(carrier)
    const plan = planUpload(seen)
    if (typeof plan.pod === 'object') return this.#startServer(key)
    return this.#act(carrier, plan)
  }

  /** Says once of a claim in each of its states that there is nothing to do, in the words that others match. */
  #say(carrier: PersistentVolumeClaim): void {
    const { uid, name, namespace } = carrier.metadata
    this.#sayOnce(uid, 'not doing anything with PVC', [
      ['PVC', { name, namespace }],
      ['isUpload', isUploadTarget(carrier)],
      ['isCloneTarget', isCloneTarget(carrier)],
      ['isBound', claimPhase(carrier) === 'Bound'],
      ['podSucceededFromPVC', annotationOf(carrier, annotations.podPhase) === 'Succeeded'],
      ['deletionTimeStamp set?', isTerminating(carrier)],
    ])
  }

  #observe(carrier: PersistentVolumeClaim): UploadObservation {
    const { caches, clock, resumptions } = this.#dependencies
    const worker = uploadServerOf(carrier)
    const pod = caches.pods.get(besides(carrier, worker))
    return {
      carrier,
      pod,
      service: caches.services.get(besides(carrier, uploadServiceOf(carrier))),
      otherUsers: caches.pods
        .byIndex(indexes.claim, inNamespaceOf(carrier, carrier.metadata.name))
        .filter((user) => user.metadata.name !== worker && isUnfinished(user)),
      scratch: caches.pvcs.get(besides(carrier, scratchName(carrier.metadata.name))),
      honorWaitForFirstConsumer: honorsFirstConsumer(configOf(caches)),
      storageClass: caches.storageClasses.get({ name: carrier.spec?.storageClassName ?? '' }),
      newestEvent: claimPhase(carrier) === 'Pending' ? newestText(eventsOf(caches.events, carrier)) : undefined,
      resumption: resumptions.answerOf(keyOf(carrier), pod?.metadata.uid),
      now: clock.now(),
    }
  }

  /**
   * Makes a server, if the claim as it is in the API still needs one: the caches of claims and pods are two streams, and a
   * claim that looks untouched while its server is gone may be one that is done.
   */
  async #startServer(key: ObjectKey): Promise<ReconcileResult> {
    const { client, caches, settings, log } = this.#dependencies
    const carrier = await client.get(kinds.pvc, key)
    if (!carrier) return {}
    const plan = planUpload(this.#observe(carrier))
    if (typeof plan.pod !== 'object') return this.#act(carrier, plan)
    const { create: podName, withScratch } = plan.pod
    const identity = await this.#issue(carrier)
    // The caches of the authorities bring the key up again.
    if (!identity) return {}
    const written = await this.#write(carrier, plan)
    const config = configOf(caches)
    const pod = renderUploadPod({
      carrier: written,
      podName,
      withScratch,
      settings,
      config,
      cdi: activeCdi(caches),
      filesystemOverhead: overheadOf(caches, written.spec?.storageClassName),
      deadline: identity.deadline,
    })
    let made: Pod
    try {
      // Before the pod: two claims may want the same name for their Services, and only one of them may have a server.
      if (typeof plan.service === 'object' && !(await this.#makeService(written))) {
        return { requeueAfterMs: takenServiceDelayMs }
      }
      made = await client.create(kinds.pod, pod)
    } catch (error) {
      if (isAlreadyExists(error)) return await this.#meetNamesake(written, podName)
      if (!(error instanceof ApiError)) throw error
      return await tellRefusedPod(this.#dependencies, { carrier: written, podName, error })
    }
    log.info({ pvc: key, pod: podName, withScratch }, 'upload server created')
    return await this.#makeSecret(made, identity)
  }

  /** Certificates for a pod; undefined while there is nobody to sign them. */
  async #issue(carrier: PersistentVolumeClaim): Promise<ServerIdentity | undefined> {
    const { caches, cdiNamespace, clock, log } = this.#dependencies
    const authorities = uploadAuthorities(caches, cdiNamespace)
    if (!authorities) {
      log.warn({ pvc: keyOf(carrier) }, 'the authorities of upload servers are not there yet')
      return undefined
    }
    return issueServerIdentity({
      authorities,
      service: uploadServiceOf(carrier),
      namespace: carrier.metadata.namespace ?? '',
      lifetimes: lifetimesOf(activeCdi(caches)?.spec.certConfig).lifetimes,
      now: clock.now(),
    })
  }

  /** The name is taken: by our own pod that the cache does not show yet, or by something that has to go first. */
  async #meetNamesake(carrier: PersistentVolumeClaim, podName: string): Promise<ReconcileResult> {
    const pod = await this.#dependencies.client.get(kinds.pod, besides(carrier, podName))
    if (pod && isControlledBy(pod, carrier)) return {}
    return { requeueAfterMs: 1_000 }
  }

  async #act(carrier: PersistentVolumeClaim, plan: UploadPlan): Promise<ReconcileResult> {
    const { client, log, caches, settings } = this.#dependencies
    const key = keyOf(carrier)
    const podName = uploadServerOf(carrier)
    const pod = caches.pods.get(besides(carrier, podName))
    this.#follow(key, carrier, plan.follow ? pod : undefined)
    if (plan.error) throw new Error(plan.error)
    const written = await this.#write(carrier, plan)
    let { requeueAfterMs } = plan
    const later = (delayMs: number | undefined): void => {
      if (delayMs !== undefined) requeueAfterMs = Math.min(requeueAfterMs ?? delayMs, delayMs)
    }
    if (pod && plan.makeScratch) {
      later(await makeScratch({ ...this.#dependencies, installer: settings.installer }, written, pod))
    }
    if (typeof plan.service === 'object' && !(await this.#makeService(written))) {
      later(takenServiceDelayMs)
    }
    if (pod && plan.needsSecret && !this.#secrets.isThere(pod)) {
      const identity = await this.#issue(written)
      later(identity ? (await this.#makeSecret(pod, identity)).requeueAfterMs : formerSecretDelayMs)
    }
    if (plan.pod === 'delete' && pod && !isTerminating(pod)) {
      log.info({ pvc: key, pod: podName, because: plan.because }, 'upload server deleted')
      await client.delete(kinds.pod, keyOf(pod), { uid: pod.metadata.uid })
    }
    const service = caches.services.get(besides(carrier, uploadServiceOf(carrier)))
    if (plan.service === 'delete' && service) {
      await client.delete(kinds.service, keyOf(service), { uid: service.metadata.uid })
    }
    return requeueAfterMs === undefined ? {} : { requeueAfterMs }
  }

  /** Asks a server what it has made durable, or no longer. */
  #follow(key: ObjectKey, carrier: PersistentVolumeClaim, pod: Pod | undefined): void {
    const ip = pod?.status?.podIP
    const address: UploadServerAddress | undefined = ip
      ? {
          ip,
          port: uploadServerPort,
          name: `${uploadServiceOf(carrier)}.${carrier.metadata.namespace ?? ''}.svc`,
          path: resumptionPath,
        }
      : undefined
    this.#dependencies.resumptions.follow(key, pod && address && { uid: pod.metadata.uid, address })
  }

  /** Writes what the claim should say, and tells the events that belong to it. */
  async #write(carrier: PersistentVolumeClaim, plan: UploadPlan): Promise<PersistentVolumeClaim> {
    const written = await patchClaim(this.#dependencies, carrier, plan)
    for (const event of plan.events) this.#dependencies.recorder.event(written, event)
    if (plan.state) this.#states.tell(written, plan.state)
    return written
  }

  /** @returns false if the name is taken by something that is not (or no longer) the claim's */
  async #makeService(carrier: PersistentVolumeClaim): Promise<boolean> {
    const { client, settings } = this.#dependencies
    const service = renderUploadService({ carrier, installer: settings.installer })
    try {
      await client.create(kinds.service, service)
      return true
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
      const present = await client.get(kinds.service, besides(carrier, uploadServiceOf(carrier)))
      if (!present) return false
      if (isControlledBy(present, carrier)) return !isTerminating(present)
      const { namespace = '', name } = present.metadata
      this.#states.tell(carrier, warning(reasons.errStartingPod, messages.serviceInUse({ namespace, name })))
      return false
    }
  }

  #makeSecret(pod: Pod, identity: ServerIdentity): Promise<ReconcileResult> {
    const { installer } = this.#dependencies.settings
    return this.#secrets.make(pod, renderUploadSecret({ pod, identity, installer }))
  }
}
