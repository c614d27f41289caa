/**
 * Moves claims and DataVolumes to another name or namespace, volume and all, as ObjectTransfers ask for. Deciding is in
 * `plan.ts`; here is seen and done. Objects are read from the API itself, not from caches: a look that is behind could cost a
 * volume. A pass that changed something is followed by another look, until one changes nothing; all that a later look needs
 * stands in the API, so that it does not matter who takes it.
 */
import { kinds } from '../../api/kinds.ts'
import type { ObjectTransfer } from '../../api/kinds.ts'
import { claimTransferName } from '../../api/names.ts'
import { ApiError, isAlreadyExists, isConflict } from '../../kube/api-error.ts'
import { formatTime } from '../../kube/clock.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult } from '../../kube/controller.ts'
import { mergePatch } from '../../kube/merge-patch.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { isPopulated, usersOf } from '../clone/source-use.ts'
import { besides, indexes } from '../shared/caches.ts'
import { claimsOfPod } from '../shared/claim.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { failureOf, planTransfer, statusWith } from './plan.ts'
import { noteOf, phaseOf, retryMs, sourcePlace, targetPlace } from './transfer.ts'
import type { StatusFacts, TransferObservation, Write } from './transfer.ts'
import { notes, transferPhases } from './words.ts'

/** A move takes a dozen; more means that somebody changes things back. */
const mostPasses = 40

export function objectTransferController(dependencies: Dependencies): ControllerSpec {
  const { objectTransfers, pvcs, dataVolumes, pvs, pods } = dependencies.caches
  const reconciler = new TransferReconciler(dependencies)
  const movingAt = (place: ObjectKey): ObjectKey[] =>
    objectTransfers.byIndex(indexes.place, formatKey(place)).map(keyOf)
  return {
    name: 'objecttransfer',
    watches: [
      watching(objectTransfers, (transfer) => [
        keyOf(transfer),
        ...(transfer.spec.parentName ? [{ name: transfer.spec.parentName }] : []),
      ]),
      watching(pvcs, (claim) => movingAt(keyOf(claim))),
      watching(dataVolumes, (dataVolume) => movingAt(keyOf(dataVolume))),
      watching(pvs, ({ spec }) => {
        const { namespace, name } = spec?.claimRef ?? {}
        return namespace && name ? movingAt({ namespace, name }) : []
      }),
      watching(pods, (pod) => claimsOfPod(pod).flatMap((name) => movingAt(besides(pod, name)))),
    ],
    reconcile: (key) => reconciler.reconcile(key),
  }
}

class TransferReconciler {
  readonly #dependencies: Dependencies

  constructor(dependencies: Dependencies) {
    this.#dependencies = dependencies
  }

  async reconcile(key: ObjectKey): Promise<ReconcileResult> {
    const { client, caches } = this.#dependencies
    for (let pass = 0; pass < mostPasses; pass++) {
      if (!caches.objectTransfers.get(key)) return {}
      const transfer = await client.get(kinds.objectTransfer, key)
      if (!transfer || isAtRest(transfer)) return {}
      const { hasWritten, requeueAfterMs } = await this.#step(transfer)
      if (!hasWritten) return requeueAfterMs === undefined ? {} : { requeueAfterMs }
    }
    return { requeueAfterMs: retryMs }
  }

  /** One look, and one step out of it. */
  async #step(transfer: ObjectTransfer): Promise<{ hasWritten: boolean; requeueAfterMs?: number }> {
    const { log } = this.#dependencies
    const step = planTransfer(await this.#observe(transfer))
    if (!step) return { hasWritten: false }
    try {
      if (step.write) {
        await this.#write(step.write)
        log.info({ transfer: transfer.metadata.name, did: step.write.do, because: step.because }, 'transfer went on')
      }
    } catch (error) {
      // Made by ourselves a moment ago, or by somebody else: the next look tells.
      if (isAlreadyExists(error)) return { hasWritten: true }
      if (isConflict(error)) throw error
      if (!(error instanceof ApiError)) throw error
      log.warn({ transfer: transfer.metadata.name, because: step.because, err: error }, 'transfer met with an error')
      const failure = failureOf(transfer, error.message)
      if (!failure) throw error
      await this.#writeStatus(transfer, failure)
      return { hasWritten: false, requeueAfterMs: retryMs }
    }
    const told = step.status ? await this.#writeStatus(transfer, step.status) : false
    return {
      hasWritten: told || step.write !== undefined,
      ...(step.requeueAfterMs === undefined ? {} : { requeueAfterMs: step.requeueAfterMs }),
    }
  }

  async #observe(transfer: ObjectTransfer): Promise<TransferObservation> {
    const { client, caches } = this.#dependencies
    const { parentName, source } = transfer.spec
    const [from, to] = [sourcePlace(transfer), targetPlace(transfer)]
    const isDataVolume = source.kind === kinds.dataVolume.kind
    const [claim, targetClaim, dataVolume, targetDataVolume, child, parent, namespace] = await Promise.all([
      client.get(kinds.pvc, from),
      client.get(kinds.pvc, to),
      isDataVolume ? client.get(kinds.dataVolume, from) : undefined,
      isDataVolume ? client.get(kinds.dataVolume, to) : undefined,
      isDataVolume ? client.get(kinds.objectTransfer, { name: claimTransferName(transfer.metadata.uid) }) : undefined,
      parentName ? client.get(kinds.objectTransfer, { name: parentName }) : undefined,
      phaseOf(transfer) === transferPhases.pending ? client.get(kinds.namespace, { name: to.namespace }) : undefined,
    ])
    const volumeName = noteOf(transfer, notes.volumeName) ?? claim?.spec?.volumeName
    return {
      transfer,
      claim,
      isPopulated: claim !== undefined && isPopulated(caches, claim),
      users: claim ? usersOf(caches, claim) : [],
      volume: volumeName ? await client.get(kinds.pv, { name: volumeName }) : undefined,
      targetClaim,
      dataVolume,
      targetDataVolume,
      child,
      parent,
      namespace,
    }
  }

  async #write(write: Write): Promise<void> {
    const { client } = this.#dependencies
    switch (write.do) {
      case 'create':
        await client.create(write.kind, write.object)
        return
      case 'patch':
        await client.patch(write.kind, write.key, write.body, { type: 'merge' })
        return
      case 'delete':
        await client.delete(write.kind, write.key, {
          uid: write.uid,
          ...(write.resourceVersion === undefined ? {} : { resourceVersion: write.resourceVersion }),
        })
        return
      default:
        write satisfies never
    }
  }

  /** Whether it was news. */
  async #writeStatus(transfer: ObjectTransfer, facts: StatusFacts): Promise<boolean> {
    const { client, clock } = this.#dependencies
    const status = mergePatch(transfer.status, statusWith(transfer, facts, formatTime(clock.now())))
    if (status === undefined) return false
    const body = { metadata: { resourceVersion: transfer.metadata.resourceVersion }, status }
    await client.patch(kinds.objectTransfer, keyOf(transfer), body, { type: 'merge', subresource: 'status' })
    return true
  }
}

/** Nothing will ever have to be done about it again. */
function isAtRest(transfer: ObjectTransfer): boolean {
  return phaseOf(transfer) === transferPhases.complete && (transfer.metadata.finalizers ?? []).length === 0
}
