/**
 * Keys of annotations, labels and finalizers (contract/datavolume.md §9, §6.4, §10; contract/import.md §2). What a
 * restart needs is written in these annotations and nowhere else.
 */

const prefix = 'cdi.kubevirt.io'
const storage = `${prefix}/storage` as const

export const annotations = {
  /** Presence, any value: do not wait for a first consumer. On DataVolume, T, P. */
  bindImmediate: `${storage}.bind.immediate.requested`,
  /** `true` or `false`: through a populator or directly. On DataVolume and T. */
  usePopulator: `${storage}.usePopulator`,
  /** Name of the DataVolume for which a claim holds its data already. */
  populatedFor: `${storage}.populatedFor`,
  /** Presence on a DataVolume: never make T. */
  prePopulated: `${storage}.prePopulated`,
  /** Presence on a DataVolume: a volume may lie ready for it. */
  checkStaticVolume: `${storage}.checkStaticVolume`,
  /** JSON array of volume names that T may be bound to. */
  persistentVolumeList: `${storage}.persistentVolumeList`,
  allowClaimAdoption: `${prefix}/allowClaimAdoption`,
  /** UID of the DataVolume that T was made for. */
  createdForDataVolume: `${prefix}/createdForDataVolume`,
  /** `true`: somebody else fills the claim. */
  externalPopulation: `${prefix}/externalPopulation`,
  /** `kubevirt` or `archive`. */
  contentType: `${storage}.contentType`,
  /** Presence, any value: a client shall fill the claim. */
  uploadTarget: `${storage}.upload.target`,
  /** `algorithm:hex` of the bytes as uploaded. On DataVolume, T, P. */
  uploadChecksum: `${storage}.upload.checksum`,
  /** What a resumable upload has made durable, JSON (`UploadResumption`), for the next pod. */
  uploadResumption: `${storage}.upload.resumption`,

  importSource: `${storage}.import.source`,
  importEndpoint: `${storage}.import.endpoint`,
  importSecretName: `${storage}.import.secretName`,
  importCertConfigMap: `${storage}.import.certConfigMap`,
  importChecksum: `${storage}.import.checksum`,
  importInsecureSkipVerify: `${storage}.import.insecureSkipVerify`,
  importDiskId: `${storage}.import.diskId`,
  importUuid: `${storage}.import.uuid`,
  importBackingFile: `${storage}.import.backingFile`,
  importVddkThumbprint: `${storage}.import.vddk.thumbprint`,
  importRegistryMethod: `${storage}.import.registryImportMethod`,
  importRegistryImageStream: `${storage}.import.registryImageStream`,
  importRegistryArchitecture: `${storage}.import.registryImageArchitecture`,
  /** On a worker without an owner: the UID of the claim that it was made for. */
  importWorkerOf: `${storage}.import.workerOf`,
  /** Name of the worker, written before the pod is made; it wins over the computed name. */
  importPodName: `${storage}.import.importPodName`,
  /** Name of the upload server, written before the pod is made; it wins over the computed name. */
  uploadPodName: `${storage}.uploadPodName`,
  /** `true`: start again with a scratch volume; `false`: has been done. */
  requiresScratch: `${storage}.import.requiresScratch`,
  /** `true`: start again with direct I/O. */
  requiresDirectIo: `${storage}.import.requiresDirectIo`,
  /** `true`: never try again. */
  fatalError: `${storage}.import.fatalError`,

  podPhase: `${storage}.pod.phase`,
  podReady: `${storage}.pod.ready`,
  podRestarts: `${storage}.pod.restarts`,
  podSchedulable: `${storage}.pod.schedulable`,
  /** `true`: keep finished workers. */
  podRetainAfterCompletion: `${storage}.pod.retainAfterCompletion`,
  podPriorityClassName: `${storage}.pod.priorityclassname`,
  podServiceAccountName: `${storage}.pod.serviceAccountName`,
  podVddkInitImageUrl: `${storage}.pod.vddk.initimageurl`,
  podVddkExtraArgs: `${storage}.pod.vddk.extraargs`,
  podVddkVersion: `${storage}.pod.vddk.version`,
  podVddkHost: `${storage}.pod.vddk.host`,

  conditionRunning: `${storage}.condition.running`,
  conditionRunningMessage: `${storage}.condition.running.message`,
  conditionRunningReason: `${storage}.condition.running.reason`,
  conditionBound: `${storage}.condition.bound`,
  conditionBoundMessage: `${storage}.condition.bound.message`,
  conditionBoundReason: `${storage}.condition.bound.reason`,
  conditionSourceRunning: `${storage}.condition.source.running`,
  conditionSourceRunningMessage: `${storage}.condition.source.running.message`,
  conditionSourceRunningReason: `${storage}.condition.source.running.reason`,

  preallocationRequested: `${storage}.preallocation.requested`,
  /** `true` once it has been applied; never for archives. */
  preallocation: `${storage}.preallocation`,

  /** On P: kind of the source resource. */
  populatorKind: `${storage}.populator.kind`,
  /** On T: name of P. */
  populatorPvcPrime: `${storage}.populator.pvcPrime`,
  /** On T: progress text that the DataVolume copies. */
  populatorProgress: `${storage}.populator.progress`,

  checkpointCurrent: `${storage}.checkpoint.current`,
  checkpointPrevious: `${storage}.checkpoint.previous`,
  checkpointFinal: `${storage}.checkpoint.final`,
  checkpointDone: `${storage}.checkpoint.done`,
  checkpointPodId: `${storage}.checkpoint.pod.id`,

  /** `<namespace>/<name>` of the claim that is to be copied into this one. */
  cloneRequest: 'k8s.io/CloneRequest',
  /** On a DataVolume, from the admission webhook: its maker may read the source of the clone. */
  cloneToken: `${storage}.clone.token`,
  /** On a DataVolume and its T in another namespace than the source: what the controller made of the token, for good. */
  extendedCloneToken: `${storage}.extended.clone.token`,
  /** Presence on a claim: its copy is complete. */
  cloneOf: 'k8s.io/CloneOf',
  /** How a clone is made: `copy`, `snapshot` or `csi-clone`. On DataVolume and T. */
  cloneType: `${prefix}/cloneType`,
  /** On T: where the clone populator is (`clonePhases`). */
  clonePhase: `${prefix}/clonePhase`,
  /** On T: what stopped the last step. */
  cloneError: `${prefix}/cloneError`,
  /** On T: why it is copied although another way was wanted. */
  cloneFallbackReason: `${prefix}/cloneFallbackReason`,
  /** Presence: sizes of source and target are not compared. On DataVolume and T. */
  permissiveClone: `${prefix}/permissiveClone`,
  /** Namespace of the VolumeCloneSource that a claim names, when it is not the claim's. */
  dataSourceNamespace: `${prefix}/dataSourceNamespace`,
  /** On what is made for a DataVolume in another namespace: `<namespace>/<name>` of it. */
  ownedByDataVolume: `${prefix}/ownedByDataVolume`,
  /** On the receiving claim of a copy: the UID that progress is told under. */
  ownerUid: `${prefix}/ownerUID`,
  /** On the receiving claim of a copy: name of the pod that reads the source. */
  sourceClonePodName: `${storage}.sourceClonePodName`,
  /** On the receiving claim of a copy: the name that its client's certificate must bear. */
  uploadClientName: `${prefix}/uploadClientName`,
  /** On a temporary claim: kind, and `<namespace>/<name>`, of the object on which its troubles are told. */
  eventSourceKind: `${prefix}/events.source.kind`,
  eventSource: `${prefix}/events.source`,
  /** On a source pod: `<namespace>/<name>` of the claim that receives. */
  ownerRef: `${storage}.ownerRef`,
  /** On the source of a clone: size of the disk in it, and the capacity for which that was found out. Spelt so. */
  virtualSize: 'cdi.Kubervirt.io/virtualSize',
  sourceCapacity: 'cdi.Kubervirt.io/sourceCapacity',
  /** On a snapshot: volume mode of what it was taken of. */
  sourceVolumeMode: `${storage}.import.sourceVolumeMode`,
  /** On what an ObjectTransfer moves: its name. */
  objectTransferName: `${prefix}/objectTransferName`,
  /** On the claim that an ObjectTransfer has made, for a moment: its volume is bound to it, Kubernetes shall look again. */
  objectTransferBound: `${prefix}/objectTransferBound`,

  createdByController: `${storage}.createdByController`,
  createdByUploadController: `${storage}.createdByUploadController`,
  deleteAfterCompletion: `${storage}.deleteAfterCompletion`,

  /** On a StorageProfile: smallest claim that the storage takes, as a quantity. */
  minimumSupportedPvcSize: `${prefix}/minimumSupportedPvcSize`,
  useReadWriteOnceForDataImportCron: `${prefix}/useReadWriteOnceForDataImportCron`,
  snapshotClassForDataImportCron: `${prefix}/snapshotClassForDataImportCron`,
  /** On a StorageClass: clone strategy. */
  cloneStrategy: `${prefix}/clone-strategy`,

  /** JSON: ports that an OVN network lets in although the default is to let nothing in. */
  openDefaultPorts: 'k8s.ovn.org/open-default-ports',
  networks: 'k8s.v1.cni.cncf.io/networks',
  defaultNetwork: 'v1.multus-cni.io/default-network',
  istioInject: 'sidecar.istio.io/inject',
  linkerdInject: 'linkerd.io/inject',
  /** `*` on a pod: OpenShift takes the images of its containers for names of ImageStreams first. */
  resolveNames: 'alpha.image.policy.openshift.io/resolve-names',

  selectedNode: 'volume.kubernetes.io/selected-node',
  storageProvisioner: 'volume.kubernetes.io/storage-provisioner',
  migratedTo: 'pv.kubernetes.io/migrated-to',
  defaultStorageClass: 'storageclass.kubernetes.io/is-default-class',
  defaultVirtStorageClass: 'storageclass.kubevirt.io/is-default-virt-class',
  defaultSnapshotClass: 'snapshot.storage.kubernetes.io/is-default-class',
} as const

