/** Takes the steps of `clone-plan.ts`. Each may be taken again without harm: names come from UIDs, tokens are only replaced. */
import { kinds } from '../../../api/kinds.ts'
import type { DataVolume, PersistentVolumeClaim, Pod } from '../../../api/kinds.ts'
import { annotations, finalizers } from '../../../api/names.ts'
import { isForbidden } from '../../../kube/api-error.ts'
import { keyOf } from '../../../kube/object.ts'
import type { ObjectKey } from '../../../kube/object.ts'
import type { CloneTokens } from '../../clone/tokens.ts'
import { toldKey } from '../../shared/claim-events.ts'
import { createOnce } from '../../shared/create-once.ts'
import type { Dependencies, Recorder } from '../../shared/dependencies.ts'
import { patchClaim } from '../../shared/patch-claim.ts'
import type { ToldMemory } from '../../shared/told-memory.ts'
import { patchDataVolume } from '../patch-datavolume.ts'
import { failureOf } from '../refused-claim.ts'
import type { Synced } from '../synced.ts'
import type { ClonePlan } from '../sync.ts'
import { isNothing, leftoversOf, removeLeftovers } from './leftovers.ts'

export interface CloneActor extends Dependencies {
  readonly tokens: CloneTokens
  /** Tells on DataVolumes. */
  readonly recorder: Recorder
  /** What goes on and on is told once of each DataVolume: its events are rationed, and later ones matter more. */
  readonly told: ToldMemory
}

export async function actOnClone(
  actor: CloneActor,
  { dataVolume, target }: { dataVolume: DataVolume; target: PersistentVolumeClaim | undefined },
  plan: ClonePlan,
): Promise<Synced> {
  const { client, tokens, log } = actor
  const key = keyOf(dataVolume)
  switch (plan.act) {
    case 'extendToken': {
      const token = await tokens.extend(plan.order, dataVolume.metadata.uid)
      const changes = { ...plan.annotations, [annotations.extendedCloneToken]: token }
      return { dataVolume: await patchDataVolume(actor, dataVolume, { annotations: changes }), target }
    }
    case 'extendTargetToken': {
      if (!target) return { dataVolume, target }
      const token = await tokens.extend(plan.order, target.metadata.uid)
      const changes = { [annotations.extendedCloneToken]: token }
      return { dataVolume, target: await patchClaim(actor, target, { annotations: changes }) }
    }
    case 'schedule':
      return schedule(actor, dataVolume, plan)
    case 'block':
      // With a T the status tells of that; without one, of what is in the way of it.
      return { dataVolume, target, ...(target ? {} : { failure: plan.failure }), error: new Error(plan.message) }
    case 'makeCopySource':
      await createOnce(client, kinds.pvc, plan.claim)
      log.info({ dataVolume: key, pvc: plan.claim.metadata.name }, 'snapshot is restored to be copied from')
      return { dataVolume, target }
    case 'cleanUp': {
      await removeLeftovers(client, plan.leftovers)
      return { dataVolume: await letGo(actor, dataVolume), target }
    }
    default:
      return plan satisfies never
  }
}

/** Takes away what a DataVolume leaves behind that is deleted, or is gone without having been waited for. */
export async function cleanUpAfter(
  actor: Dependencies,
  key: ObjectKey,
  dataVolume: DataVolume | undefined,
): Promise<void> {
  const { client, caches } = actor
  const leftovers = leftoversOf(caches, key)
  if (!isNothing(leftovers)) {
    // A DataVolume that the cache does not show yet has only just begun.
    if (!dataVolume && (await client.get(kinds.dataVolume, key))) return
    await removeLeftovers(client, leftovers)
  }
  if (dataVolume) await letGo(actor, dataVolume)
}

async function letGo(actor: Dependencies, dataVolume: DataVolume): Promise<DataVolume> {
  const { finalizers: present = [] } = dataVolume.metadata
  if (!present.includes(finalizers.dataVolume)) return dataVolume
  const kept = present.filter((finalizer) => finalizer !== finalizers.dataVolume)
  return patchDataVolume(actor, dataVolume, { finalizers: kept })
}

async function schedule(
  actor: CloneActor,
  before: DataVolume,
  plan: Extract<ClonePlan, { act: 'schedule' }>,
): Promise<Synced> {
  const { client, recorder, told } = actor
  const { failure, finalizers: held, makePod, deletePod, events, requeueAfterMs } = plan
  const dataVolume = await patchDataVolume(actor, before, { annotations: plan.annotations, finalizers: held })
  const synced = { dataVolume, target: undefined, ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }) }
  if (deletePod) await client.delete(kinds.pod, keyOf(deletePod), { uid: deletePod.metadata.uid })
  try {
    if (makePod) await createOnce<Pod>(client, kinds.pod, makePod)
  } catch (error) {
    // Of a quota in the namespace of the source the user hears here or nowhere.
    if (!isForbidden(error)) throw error
    return { ...synced, ...failureOf(error) }
  }
  for (const event of events) {
    if (told.of(dataVolume).has(toldKey(event))) continue
    recorder.event(dataVolume, event)
    told.remember(dataVolume, event)
  }
  return { ...synced, failure }
}
