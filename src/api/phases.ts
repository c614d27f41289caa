/**
 * Phases, conditions and the texts of events and conditions of a DataVolume as clients compare them
 * (contract/datavolume.md §2, §3, §5): reasons exactly, messages by substring.
 */

export const phases = {
  unset: '',
  pending: 'Pending',
  pvcBound: 'PVCBound',
  waitForFirstConsumer: 'WaitForFirstConsumer',
  pendingPopulation: 'PendingPopulation',
  importScheduled: 'ImportScheduled',
  importInProgress: 'ImportInProgress',
  uploadScheduled: 'UploadScheduled',
  uploadReady: 'UploadReady',
  paused: 'Paused',
  succeeded: 'Succeeded',
  failed: 'Failed',
  unknown: 'Unknown',
} as const

export type Phase = (typeof phases)[keyof typeof phases]

/** In the order in which a DataVolume shows them. */
export const conditionTypes = ['Bound', 'Ready', 'Running'] as const

export type ConditionType = (typeof conditionTypes)[number]

export type ConditionStatus = 'True' | 'False' | 'Unknown'

/** Progress before any transfer, and the one at the end of a successful one. */
export const progressTexts = { none: 'N/A', done: '100.0%' } as const

export const reasons = {
  notFound: 'NotFound',
  bound: 'Bound',
  pending: 'Pending',
  claimLost: 'ClaimLost',
  transferRunning: 'TransferRunning',
  unschedulable: 'Unschedulable',
  podIsRunning: 'Pod is running',
  completed: 'Completed',
  error: 'Error',
  checksumError: 'ChecksumError',
  imagePullFailed: 'ImagePullFailed',
  scratchSpaceRequired: 'Scratch space required',
  creatingScratchSpace: 'CreatingScratchSpace',
  errExceededQuota: 'ErrExceededQuota',
  errStartingPod: 'ErrStartingPod',
  errClaimNotValid: 'ErrClaimNotValid',
  errResourceExists: 'ErrResourceExists',
  errResourceMarkedForDeletion: 'ErrResourceMarkedForDeletion',
  errClaimLost: 'ErrClaimLost',
  errImportFailed: 'ErrImportFailed',
  importScheduled: 'ImportScheduled',
  importInProgress: 'ImportInProgress',
  importFailed: 'ImportFailed',
  importPaused: 'ImportPaused',
  importSucceeded: 'ImportSucceeded',
  importTargetInUse: 'ImportTargetInUse',
  createdPvcPrime: 'CreatedPVCPrimeSuccessfully',
  errCreatingPvcPrime: 'ErrCreatingPVCPrime',
  /** On T, by the populator; in lower case, unlike those on the DataVolume. */
  populatorImportSucceeded: 'importSucceeded',
  populatorImportFailed: 'importFailed',
  retainedPvcPrime: 'RetainedPVCPrime',
  externalPopulationSucceeded: 'ExternalPopulationSucceeded',
  noCsiDriver: 'NoCSIDriverForExternalPopulation',
  noAnyVolumeDataSource: 'NoAnyVolumeDataSource',
  claimMisbound: 'ClaimMisbound',
} as const

export type Reason = (typeof reasons)[keyof typeof reasons]

