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
  cloneScheduled: 'CloneScheduled',
  cloneInProgress: 'CloneInProgress',
  snapshotForSmartClone: 'SnapshotForSmartCloneInProgress',
  cloneFromSnapshotSource: 'CloneFromSnapshotSourceInProgress',
  csiClone: 'CSICloneInProgress',
  prepClaim: 'PrepClaimInProgress',
  rebind: 'RebindInProgress',
  paused: 'Paused',
  succeeded: 'Succeeded',
  failed: 'Failed',
  unknown: 'Unknown',
} as const

export type Phase = (typeof phases)[keyof typeof phases]

/** Where the clone populator is, as T says it (contract/clone.md §6). */
export const clonePhases = {
  pending: 'Pending',
  snapshot: 'Snapshot',
  snapshotClone: 'SnapshotClone',
  csiClone: 'CSIClone',
  hostClone: 'HostClone',
  prepClaim: 'PrepClaim',
  rebind: 'Rebind',
  succeeded: 'Succeeded',
  error: 'Error',
} as const

export type ClonePhase = (typeof clonePhases)[keyof typeof clonePhases]

/** How a clone is made (contract/clone.md §5). */
export const cloneStrategies = { copy: 'copy', snapshot: 'snapshot', csiClone: 'csi-clone' } as const