export type Annotation = (typeof annotations)[keyof typeof annotations]

/** Annotation of the n-th header line (n from 0) of an http source. */
export function extraHeaderAnnotation(index: number): string {
  return `${storage}.import.extraHeaders.${index}`
}

/** Annotation that names the n-th Secret (n from 0) whose values are header lines of an http source. */
export function secretExtraHeaderAnnotation(index: number): string {
  return `${storage}.import.secretExtraHeaders.${index}`
}

/** Annotation with the UID of the pod that copied a checkpoint. */
export function checkpointCopiedAnnotation(checkpoint: string): string {
  return `${storage}.checkpoint.copied.${checkpoint}`
}

/** The annotations that go on from T to P to pods, and from a bare claim to pods (contract/datavolume.md §9). */
export const passThroughAnnotations = [
  annotations.networks,
  annotations.defaultNetwork,
  annotations.istioInject,
  annotations.linkerdInject,
  annotations.podPriorityClassName,
  annotations.podServiceAccountName,
] as const

/** What P and pods get when their claim says nothing else: meshes would keep a worker from ever ending. */
export const defaultPassThrough = {
  [annotations.istioInject]: 'false',
  [annotations.linkerdInject]: 'disabled',
} as const

/** Mirrored from P to T, and removed from T when P lacks them (contract/datavolume.md §8.7). */
export const mirroredAnnotations = [
  annotations.podPhase,
  annotations.podReady,
  annotations.podRestarts,
  annotations.podSchedulable,
  annotations.preallocation,
  annotations.preallocationRequested,
  annotations.checkpointCurrent,
  annotations.checkpointDone,
  annotations.conditionRunning,
  annotations.conditionRunningMessage,
  annotations.conditionRunningReason,
  annotations.fatalError,
] as const

