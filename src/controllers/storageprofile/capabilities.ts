/**
 * What is known about storage systems (contract/golden-images.md §1.3–1.5), by key: the provisioner, or the provisioner and a
 * variant that the parameters of the StorageClass tell (`profile-key.ts`). Data only; a new system is a line here.
 */

export type AccessMode = 'ReadWriteMany' | 'ReadWriteOnce' | 'ReadOnlyMany'
export type VolumeMode = 'Block' | 'Filesystem'

/** One way in which a volume can be had. */
export interface Capability {
  readonly accessMode: AccessMode
  readonly volumeMode: VolumeMode
}

const accessModes = { W: 'ReadWriteMany', O: 'ReadWriteOnce', R: 'ReadOnlyMany' } as const
const volumeModes = { b: 'Block', f: 'Filesystem' } as const

/** `Wb Of`: ReadWriteMany Block, then ReadWriteOnce Filesystem; the preferred one first. */
type Shorthand = `${keyof typeof accessModes}${keyof typeof volumeModes}`

/** Capabilities → keys. */
const table: readonly (readonly [capabilities: readonly Shorthand[], keys: readonly string[]])[] = [
  [
    ['Of'],
    [
      'kubevirt.io.hostpath-provisioner',
      'kubevirt.io/hostpath-provisioner',
      'k8s.io/minikube-hostpath',
      'kubernetes.io/storageos',
      'storageos',
      'directpv-min-io',
      'driver.longhorn.io/fs',
      'vpc.file.csi.ibm.io/dp2-rwo',
      'vpc.file.csi.ibm.io/rfs-rwo',
    ],
  ],
  [
    ['Wf'],
    [
      'kubevirt.io.hostpath-provisioner/overlay',
      'nfs.csi.k8s.io',
      'k8s-sigs.io/nfs-subdir-external-provisioner',
      'kubernetes.io/azure-file',
      'file.csi.azure.com',
      'manila.csi.openstack.org',
    ],
  ],
  [
    ['Wf', 'Of'],
    [
      'cephfs.csi.ceph.com',
      'rook-ceph.cephfs.csi.ceph.com',
      'openshift-storage.cephfs.csi.ceph.com',
      'efs.csi.aws.com',
      'spectrumscale.csi.ibm.com',
      'vpc.file.csi.ibm.io',
      'vpc.file.csi.ibm.io/dp2',
      'vpc.file.csi.ibm.io/rfs',
      'kubernetes.io/portworx-volume/nfs',
      'pxd.portworx.com/nfs',
      'pxd.portworx.com/pure_fa_file',
      'csi.trident.netapp.io/ontap-nas',
      'csi.trident.netapp.io/gcnv-flex',
      'infinibox-csi-driver/nfs',
      'driver.longhorn.io/nfs',
      'csi.san.synology.com/nfs',
      'csi.san.synology.com/smb',
    ],
  ],
  [
    ['Wf', 'Of', 'Rf'],
    [
      'csi-isilon.dellemc.com',
      'csi-unity.dellemc.com/nfs',
      'csi-vxflexos.dellemc.com/nfs',
      'csi-powermax.dellemc.com/nfs',
      'csi-powerstore.dellemc.com/nfs',
      'csi.huawei.com/nfs',
    ],
  ],
  [
    ['Wb', 'Ob', 'Of'],
    [
      'kubernetes.io/rbd',
      'rbd.csi.ceph.com',
      'rook-ceph.rbd.csi.ceph.com',
      'openshift-storage.rbd.csi.ceph.com',
      'ebs.csi.aws.com/io2',
      'pd.csi.storage.gke.io/hyperdisk',
      'hspc.csi.hitachi.com',
      'csi.hpe.com',
      'block.csi.ibm.com',
      'pxd.portworx.com/pure_block',
      'infinibox-csi-driver/iscsiorfibrechannel',
      'infinibox-csi-driver/nvme',
      'blockvolume.csi.oraclecloud.com',
      'csi.san.synology.com/iscsi',
    ],
  ],
  [
    ['Wb', 'Ob', 'Of', 'Rb', 'Rf'],
    ['linstor.csi.linbit.com', 'csi-unity.dellemc.com', 'csi-vxflexos.dellemc.com', 'csi.huawei.com'],
  ],
  [
    ['Wb', 'Ob', 'Of', 'Rb'],
    ['csi-powermax.dellemc.com', 'csi-powerstore.dellemc.com'],
  ],
  [['Wb', 'Rb', 'Ob', 'Of'], ['kubesan.gitlab.io']],
  [
    ['Wb', 'Wf', 'Ob', 'Of'],
    ['kubernetes.io/portworx-volume', 'pxd.portworx.com'],
  ],
  [['Wb', 'Ob'], ['driver.longhorn.io/migratable']],
  [['Wb'], ['csi.trident.netapp.io/ontap-san']],
  [['Wf', 'Ob', 'Of'], ['csi.vsphere.vmware.com/nfs']],
  [
    ['Ob', 'Of'],
    [
      'kubernetes.io/gce-pd',
      'pd.csi.storage.gke.io',
      'vpc.block.csi.ibm.io',
      'topolvm.cybozu.com',
      'topolvm.io',
      'cinder.csi.openstack.org',
      'csi.ovirt.org',
      'csi.vsphere.vmware.com',
    ],
  ],
  [
    ['Ob'],
    [
      'kubernetes.io/aws-ebs',
      'ebs.csi.aws.com',
      'ebs.csi.aws.com/io1',
      'ebs.csi.aws.com/gp',
      'kubernetes.io/azure-disk',
      'disk.csi.azure.com',
      'driver.longhorn.io',
    ],
  ],
]

