import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { profileKey } from '../../../../src/controllers/storageprofile/profile-key.ts'

const cases: readonly (readonly [provisioner: string, parameters: Record<string, string> | undefined, key: string])[] =
  [
    ['somebody.example', { type: 'io1' }, 'somebody.example'],
    ['toString', undefined, 'toString'],
    ['kubevirt.io.hostpath-provisioner', undefined, 'kubevirt.io.hostpath-provisioner'],
    ['kubevirt.io.hostpath-provisioner', { overlayCSI: '' }, 'kubevirt.io.hostpath-provisioner/overlay'],
    ['kubernetes.io/portworx-volume', { sharedv4_mount_options: 'vers=3.0' }, 'kubernetes.io/portworx-volume'],
    [
      'kubernetes.io/portworx-volume',
      { sharedv4_mount_options: 'nolock, vers=3.0' },
      'kubernetes.io/portworx-volume/nfs',
    ],
    ['pxd.portworx.com', { backend: 'pure_block' }, 'pxd.portworx.com/pure_block'],
    ['pxd.portworx.com', { backend: 'pure_fa_file' }, 'pxd.portworx.com/pure_fa_file'],
    ['pxd.portworx.com', { backend: 'x', sharedv4_mount_options: 'vers=3.0,nolock' }, 'pxd.portworx.com'],
    ['pxd.portworx.com', { sharedv4_mount_options: 'vers=3.0,nolock' }, 'pxd.portworx.com/nfs'],
    ['pxd.portworx.com', {}, 'pxd.portworx.com'],
    ['csi.trident.netapp.io', { backendType: 'ontap-nas-economy' }, 'csi.trident.netapp.io/ontap-nas'],
    ['csi.trident.netapp.io', { backendType: 'ontap-san' }, 'csi.trident.netapp.io/ontap-san'],
    [
      'csi.trident.netapp.io',
      { backendType: 'google-cloud-netapp-volumes', selector: 'a=b; performance=flex' },
      'csi.trident.netapp.io/gcnv-flex',
    ],
    [
      'csi.trident.netapp.io',
      { backendType: 'google-cloud-netapp-volumes', selector: 'performance=flexible' },
      'UNKNOWN',
    ],
    ['csi.trident.netapp.io', { backendType: 'solidfire-san', selector: 'performance=flex' }, 'UNKNOWN'],
    ['csi.trident.netapp.io', undefined, 'UNKNOWN'],
    ['infinibox-csi-driver', { storage_protocol: 'fc' }, 'infinibox-csi-driver/iscsiorfibrechannel'],
    ['infinibox-csi-driver', { storage_protocol: 'iscsi' }, 'infinibox-csi-driver/iscsiorfibrechannel'],
    ['infinibox-csi-driver', { storage_protocol: 'nvme' }, 'infinibox-csi-driver/nvme'],
    ['infinibox-csi-driver', { storage_protocol: 'nfs_treeq' }, 'infinibox-csi-driver/nfs'],
    ['infinibox-csi-driver', {}, 'UNKNOWN'],
    ['csi.vsphere.vmware.com', { 'csi.storage.k8s.io/fstype': 'NFS4' }, 'csi.vsphere.vmware.com/nfs'],
    ['csi.vsphere.vmware.com', { 'csi.storage.k8s.io/fstype': 'ext4' }, 'csi.vsphere.vmware.com'],
    ['csi-powerstore.dellemc.com', { 'csi.storage.k8s.io/fstype': 'NFS' }, 'csi-powerstore.dellemc.com/nfs'],
    ['csi-powerstore.dellemc.com', { 'csi.storage.k8s.io/fstype': 'nfs4' }, 'csi-powerstore.dellemc.com'],
    ['csi-vxflexos.dellemc.com', { 'csi.storage.k8s.io/fstype': 'nfs' }, 'csi-vxflexos.dellemc.com/nfs'],
    ['csi-powermax.dellemc.com', { 'csi.storage.k8s.io/fstype': 'nfs' }, 'csi-powermax.dellemc.com/nfs'],
    ['csi-unity.dellemc.com', { protocol: 'Nfs' }, 'csi-unity.dellemc.com/nfs'],
    ['csi.huawei.com', { protocol: 'nfs' }, 'csi.huawei.com/nfs'],
    ['csi.huawei.com', { protocol: 'NFS' }, 'csi.huawei.com'],
    ['driver.longhorn.io', { migratable: 'true', nfsOptions: 'x' }, 'driver.longhorn.io/migratable'],
    ['driver.longhorn.io', { migratable: 'false', nfsOptions: 'x', fsType: 'ext4' }, 'driver.longhorn.io/nfs'],
    ['driver.longhorn.io', { nfsOptions: '', fsType: 'ext4' }, 'driver.longhorn.io/fs'],
    ['driver.longhorn.io', { fsType: '' }, 'driver.longhorn.io'],
    ['ebs.csi.aws.com', { type: 'io1' }, 'ebs.csi.aws.com/io1'],
    ['ebs.csi.aws.com', { type: 'io2' }, 'ebs.csi.aws.com/io2'],
    ['ebs.csi.aws.com', { type: 'gp2' }, 'ebs.csi.aws.com/gp'],
    ['ebs.csi.aws.com', { type: 'gp3' }, 'ebs.csi.aws.com/gp'],
    ['ebs.csi.aws.com', { type: 'st1' }, 'ebs.csi.aws.com'],
    ['pd.csi.storage.gke.io', { type: 'hyperdisk-balanced' }, 'pd.csi.storage.gke.io/hyperdisk'],
    ['pd.csi.storage.gke.io', { type: 'hyperdisk-balanced-high-availability' }, 'pd.csi.storage.gke.io/hyperdisk'],
    ['pd.csi.storage.gke.io', { type: 'hyperdisk-extreme' }, 'pd.csi.storage.gke.io'],
    ['csi.san.synology.com', undefined, 'csi.san.synology.com/iscsi'],
    ['csi.san.synology.com', { protocol: 'smb' }, 'csi.san.synology.com/smb'],
    ['csi.san.synology.com', { protocol: 'nfs' }, 'csi.san.synology.com/nfs'],
    ['csi.san.synology.com', { protocol: 'ftp' }, 'UNKNOWN'],
    ['vpc.file.csi.ibm.io', { profile: 'rfs' }, 'vpc.file.csi.ibm.io/rfs'],
    ['vpc.file.csi.ibm.io', { profile: 'dp2', vmState: 'true' }, 'vpc.file.csi.ibm.io/dp2-rwo'],
    ['vpc.file.csi.ibm.io', { profile: 'rfs', vmState: 'true' }, 'vpc.file.csi.ibm.io/rfs-rwo'],
    ['vpc.file.csi.ibm.io', { profile: 'x', vmState: 'true' }, 'vpc.file.csi.ibm.io'],
  ]

describe('key of a StorageClass', () => {
  for (const [provisioner, parameters, key] of cases) {
    it(`of ${provisioner} with ${JSON.stringify(parameters ?? {})} is ${key}`, () => {
      assert.equal(profileKey({ provisioner, parameters }), key)
    })
  }
})