export const labels = {
  app: 'app',
  /** Which component an object belongs to, e.g. `importer`. */
  component: prefix,
  prometheus: `prometheus.${prefix}`,
  managedBy: 'app.kubernetes.io/managed-by',
  recommendedComponent: 'app.kubernetes.io/component',
  partOf: 'app.kubernetes.io/part-of',
  version: 'app.kubernetes.io/version',
  /** `true` on a claim: the webhook renders it. */
  applyStorageProfile: `${prefix}/applyStorageProfile`,
  fillingUpAlert: 'alerts.k8s.io/KubePersistentVolumeFillingUp',
  veleroExclude: 'velero.io/exclude-from-backup',
  /** Name of the DataImportCron that made an object. */
  dataImportCron: `${prefix}/dataImportCron`,
  /** On an upload server: UID of the claim. */
  uploadTarget: `${prefix}/uploadTarget`,
  /** On an upload server: name of its Service, which selects by it. */
  service: 'service',
  /** On the temporary objects of a clone: UID of T. */
  ownedByUid: `${prefix}/OwnedByUID`,
  /** On a source pod: its own name. Spelt so. */
  cloneUniqueId: `${prefix}/storage.clone.cloneUniqeId`,
  /** On a source pod: UID of the claim that it reads. */
  hostAssistedSource: `${prefix}/hostAssistedSourcePodCloneSource`,
} as const

