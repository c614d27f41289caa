/**
 * The kinds that controllers read and write: where the API serves them and which type their objects have. The types of
 * our own resources are generated from crds/ (`npm run generate`), those of Kubernetes come from `core.ts`.
 */
import type { Kind, KubeObject } from '../kube/object.ts'
import type { CDI } from './cdi.gen.ts'
import type { CDIConfig } from './cdiconfig.gen.ts'
import type {
  ApiService,
  ConfigMap,
  CSIDriver,
  CustomResourceDefinition,
  Deployment,
  Event,
  Ingress,
  Lease,
  MutatingWebhookConfiguration,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Pod,
  ResourceQuota,
  Route,
  Secret,
  Service,
  StorageClass,
  SubjectAccessReview,
  ValidatingWebhookConfiguration,
  VolumeSnapshot,
  VolumeSnapshotClass,
  VolumeSnapshotContent,
} from './core.ts'
import type { DataImportCron } from './dataimportcron.gen.ts'
import type { DataSource } from './datasource.gen.ts'
import type { DataVolume } from './datavolume.gen.ts'
import type { ObjectTransfer } from './objecttransfer.gen.ts'
import type { StorageProfile } from './storageprofile.gen.ts'
import type { VolumeCloneSource } from './volumeclonesource.gen.ts'
import type { VolumeImportSource } from './volumeimportsource.gen.ts'
import type { VolumeUploadSource } from './volumeuploadsource.gen.ts'

export type {
  CDI,
  CDIConfig,
  DataImportCron,
  DataSource,
  DataVolume,
  ObjectTransfer,
  StorageProfile,
  VolumeCloneSource,
  VolumeImportSource,
  VolumeUploadSource,
}
export type * from './core.ts'

/** API group of our resources. */
export const cdiGroup = 'cdi.kubevirt.io'

function namespaced<T extends KubeObject>(group: string, version: string, plural: string, kind: string): Kind<T> {
  return { group, version, plural, kind, namespaced: true }
}

function clusterWide<T extends KubeObject>(group: string, version: string, plural: string, kind: string): Kind<T> {
  return { group, version, plural, kind, namespaced: false }
}

export const kinds = {
  dataVolume: namespaced<DataVolume>(cdiGroup, 'v1beta1', 'datavolumes', 'DataVolume'),
  volumeImportSource: namespaced<VolumeImportSource>(cdiGroup, 'v1beta1', 'volumeimportsources', 'VolumeImportSource'),
  volumeUploadSource: namespaced<VolumeUploadSource>(cdiGroup, 'v1beta1', 'volumeuploadsources', 'VolumeUploadSource'),
  volumeCloneSource: namespaced<VolumeCloneSource>(cdiGroup, 'v1beta1', 'volumeclonesources', 'VolumeCloneSource'),
  storageProfile: clusterWide<StorageProfile>(cdiGroup, 'v1beta1', 'storageprofiles', 'StorageProfile'),
  cdiConfig: clusterWide<CDIConfig>(cdiGroup, 'v1beta1', 'cdiconfigs', 'CDIConfig'),
  cdi: clusterWide<CDI>(cdiGroup, 'v1beta1', 'cdis', 'CDI'),
  dataSource: namespaced<DataSource>(cdiGroup, 'v1beta1', 'datasources', 'DataSource'),
  dataImportCron: namespaced<DataImportCron>(cdiGroup, 'v1beta1', 'dataimportcrons', 'DataImportCron'),
  objectTransfer: clusterWide<ObjectTransfer>(cdiGroup, 'v1beta1', 'objecttransfers', 'ObjectTransfer'),

  pvc: namespaced<PersistentVolumeClaim>('', 'v1', 'persistentvolumeclaims', 'PersistentVolumeClaim'),
  pv: clusterWide<PersistentVolume>('', 'v1', 'persistentvolumes', 'PersistentVolume'),
  pod: namespaced<Pod>('', 'v1', 'pods', 'Pod'),
  event: namespaced<Event>('', 'v1', 'events', 'Event'),
  configMap: namespaced<ConfigMap>('', 'v1', 'configmaps', 'ConfigMap'),
  secret: namespaced<Secret>('', 'v1', 'secrets', 'Secret'),
  service: namespaced<Service>('', 'v1', 'services', 'Service'),
  resourceQuota: namespaced<ResourceQuota>('', 'v1', 'resourcequotas', 'ResourceQuota'),
  namespace: clusterWide<Namespace>('', 'v1', 'namespaces', 'Namespace'),
  node: clusterWide<Node>('', 'v1', 'nodes', 'Node'),
  storageClass: clusterWide<StorageClass>('storage.k8s.io', 'v1', 'storageclasses', 'StorageClass'),
  csiDriver: clusterWide<CSIDriver>('storage.k8s.io', 'v1', 'csidrivers', 'CSIDriver'),
  lease: namespaced<Lease>('coordination.k8s.io', 'v1', 'leases', 'Lease'),
  deployment: namespaced<Deployment>('apps', 'v1', 'deployments', 'Deployment'),
  ingress: namespaced<Ingress>('networking.k8s.io', 'v1', 'ingresses', 'Ingress'),
  apiService: clusterWide<ApiService>('apiregistration.k8s.io', 'v1', 'apiservices', 'APIService'),
  validatingWebhookConfiguration: clusterWide<ValidatingWebhookConfiguration>(
    'admissionregistration.k8s.io',
    'v1',
    'validatingwebhookconfigurations',
    'ValidatingWebhookConfiguration',
  ),
  mutatingWebhookConfiguration: clusterWide<MutatingWebhookConfiguration>(
    'admissionregistration.k8s.io',
    'v1',
    'mutatingwebhookconfigurations',
    'MutatingWebhookConfiguration',
  ),
  subjectAccessReview: clusterWide<SubjectAccessReview>(
    'authorization.k8s.io',
    'v1',
    'subjectaccessreviews',
    'SubjectAccessReview',
  ),
  /** Of OpenShift; elsewhere the API is not there. */
  route: namespaced<Route>('route.openshift.io', 'v1', 'routes', 'Route'),
  customResourceDefinition: clusterWide<CustomResourceDefinition>(
    'apiextensions.k8s.io',
    'v1',
    'customresourcedefinitions',
    'CustomResourceDefinition',
  ),
  volumeSnapshot: namespaced<VolumeSnapshot>('snapshot.storage.k8s.io', 'v1', 'volumesnapshots', 'VolumeSnapshot'),
  volumeSnapshotClass: clusterWide<VolumeSnapshotClass>(
    'snapshot.storage.k8s.io',
    'v1',
    'volumesnapshotclasses',
    'VolumeSnapshotClass',
  ),
  volumeSnapshotContent: clusterWide<VolumeSnapshotContent>(
    'snapshot.storage.k8s.io',
    'v1',
    'volumesnapshotcontents',
    'VolumeSnapshotContent',
  ),
} as const