export type CloneStrategy = (typeof cloneStrategies)[keyof typeof cloneStrategies]

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
  uploadScheduled: 'UploadScheduled',
  uploadReady: 'UploadReady',
  uploadFailed: 'UploadFailed',
  uploadSucceeded: 'UploadSucceeded',
  uploadTargetInUse: 'UploadTargetInUse',
  /** On the carrier: an upload server ended badly and is started again. */
  errUploadFailed: 'ErrUploadFailed',
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
  cloneScheduled: 'CloneScheduled',
  cloneInProgress: 'CloneInProgress',
  snapshotForSmartClone: 'SnapshotForSmartCloneInProgress',
  cloneFromSnapshotSource: 'CloneFromSnapshotSourceInProgress',
  csiClone: 'CSICloneInProgress',
  prepClaim: 'PrepClaimInProgress',
  rebind: 'RebindInProgress',
  cloneFailed: 'CloneFailed',
  cloneSucceeded: 'CloneSucceeded',
  cloneWithoutSource: 'CloneWithoutSource',
  cloneValidationFailed: 'CloneValidationFailed',
  cloneSourceInUse: 'CloneSourceInUse',
  /** On the receiving claim: a pod of the copy ended badly and is started again. */
  errCloneFailed: 'ErrCloneFailed',
  errIncompatiblePvc: 'ErrIncompatiblePVC',
  /** On T: why it is copied although another way was wanted; the messages are `cloneFallbacks`. */
  noVolumeSnapshotClass: 'NoVolumeSnapshotClass',
  incompatibleProvisioners: 'IncompatibleProvisioners',
  incompatibleVolumeModes: 'IncompatibleVolumeModes',
  noVolumeExpansion: 'NoVolumeExpansion',
  noProvisionerMatch: 'NoProvisionerMatch',
  noPopulator: 'NoPopulator',
  volumeSnapshotClassSelected: 'VolumeSnapshotClassSelected',
  importPvcNotReady: 'ImportPVCNotReady',
  sizeDetectionPodCreated: 'SizeDetectionPodCreated',
  sizeDetectionPodNotReady: 'SizeDetectionPodNotReady',
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

  uploadScheduled: (pvc: string) => `Upload into ${pvc} scheduled`,
  uploadReady: (pvc: string) => `Upload into ${pvc} ready`,
  uploadFailed: (pvc: string) => `Upload into ${pvc} failed`,
  uploadSucceeded: (pvc: string) => `Successfully uploaded into ${pvc}`,
  uploadComplete: 'Upload Complete',
  /** On the carrier. */
  uploadSuccessful: 'Upload Successful',

  createdPvcPrime: 'PVC Prime created successfully',
  retainedPvcPrime: 'PVC Prime retained in Lost state for debugging purposes',
  claimLost: (pvc: string) => `PVC ${pvc} lost`,
  markedForDeletion: (pvc: string) => `Resource "${pvc}" marked for deletion`,
  resourceExists: (pvc: string) => `Resource "${pvc}" already exists and is not managed by DataVolume`,
  targetInUse: (pod: { namespace: string; name: string }, pvc: string) =>
    `pod ${pod.namespace}/${pod.name} using PersistentVolumeClaim ${pvc}`,
  /** Two claims whose names differ in dots only share the name of their Service. */
  serviceInUse: (service: { namespace: string; name: string }) =>
    `service ${service.namespace}/${service.name} belongs to another claim; the upload waits until that is done`,
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
  sizeOutOfRange: (size: string) => `PVC Spec is not valid - storage size ${size} is more than 4Pi`,

  clonePending: 'Clone Pending',
  cloneComplete: 'Clone Complete',
  populatorRunning: 'Populator is running',
  cloneScheduled: (clone: CloneEnds) => `Cloning from ${clone.source} into ${clone.target} scheduled`,
  cloneInProgress: (clone: CloneEnds) => `Cloning from ${clone.source} into ${clone.target} in progress`,
  cloneFailed: (clone: CloneEnds) => `Cloning from ${clone.source} into ${clone.target} failed`,
  cloneSucceeded: (clone: CloneEnds) => `Successfully cloned from ${clone.source} into ${clone.target}`,
  snapshotForSmartClone: (clone: CloneEnds) =>
    `Creating snapshot for smart-clone is in progress (for pvc ${clone.source})`,
  cloneFromSnapshotSource: (clone: CloneEnds) =>
    `Creating PVC from snapshot source is in progress (for ${clone.kind} ${clone.source})`,
  csiClone: (clone: CloneEnds) => `CSI Volume clone in progress (for pvc ${clone.source})`,
  prepClaim: (clone: CloneEnds) => `Prepping PersistentVolumeClaim for DataVolume ${clone.target}`,
  rebind: (clone: CloneEnds) => `Rebinding PersistentVolumeClaim for DataVolume ${clone.target}`,
  cloneWithoutSource: (kind: CloneEnds['kind'], name: string) => `The source ${kind} ${name} doesn't exist`,
  cloneValidation: "The clone doesn't meet the validation requirements",
  /** With what is wrong. */
  cloneValidationFailed: (text: string) => `The clone doesn't meet the validation requirements: ${text}`,
  unsupportedSourceRef: (kind: string) => `Unsupported sourceRef kind ${kind}, currently only DataSource is supported`,
  dataSourceNotFound: (name: string) => `datasources.cdi.kubevirt.io "${name}" not found`,
  emptyDataSource: (name: string) => `Empty source field in '${name}'. DataSource may not be ready yet`,
  /** Why there is no claim yet, behind the words that clients know. */
  noPvcFoundSince: (text: string) => `No PVC found: ${text}`,
  noClassForSnapshot: 'no storage class match for snapshot driver',
  contentTypesDiffer: (source: string, target: string) =>
    `Source contentType (${source}) and target contentType (${target}) do not match`,
  /** Bytes. */
  cloneTooSmall: (target: number, source: number) =>
    `target resources requests storage size is smaller than the source ${target} < ${source}`,
  /** The two that follow are found out when the source pod is to be made. */
  copyContentTypesDiffer: (source: string, target: string) =>
    `source contentType (${source}) and target contentType (${target}) do not match`,
  copyVolumeModesDiffer: (source: string, target: string, contentType: string) =>
    `source volumeMode (${source}) and target volumeMode (${target}) do not match, contentType (${contentType})`,
  /** What stops the clone populator, on T. */
  crossNamespaceRefused: 'cross-namespace with resource grants is not supported yet',
  emptyStorageClassName: (pvc: string) => `PVC ${pvc} has empty storage class name`,
  storageClassNotFound: (name: string) => `storage class ${name} not found`,
  inTreeStorageClass: (pvc: string, provisioner: string) =>
    `can't use populator for PVC ${pvc} with in-tree storage class ${provisioner}`,
  unknownCloneStrategy: (value: string) => `unknown strategy/source ${value}`,
  sizesMissing: 'source/target size info missing',
  noTemporarySourceClass: 'unable to find a valid storage class for the temporal source claim',
  importPvcNotReady: 'The source PVC is not fully imported',
  sizeDetectionPodCreated: 'Size-detection pod created',
  sizeDetectionPodNotReady: 'The size detection pod is not finished yet',
  sizeDetectionPodFailed: (reason: string) => `Size-detection pod failed due to ${reason}`,
  snapshotClassOfProfile: (name: string) => `VolumeSnapshotClass selected according to StorageProfile ${name}`,
  snapshotClassByDefault: (name: string) => `Default VolumeSnapshotClass selected ${name}`,
  snapshotClassFirst: (name: string) => `First VolumeSnapshotClass selected ${name}`,

  externalPopulationSucceeded: (pvc: string, source: string) => `PVC ${pvc} successfully populated by ${source}`,
  noCsiDriver: 'No CSI drivers were found: External population not supported',
  noAnyVolumeDataSource: 'AnyVolumeDataSource feature gate is not enabled: External population not supported',
} as const

/** Between what a clone goes, as its messages tell it. */
export interface CloneEnds {
  readonly kind: 'pvc' | 'snapshot'
  /** `<namespace>/<name>` */
  readonly source: string
  /** `<namespace>/<name>` */
  readonly target: string
}

/** Why a clone is copied although another way was wanted, by the reason of the event (contract/clone.md §5). */
export const cloneFallbacks = {
  [reasons.noVolumeSnapshotClass]: 'No compatible volumesnapshotclass found',
  [reasons.incompatibleProvisioners]: 'Provisioners are incompatible',
  [reasons.incompatibleVolumeModes]: 'The volume modes of source and target are incompatible',
  [reasons.noVolumeExpansion]: 'No volume expansion is possible',
  [reasons.noProvisionerMatch]: 'The storageclass provisioner does not match the volumesnapshotcontent driver',
  [reasons.noPopulator]: 'In tree storage class does not support snapshot/clone',
} as const

export type CloneFallback = keyof typeof cloneFallbacks

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