export const labelValues = {
  app: 'containerized-data-importer',
  importer: 'importer',
  uploadServer: 'cdi-upload-server',
  cloneSource: 'cdi-clone-source',
  populatorPrep: 'cdi-populator-prep',
  /** On the claim that a snapshot is restored to, to be copied from in the direct mode. */
  snapshotCopySource: 'cdi-clone-from-snapshot-source-host-assisted-fallback-pvc',
  managedByController: 'cdi-controller',
  managedByOperator: 'cdi-operator',
  storageComponent: 'storage',
} as const

/** What the installer said about itself; empty values are left out of labels. */
export interface InstallerLabels {
  readonly partOf?: string | undefined
  readonly version?: string | undefined
}

/** Labels of everything that the controller makes: `app` and the recommended labels, with the installer's own. */
export function recommendedLabels({ partOf, version }: InstallerLabels = {}): Record<string, string> {
  return {
    [labels.app]: labelValues.app,
    [labels.recommendedComponent]: labelValues.storageComponent,
    [labels.managedBy]: labelValues.managedByController,
    ...(partOf ? { [labels.partOf]: partOf } : {}),
    ...(version ? { [labels.version]: version } : {}),
  }
}

/** The labels that find an importer pod of any claim. */
export const importerPodSelector = {
  [labels.app]: labelValues.app,
  [labels.component]: labelValues.importer,
} as const

/** The labels that find the upload servers and their Services, of any claim. */
export const uploadServerSelector = {
  [labels.app]: labelValues.app,
  [labels.component]: labelValues.uploadServer,
} as const

/** Labels that travel from P to T and from a source to a DataVolume: those of the kubevirt.io domains only. */
const kubevirtLabel = /^([\w.]+\.kubevirt.io|kubevirt.io)\/[\w.-]+$/

/** Whether a label may be copied along with a volume (contract/datavolume.md §8.8). */
export function isKubevirtLabel(key: string): boolean {
  return kubevirtLabel.test(key)
}

/** The labels that tell the instance type and preference of a disk; they end up on the DataVolume. */
export const instanceTypeLabels = [
  'instancetype.kubevirt.io/default-instancetype',
  'instancetype.kubevirt.io/default-instancetype-kind',
  'instancetype.kubevirt.io/default-preference',
  'instancetype.kubevirt.io/default-preference-kind',
] as const

/** What keeps an object that was deleted until its controller is ready. */
export const finalizers = {
  /** On a claim whose worker has no owner: the worker has to go first. */
  importImageStream: `${prefix}/importImageStream`,
  /** On T while the clone populator works for it. */
  clonePopulator: `${prefix}/clonePopulator`,
  /** On the receiving claim of a copy: the source pod has to go first. */
  cloneSource: `${prefix}/cloneSource`,
  /** On a DataVolume with objects in another namespace. */
  dataVolume: `${prefix}/dataVolumeFinalizer`,
  objectTransfer: `${prefix}/objectTransfer`,
} as const
