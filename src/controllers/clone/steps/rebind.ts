/** The step Rebind, which lasts until T is bound. Pure. */
import { clonePhases, messages } from '../../../api/names.ts'
import type { PersistentVolumeClaim } from '../../../api/kinds.ts'
import { claimPhase, isTerminating } from '../../shared/claim.ts'
import type { CloneObservation } from '../observation.ts'
import { failed, goneFirst } from './step.ts'
import type { Step } from './step.ts'

/** A claim tells of its volume before the cache of volumes may have it. */
const unseenVolumeDelayMs = 1_000

/** Gives the volume to T; Kubernetes then binds the two. */
export function rebind({ target, temporary: { claim, volume } }: CloneObservation): Step {
  const phase = clonePhases.rebind
  const wait = (because: string, requeueAfterMs?: number): Step => ({
    phase,
    because,
    ...(requeueAfterMs === undefined ? {} : { requeueAfterMs }),
  })
  if (!claim?.spec?.volumeName) return wait('the temporary claim is not bound yet')
  if (!volume) {
    return claimPhase(claim) === 'Lost'
      ? failed(phase, messages.claimLost(claim.metadata.name))
      : wait('the volume has not been seen yet', unseenVolumeDelayMs)
  }
  const { namespace = '', name = '' } = volume.spec?.claimRef ?? {}
  const isPromisedTo = (other: PersistentVolumeClaim): boolean =>
    other.metadata.namespace === namespace && other.metadata.name === name
  if (isPromisedTo(target)) return wait('the volume is promised to the claim')
  if (!isPromisedTo(claim)) {
    return failed(phase, messages.unexpectedClaim(volume.metadata.name, `${namespace}/${name}`))
  }
  if (isTerminating(claim)) return goneFirst(phase)
  return { phase, because: 'the volume is to be handed over', action: { do: 'rebind', volume } }
}