export const messages = {
  noPvcFound: 'No PVC found',
  pvcBound: (pvc: string) => `PVC ${pvc} Bound`,
  pvcPending: (pvc: string) => `PVC ${pvc} Pending`,
  /** Bound condition of a pending T whose annotation tells more; `pvcPrime` only if T has one. */
  targetPending: (pvc: string, pvcPrime: string | undefined, text: string) =>
    `target PVC ${pvc} Pending and ${pvcPrime ? `${primeEventPrefix(pvcPrime)}${text}` : text}`,
  claimLostCondition: 'Claim Lost',
  importerUnschedulable: 'Importer pod cannot be scheduled',
  scratchSpaceRequired: 'scratch space required and none found',
  creatingScratchSpace: 'Creating scratch space',
  importComplete: 'Import Complete',
  tooSmall: 'DataVolume too small to contain image',
  imagePullFailed: (image: string) => `failed to pull image: ${image}`,

  importScheduled: (pvc: string) => `Import into ${pvc} scheduled`,
  importInProgress: (pvc: string) => `Import into ${pvc} in progress`,
  importFailed: (pvc: string) => `Failed to import into PVC ${pvc}`,
  importPaused: (pvc: string) => `Multistage import into PVC ${pvc} is paused`,
  importSucceeded: (pvc: string) => `Successfully imported into PVC ${pvc}`,
  /** On the carrier. */
  importSuccessful: 'Import Successful',
  /** On T, by the populator. */
  populatorImportSucceeded: (pvc: string) => `Successfully imported into ${pvc}`,
  populatorImportFailed: (pvc: string) => `import into ${pvc} failed`,
  createdPvcPrime: 'PVC Prime created successfully',
  retainedPvcPrime: 'PVC Prime retained in Lost state for debugging purposes',
  claimLost: (pvc: string) => `PVC ${pvc} lost`,
  markedForDeletion: (pvc: string) => `Resource "${pvc}" marked for deletion`,
  resourceExists: (pvc: string) => `Resource "${pvc}" already exists and is not managed by DataVolume`,
  targetInUse: (pod: { namespace: string; name: string }, pvc: string) =>
    `pod ${pod.namespace}/${pod.name} using PersistentVolumeClaim ${pvc}`,
  errorStartingPod: (pod: string) =>
    `Error starting pod '${pod}': For more information, request access to cdi-deploy logs from your sysadmin`,
  unexpectedVolume: (volume: string) => `DataVolume bound to unexpected PV ${volume}`,
  unexpectedClaim: (volume: string, claim: string) => `PV ${volume} bound to unexpected claim ${claim}`,

  missingAccessModeAndClass: 'PVC spec is missing accessMode and no storageClass to choose profile',
  noAccessModeInProfile: (storageClass: string) => `no accessMode specified in StorageProfile ${storageClass}`,
  noMatchingAccessModeInProfile: (storageClass: string) =>
    `no matching accessMode specified in StorageProfile ${storageClass}`,
  cannotGetAccessMode: (storageClass: string) =>
    `Spec is missing accessMode and cannot get access mode from StorageProfile ${storageClass}`,
  archiveNeedsFilesystem: 'ContentType Archive cannot have block volumeMode',
  registryNeedsKubevirt: 'ContentType must be kubevirt when Source is Registry',
  missingSize: 'PVC Spec is not valid - missing storage size',
  sizeTooSmall: 'PVC Spec is not valid - storage size should be at least 1MiB',

  externalPopulationSucceeded: (pvc: string, source: string) => `PVC ${pvc} successfully populated by ${source}`,
  noCsiDriver: 'No CSI drivers were found: External population not supported',
  noAnyVolumeDataSource: 'AnyVolumeDataSource feature gate is not enabled: External population not supported',
} as const

/** In front of an event of P when it is told on T. */
export function primeEventPrefix(pvcPrime: string): string {
  return `[${pvcPrime}] : `
}

/** Part of the API server's refusal that tells a quota from other troubles. */
export const quotaText = 'exceeded quota:'

const tooSmallTexts = [
  'is larger than the reported available',
  'no space left on device',
  'file largest block is bigger than maxblock',
  'disk quota exceeded',
]

/** What conditions show of a worker's last words: the many ways of "no room" become one (contract/import.md §15). */
export function simplifyFailure(text: string): string {
  return tooSmallTexts.some((part) => text.includes(part)) ? messages.tooSmall : text
}

/** Feature gates that have a meaning; others are accepted and ignored (contract/platform.md §7). */
export const featureGates = {
  honorWaitForFirstConsumer: 'HonorWaitForFirstConsumer',
  claimAdoption: 'DataVolumeClaimAdoption',
} as const