function capabilityOf(shorthand: Shorthand): Capability {
  const [access, volume] = shorthand.split('') as [keyof typeof accessModes, keyof typeof volumeModes]
  return { accessMode: accessModes[access], volumeMode: volumeModes[volume] }
}

const capabilities: ReadonlyMap<string, readonly Capability[]> = new Map(
  table.flatMap(([shorthands, keys]) => keys.map((key) => [key, shorthands.map(capabilityOf)] as const)),
)

/** What the storage behind a key offers, the preferred first; undefined when nothing is known. */
export function capabilitiesOf(key: string): readonly Capability[] | undefined {
  return capabilities.get(key)
}

export type CloneStrategy = 'copy' | 'snapshot' | 'csi-clone'

/** Keys, or provisioners with all their variants when they end in `/*`. */
const advisedCloneStrategies = {
  'csi-clone': [
    'csi-vxflexos.dellemc.com',
    'csi-isilon.dellemc.com',
    'csi-powermax.dellemc.com',
    'hspc.csi.hitachi.com',
    'csi.hpe.com',
    'spectrumscale.csi.ibm.com',
    'block.csi.ibm.com',
    'rbd.csi.ceph.com',
    'rook-ceph.rbd.csi.ceph.com',
    'openshift-storage.rbd.csi.ceph.com',
    'cephfs.csi.ceph.com',
    'rook-ceph.cephfs.csi.ceph.com',
    'openshift-storage.cephfs.csi.ceph.com',
    'pxd.portworx.com',
    'pxd.portworx.com/nfs',
    'pxd.portworx.com/pure_block',
    'pxd.portworx.com/pure_fa_file',
    'infinibox-csi-driver/*',
    'kubesan.gitlab.io',
    'csi.san.synology.com/*',
    'blockvolume.csi.oraclecloud.com',
  ],
  copy: ['csi-powerstore.dellemc.com', 'vpc.block.csi.ibm.io', 'topolvm.cybozu.com', 'topolvm.io'],
  snapshot: [
    'csi.trident.netapp.io/*',
    'pd.csi.storage.gke.io',
    'pd.csi.storage.gke.io/hyperdisk',
    'vpc.file.csi.ibm.io',
    'vpc.file.csi.ibm.io/*',
  ],
} as const satisfies Record<CloneStrategy, readonly string[]>

/** Which way of cloning is best on the storage behind a key, if one is known to be. */
export function advisedCloneStrategy(key: string): CloneStrategy | undefined {
  return (['csi-clone', 'copy', 'snapshot'] as const).find((strategy) =>
    isListed(advisedCloneStrategies[strategy], key),
  )
}

const keepsSnapshots = [
  'rook-ceph.rbd.csi.ceph.com',
  'openshift-storage.rbd.csi.ceph.com',
  'csi.trident.netapp.io/*',
  'pd.csi.storage.gke.io',
  'pd.csi.storage.gke.io/hyperdisk',
  'vpc.file.csi.ibm.io',
  'vpc.file.csi.ibm.io/*',
]

/** In which form a DataImportCron should keep its images; undefined when nothing speaks for snapshots. */
export function advisedSourceFormat(key: string): 'snapshot' | undefined {
  return isListed(keepsSnapshots, key) ? 'snapshot' : undefined
}

const minimumSizes: Readonly<Record<string, string>> = {
  'pd.csi.storage.gke.io/hyperdisk': '4Gi',
  'ebs.csi.aws.com/io1': '4Gi',
  'ebs.csi.aws.com/io2': '4Gi',
  'ebs.csi.aws.com/gp': '1Gi',
  'csi.san.synology.com/iscsi': '1Gi',
  'csi.san.synology.com/nfs': '1Gi',
  'csi.san.synology.com/smb': '1Gi',
  'csi.trident.netapp.io/gcnv-flex': '1Gi',
  'vpc.file.csi.ibm.io/rfs': '1Gi',
  'vpc.file.csi.ibm.io/rfs-rwo': '1Gi',
  'vpc.file.csi.ibm.io/dp2': '10Gi',
  'vpc.file.csi.ibm.io/dp2-rwo': '10Gi',
  'hspc.csi.hitachi.com': '1Gi',
  'xspc.csi.hpe.com': '1Gi',
}

/** The smallest volume that the storage behind a key makes, as a quantity. */
export function minimumSizeOf(key: string): string | undefined {
  return Object.hasOwn(minimumSizes, key) ? minimumSizes[key] : undefined
}

/** Whether images for DataImportCrons are better kept in ReadWriteOnce claims and snapshots made for images. */
export function keepsImagesApart(key: string): boolean {
  return key === 'pd.csi.storage.gke.io' || key === 'pd.csi.storage.gke.io/hyperdisk'
}

/** Volumes that somebody made by hand: their own modes tell what there is. */
export const noProvisioner = 'kubernetes.io/no-provisioner'

const unsupported: ReadonlySet<string> = new Set([
  'openshift-storage.noobaa.io/obc',
  'openshift-storage.ceph.rook.io/bucket',
  'rook-ceph.ceph.rook.io/bucket',
  'stork-snapshot',
  noProvisioner,
])

/** Not for disks of virtual machines at all: nobody need complete such a profile. */
export function isUnsupported(provisioner: string): boolean {
  return unsupported.has(provisioner)
}

function isListed(list: readonly string[], key: string): boolean {
  return list.some((entry) => (entry.endsWith('/*') ? key.startsWith(entry.slice(0, -1)) : entry === key))
}
