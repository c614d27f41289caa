import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  advisedCloneStrategy,
  advisedSourceFormat,
  capabilitiesOf,
  isUnsupported,
  minimumSizeOf,
} from '../../../../src/controllers/storageprofile/capabilities.ts'

function shorthand(key: string): string | undefined {
  const letters = { ReadWriteMany: 'W', ReadWriteOnce: 'O', ReadOnlyMany: 'R', Block: 'b', Filesystem: 'f' }
  return capabilitiesOf(key)
    ?.map(({ accessMode, volumeMode }) => letters[accessMode] + letters[volumeMode])
    .join(' ')
}

describe('table of storage capabilities', () => {
  // One key of each row of contract/golden-images.md §1.3.
  const rows = {
    'kubevirt.io.hostpath-provisioner': 'Of',
    'nfs.csi.k8s.io': 'Wf',
    'cephfs.csi.ceph.com': 'Wf Of',
    'csi-isilon.dellemc.com': 'Wf Of Rf',
    'rbd.csi.ceph.com': 'Wb Ob Of',
    'linstor.csi.linbit.com': 'Wb Ob Of Rb Rf',
    'csi-powermax.dellemc.com': 'Wb Ob Of Rb',
    'kubesan.gitlab.io': 'Wb Rb Ob Of',
    'pxd.portworx.com': 'Wb Wf Ob Of',
    'driver.longhorn.io/migratable': 'Wb Ob',
    'csi.trident.netapp.io/ontap-san': 'Wb',
    'csi.vsphere.vmware.com/nfs': 'Wf Ob Of',
    'topolvm.io': 'Ob Of',
    'ebs.csi.aws.com/gp': 'Ob',
  }
  for (const [key, expected] of Object.entries(rows)) {
    it(`knows that ${key} offers ${expected}`, () => assert.equal(shorthand(key), expected))
  }

  it('knows nothing about the rest, however it is called', () => {
    for (const key of ['hostpath.csi.k8s.io', 'xspc.csi.hpe.com', 'UNKNOWN', 'constructor']) {
      assert.equal(capabilitiesOf(key), undefined)
    }
  })
})

describe('advice for a storage', () => {
  it('covers all variants of a provisioner where the table says so', () => {
    assert.equal(advisedCloneStrategy('infinibox-csi-driver/nvme'), 'csi-clone')
    assert.equal(advisedCloneStrategy('csi.trident.netapp.io/gcnv-flex'), 'snapshot')
    assert.equal(advisedCloneStrategy('vpc.file.csi.ibm.io'), 'snapshot')
    assert.equal(advisedSourceFormat('vpc.file.csi.ibm.io/dp2-rwo'), 'snapshot')
  })

  it('does not cover the variants of a provisioner that is named alone', () => {
    assert.equal(advisedCloneStrategy('csi-vxflexos.dellemc.com'), 'csi-clone')
    assert.equal(advisedCloneStrategy('csi-vxflexos.dellemc.com/nfs'), undefined)
    assert.equal(advisedSourceFormat('rbd.csi.ceph.com'), undefined)
  })

  it('has a smallest size for some', () => {
    assert.equal(minimumSizeOf('pd.csi.storage.gke.io/hyperdisk'), '4Gi')
    assert.equal(minimumSizeOf('xspc.csi.hpe.com'), '1Gi')
    assert.equal(minimumSizeOf('ebs.csi.aws.com'), undefined)
    assert.equal(minimumSizeOf('constructor'), undefined)
  })

  it('knows storage that is not for disks', () => {
    assert.ok(isUnsupported('rook-ceph.ceph.rook.io/bucket'))
    assert.ok(!isUnsupported('rook-ceph.rbd.csi.ceph.com'))
  })
})
