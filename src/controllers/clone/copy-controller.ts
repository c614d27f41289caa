/**
 * The copy controller: for each claim that is copied from another one, and whose upload server is ready, it keeps the source
 * pod that reads the other one and sends it, and says on the claim when all is there (contract/clone.md §7). The upload
 * server is made by the upload controller. Gathering and acting are here, deciding is in `copy-plan.ts`.
 */
import { annotations, labels, labelValues, sourcePodName, temporaryPvcName } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import { lifetimesOf } from '../../certs/lifetimes.ts'
import type { Lifetimes } from '../../certs/lifetimes.ts'
import { ApiError, isAlreadyExists } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { formatKey, keyOf, parseKey } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { annotationOf } from '../shared/annotated.ts'
import { inNamespaceOf, indexes, receiverOf } from '../shared/caches.ts'
import { claimPhase, claimsOfPod, isTerminating } from '../shared/claim.ts'
import { cloneSourceKeyOf } from '../shared/clone-reference.ts'
import { oncePerState } from '../shared/contract-log.ts'
import type { ContractLog } from '../shared/contract-log.ts'
import type { Dependencies, Recorder } from '../shared/dependencies.ts'
import { untilNamespaceGoes } from '../shared/namespace-going.ts'
import { overheadOf } from '../shared/overhead-of.ts'
import { patchClaim } from '../shared/patch-claim.ts'
import { PodSecrets } from '../shared/pod-secrets.ts'
import { tellRefusedPod } from '../shared/refused-pod.ts'
import { activeCdi, configOf } from '../shared/settings.ts'
import { TellOnce } from '../shared/tell-once.ts'
import { cloneClientName, cloneSourceOf, isCloneTarget, isCopied } from '../shared/upload-target.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import { uploadAuthorities } from '../upload/identity.ts'
import type { ClientIdentity } from '../upload/identity.ts'
import { isFilled, isHeld, isSettled, planCopy, sourceDelayMs, sourceRefused, wantsSource } from './copy-plan.ts'
import type { CopyObservation, CopyPlan, CopySource } from './copy-plan.ts'
import { issueSourceIdentity, mayHaveOldCertificates } from './source-identity.ts'
import { renderSourcePod, renderSourceSecret } from './source-pod.ts'
import { isPopulated, writersOf } from './source-use.ts'
import { CloneTokenError } from './tokens.ts'
import type { CloneOrder, CloneTokens } from './tokens.ts'

export interface CopyControllerDependencies extends Dependencies {
  readonly recorder: Recorder
  readonly settings: WorkerSettings
  /** Namespace of the installation, where the authorities lie. */
  readonly cdiNamespace: string
  readonly contractLog: ContractLog
  readonly tokens: CloneTokens
}

/** A pod of that name that is not ours, or goes away, is gone soon. */
const namesakeDelayMs = 1_000

export function copyController(dependencies: CopyControllerDependencies): ControllerSpec {
  const { pvcs, pods, dataVolumes, events, cdiConfigs, cdis, storageClasses, cdiSecrets, cdiConfigMaps } =
    dependencies.caches
  const reconciler = new CopyReconciler(dependencies)
  /** The claims that are copied from this one. */
  const receiversOf = (source: string): ObjectKey[] => pvcs.byIndex(indexes.cloneRequest, source).map(keyOf)
  return {
    name: 'clone',
    concurrency: 8,
    watches: [
      watching(pvcs, (claim) => [
        ...(isCloneTarget(claim) || isHeld(claim) ? [keyOf(claim)] : []),
        ...receiversOf(formatKey(keyOf(claim))),
      ]),
      // Of source pods, their receivers; of whoever uses a claim, those that wait for it.
      watching(pods, (pod) => {
        const receiver = receiverOf(pod)
        return receiver
          ? [parseKey(receiver)]
          : claimsOfPod(pod).flatMap((name) => receiversOf(inNamespaceOf(pod, name)))
      }),
      // A source is filled when its DataVolume, which has its name, says so.
      watching(dataVolumes, (dataVolume) => receiversOf(formatKey(keyOf(dataVolume)))),
      // Not sources of keys: nothing may be decided before these are known.
      watching(events, () => []),
      watching(cdiConfigs, () => []),
      watching(cdis, () => []),
      watching(storageClasses, () => []),
      watching(cdiSecrets, () => []),
      watching(cdiConfigMaps, () => []),
    ],
    reconcile: untilNamespaceGoes((key) => reconciler.reconcile(key)),
  }
}

