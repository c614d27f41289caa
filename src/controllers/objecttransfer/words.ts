/** The words in which an ObjectTransfer tells how far it is (contract/clone.md §10), by the state that they tell of. */

export const transferPhases = {
  unset: '',
  pending: 'Pending',
  running: 'Running',
  complete: 'Complete',
  error: 'Error',
} as const

export type TransferPhase = (typeof transferPhases)[keyof typeof transferPhases]

/** Messages of the condition. */
export const words = {
  initializing: 'Initializing',
  noSource: 'No source',
  notPopulated: 'Source not populated',
  podsUseDataVolume: 'Pods using DataVolume PVC',
  podsUseClaim: 'Pods using PVC',
  claimNotBound: 'PVC not bound',
  volumeNotBound: 'PV not bound',
  claimHasFinalizer: (finalizer: string) => `PVC has finalizer: ${finalizer}`,
  annotationMissing: 'Required annotation missing',
  /** With the name of the other one as reason. */
  usedByOther: 'Source in use by another transfer',
  pending: 'Pending',
  running: 'Running',
  claimTransferRuns: 'PVC transfer in progress',
  volumeNameMissing: 'PV name missing',
  volumeHeldByOther: 'PV bound to wrong PVC',
  targetNotBound: 'Waiting for target to be bound',
  targetNotReady: 'Waiting for target DataVolume',
  claimNotArrived: 'Transferred PVC does not exist',
  sourceHasNoClaim: 'Source DV has no PVC',
  complete: 'Transfer complete',
  /** With the text of the error as reason. */
  error: 'Error',
} as const

/** Texts of errors, for the reason. */
export const faults = {
  targetExists: (place: string) => `ObjectTransfer target "${place}" already exists`,
  noNamespace: (name: string) => `namespaces "${name}" not found`,
  noVolume: (name: string) => `persistentvolumes "${name}" not found`,
  unsupportedKind: (kind: string) => `Unsupported kind "${kind}"`,
  notSaved: 'status.data.source is not the saved source',
} as const

/** Keys of `status.data`: what a restart needs. */
export const notes = {
  /** The source object, JSON. */
  source: 'source',
  /** Name of the volume that moves. */
  volumeName: 'pvName',
  /** The volume's reclaim policy before. */
  reclaimPolicy: 'pvReclaim',
} as const