class CopyReconciler {
  readonly #dependencies: CopyControllerDependencies
  readonly #secrets: PodSecrets
  readonly #states: TellOnce
  readonly #sayOnce: ReturnType<typeof oncePerState>
  /** By UID, since when a receiver is known to be filled whose source pod still runs; a new process waits anew. */
  readonly #filledSince = new Map<string, number>()

  constructor(dependencies: CopyControllerDependencies) {
    this.#dependencies = dependencies
    this.#secrets = new PodSecrets(dependencies)
    this.#states = new TellOnce(dependencies)
    this.#sayOnce = oncePerState(dependencies.contractLog)
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { caches, ownWrites } = this.#dependencies
    const receiver = caches.pvcs.get(key)
    await this.#deleteOrphans(key, receiver)
    if (!receiver || ownWrites.isBehind(receiver)) return {}
    if (isSettled(receiver)) this.#say(receiver)
    const plan = planCopy(await this.#observe(receiver))
    return plan.pod === 'create' ? this.#startCopy(key) : this.#act(receiver, plan)
  }

  /** Says once of a claim in each of its states that there is nothing to do, in the words that others match. */
  #say(receiver: PersistentVolumeClaim): void {
    const { uid, name, namespace } = receiver.metadata
    this.#sayOnce(uid, 'not doing anything with PVC', [
      ['PVC', { name, namespace }],
      ['checkPVC(AnnCloneRequest)', isCloneTarget(receiver)],
      ['NOT has annotation(AnnCloneOf)', !isCopied(receiver)],
      ['isBound', claimPhase(receiver) === 'Bound'],
      ['has finalizer?', isHeld(receiver)],
    ])
  }

  async #observe(receiver: PersistentVolumeClaim): Promise<CopyObservation> {
    const { caches, clock } = this.#dependencies
    const pod = this.#podOf(receiver)
    return {
      receiver,
      overhead: overheadOf(caches, receiver.spec?.storageClassName),
      pod,
      source: wantsSource({ receiver, pod }) ? await this.#sourceOf(receiver) : undefined,
      mayHaveOldCertificates: pod !== undefined && this.#mayHaveOldCertificates(pod),
      filledForMs: this.#filledForMs(receiver, pod),
      now: clock.now(),
    }
  }

  /** Only beside the source is it ours: whoever may make pods elsewhere may call one so, and would be given its Secret. */
  #podOf(receiver: PersistentVolumeClaim): Pod | undefined {
    const namespace = cloneSourceOf(receiver)?.namespace
    const name = sourcePodName(receiver.metadata.uid)
    return this.#sourcePodsFor(keyOf(receiver)).find(
      ({ metadata }) => metadata.name === name && metadata.namespace === namespace,
    )
  }

  #sourcePodsFor(receiver: ObjectKey): Pod[] {
    return this.#dependencies.caches.pods.byIndex(indexes.receiver, formatKey(receiver))
  }

  async #sourceOf(receiver: PersistentVolumeClaim): Promise<CopySource | undefined> {
    const { caches } = this.#dependencies
    const key = cloneSourceOf(receiver)
    const claim = key && caches.pvcs.get(key)
    if (!claim || isTerminating(claim)) return undefined
    return {
      claim,
      overhead: overheadOf(caches, claim.spec?.storageClassName),
      isPopulated: isPopulated(caches, claim),
      writers: writersOf(caches, claim),
      refusal: await this.#refusalOf(receiver, claim),
    }
  }

  /** Why the source must not be read for a receiver in another namespace; throws while that cannot be told. */
  async #refusalOf(receiver: PersistentVolumeClaim, source: PersistentVolumeClaim): Promise<string | undefined> {
    if (receiver.metadata.namespace === source.metadata.namespace) return undefined
    try {
      await this.#dependencies.tokens.assertAllowed(receiver, orderOf(receiver, source))
      return undefined
    } catch (error) {
      if (error instanceof CloneTokenError) return error.message
      throw error
    }
  }

  #mayHaveOldCertificates(pod: Pod): boolean {
    const { caches, cdiNamespace, clock } = this.#dependencies
    const authorities = uploadAuthorities(caches, cdiNamespace)
    return (
      authorities !== undefined &&
      mayHaveOldCertificates({ pod, authorities, lifetimes: this.#lifetimes(), now: clock.now() })
    )
  }

  #lifetimes(): Lifetimes {
    return lifetimesOf(activeCdi(this.#dependencies.caches)?.spec.certConfig).lifetimes
  }

  #filledForMs(receiver: PersistentVolumeClaim, pod: Pod | undefined): number {
    const { uid } = receiver.metadata
    if (!pod || !isFilled(receiver) || isCopied(receiver)) {
      this.#filledSince.delete(uid)
      return 0
    }
    const now = this.#dependencies.clock.monotonicMs()
    const since = this.#filledSince.get(uid) ?? now
    this.#filledSince.set(uid, since)
    return now - since
  }

  /**
   * Makes a source pod, if the claim as it is in the API still needs one: the caches of claims and pods are two streams, and
   * a claim that looks untouched while its source pod is gone may be one that is done.
   */
  async #startCopy(key: ObjectKey): Promise<ReconcileResult> {
    const { client, caches, settings, log } = this.#dependencies
    const receiver = await client.get(kinds.pvc, key)
    if (!receiver) return {}
    const seen = await this.#observe(receiver)
    const plan = planCopy(seen)
    if (plan.pod !== 'create' || !seen.source) return this.#act(receiver, plan)
    const identity = await this.#issue(receiver)
    if (!identity) return { requeueAfterMs: sourceDelayMs }
    const written = await this.#write(receiver, plan)
    const source = seen.source.claim
    const pod = renderSourcePod({
      receiver: written,
      source,
      settings,
      config: configOf(caches),
      cdi: activeCdi(caches),
    })
    let made: Pod
    try {
      made = await client.create(kinds.pod, pod)
    } catch (error) {
      // Our own pod that the cache does not show yet, or something that has to go first.
      if (isAlreadyExists(error)) return { requeueAfterMs: namesakeDelayMs }
      if (!(error instanceof ApiError)) throw error
      return tellRefusedPod(this.#dependencies, {
        carrier: written,
        podName: sourcePodName(written.metadata.uid),
        error,
        notRunning: (message, reason) => sourceRefused(written, message, reason),
      })
    }
    log.info({ pvc: key, source: keyOf(source), pod: made.metadata.name }, 'source pod created')
    return this.#makeSecret(made, identity)
  }

  /** Certificates for a source pod; undefined while there is nobody to sign them. */
  async #issue(receiver: PersistentVolumeClaim): Promise<ClientIdentity | undefined> {
    const { caches, cdiNamespace, clock, log } = this.#dependencies
    const authorities = uploadAuthorities(caches, cdiNamespace)
    if (!authorities) {
      log.warn({ pvc: keyOf(receiver) }, 'the authorities of upload servers are not there yet')
      return undefined
    }
    return issueSourceIdentity({
      authorities,
      commonName: cloneClientName(receiver),
      lifetimes: this.#lifetimes(),
      now: clock.now(),
    })
  }

  #makeSecret(pod: Pod, identity: ClientIdentity): Promise<ReconcileResult> {
    const { installer } = this.#dependencies.settings
    return this.#secrets.make(pod, renderSourceSecret({ pod, identity, installer }))
  }

  async #act(receiver: PersistentVolumeClaim, plan: CopyPlan): Promise<ReconcileResult> {
    const { client, log } = this.#dependencies
    const written = await this.#write(receiver, plan)
    const pod = this.#podOf(receiver)
    let { requeueAfterMs } = plan
    if (pod && plan.needsSecret && !this.#secrets.isThere(pod)) {
      const identity = await this.#issue(written)
      const secret = identity ? await this.#makeSecret(pod, identity) : { requeueAfterMs: sourceDelayMs }
      requeueAfterMs = secret.requeueAfterMs ?? requeueAfterMs
    }
    if (pod && plan.pod === 'delete') {
      log.info({ pvc: keyOf(receiver), pod: pod.metadata.name, because: plan.because }, 'source pod deleted')
      await client.delete(kinds.pod, keyOf(pod), { uid: pod.metadata.uid })
    }
    return requeueAfterMs === undefined ? {} : { requeueAfterMs }
  }

  /** Writes what the receiver should say, and tells the events that belong to it. */
  async #write(receiver: PersistentVolumeClaim, plan: CopyPlan): Promise<PersistentVolumeClaim> {
    const { recorder } = this.#dependencies
    const written = await patchClaim(this.#dependencies, receiver, plan)
    if (plan.event) recorder.event(written, plan.event)
    if (plan.state) this.#states.tell(written, plan.state)
    if (plan.sourceState) this.#states.tell(this.#asker(written), plan.sourceState)
    return written
  }

  /**
   * On whom it is told what keeps a copy from beginning: the claim that the receiver is temporary for, or the receiver. An
   * annotation alone is no proof of the former: anybody could have others told anything.
   */
  #asker(receiver: PersistentVolumeClaim): PersistentVolumeClaim {
    const { name, namespace } = receiver.metadata
    const kind = annotationOf(receiver, annotations.eventSourceKind)
    const key = annotationOf(receiver, annotations.eventSource)
    const asker = kind === kinds.pvc.kind && key ? this.#dependencies.caches.pvcs.get(parseKey(key)) : undefined
    const isAsking =
      asker && name === temporaryPvcName(asker.metadata.uid) && cloneSourceKeyOf(asker)?.namespace === namespace
    return isAsking ? asker : receiver
  }

  /** Source pods have no owner: whose receiver is gone, though its finalizer should have kept it, is deleted here. */
  async #deleteOrphans(key: ObjectKey, receiver: PersistentVolumeClaim | undefined): Promise<void> {
    const { client, log } = this.#dependencies
    const own = receiver && this.#podOf(receiver)
    const strangers = this.#sourcePodsFor(key).filter(
      (pod) => pod !== own && pod.metadata.name === pod.metadata.labels?.[labels.cloneUniqueId] && !isTerminating(pod),
    )
    if (strangers.length === 0) return
    // The cache of claims may be behind that of pods.
    const present = await client.get(kinds.pvc, key)
    for (const pod of strangers) {
      const isOwn = present && pod.metadata.name === sourcePodName(present.metadata.uid)
      if (isOwn && pod.metadata.namespace === cloneSourceOf(present)?.namespace) continue
      log.info({ pvc: key, pod: pod.metadata.name }, 'source pod deleted, its claim is gone')
      await client.delete(kinds.pod, keyOf(pod), { uid: pod.metadata.uid })
    }
  }
}

/** What a token must allow: a claim that a snapshot was restored to stands for the snapshot (contract/clone.md §9). */
function orderOf(receiver: PersistentVolumeClaim, source: PersistentVolumeClaim): CloneOrder {
  const { namespace = '', name } = source.metadata
  const snapshot = source.spec?.dataSourceRef
  const standsForSnapshot =
    source.metadata.labels?.[labels.component] === labelValues.snapshotCopySource &&
    snapshot?.kind === kinds.volumeSnapshot.kind
  return {
    source: standsForSnapshot ? { kind: 'snapshot', namespace, name: snapshot.name } : { kind: 'pvc', namespace, name },
    target: { namespace: receiver.metadata.namespace ?? '', name: receiver.metadata.name },
  }
}
