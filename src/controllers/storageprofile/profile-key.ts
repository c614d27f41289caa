/**
 * The key of a StorageClass in the table of capabilities (contract/golden-images.md §1.4): the provisioner, and for some the
 * variant that the parameters of the class choose.
 */

/** The parameters name no variant that is known, so nothing can be said. */
export const unknownKey = 'UNKNOWN'

type Parameters = Readonly<Record<string, string>>
/** A variant to append, `''` for the provisioner itself, `unknown` when the parameters are not understood. */
type Variant = string | { readonly unknown: true }

const plain = ''
const unknown = { unknown: true } as const

const variants: Readonly<Record<string, (parameters: Parameters) => Variant>> = {
  'kubevirt.io.hostpath-provisioner': ({ overlayCSI }) => (overlayCSI === undefined ? plain : 'overlay'),
  'kubernetes.io/portworx-volume': (parameters) => (isPortworxNfs(parameters) ? 'nfs' : plain),
  'pxd.portworx.com': (parameters) => {
    const { backend } = parameters
    if (backend === undefined) return isPortworxNfs(parameters) ? 'nfs' : plain
    return backend === 'pure_block' || backend === 'pure_fa_file' ? backend : plain
  },
  'csi.trident.netapp.io': ({ backendType = '', selector }) => {
    if (backendType.startsWith('ontap-nas')) return 'ontap-nas'
    if (backendType.startsWith('ontap-san')) return 'ontap-san'
    const isFlex = itemsOf(selector, /[;,]/).includes('performance=flex')
    return backendType === 'google-cloud-netapp-volumes' && isFlex ? 'gcnv-flex' : unknown
  },
  'infinibox-csi-driver': ({ storage_protocol: protocol = '' }) => {
    switch (protocol) {
      case 'iscsi':
      case 'fc':
        return 'iscsiorfibrechannel'
      case 'nvme':
        return 'nvme'
      case 'nfs':
      case 'nfs_treeq':
        return 'nfs'
      default:
        return unknown
    }
  },
  'csi.vsphere.vmware.com': (parameters) => (fsTypeOf(parameters).includes('nfs') ? 'nfs' : plain),
  'csi-powerstore.dellemc.com': (parameters) => (fsTypeOf(parameters) === 'nfs' ? 'nfs' : plain),
  'csi-vxflexos.dellemc.com': (parameters) => (fsTypeOf(parameters) === 'nfs' ? 'nfs' : plain),
  'csi-powermax.dellemc.com': (parameters) => (fsTypeOf(parameters) === 'nfs' ? 'nfs' : plain),
  'csi-unity.dellemc.com': ({ protocol }) => (protocol?.toLowerCase() === 'nfs' ? 'nfs' : plain),
  'csi.huawei.com': ({ protocol }) => (protocol === 'nfs' ? 'nfs' : plain),
  'driver.longhorn.io': ({ migratable, nfsOptions, fsType }) => {
    if (migratable === 'true') return 'migratable'
    if (nfsOptions) return 'nfs'
    return fsType ? 'fs' : plain
  },
  'ebs.csi.aws.com': ({ type }) => {
    if (type === 'io1' || type === 'io2') return type
    return type === 'gp2' || type === 'gp3' ? 'gp' : plain
  },
  'pd.csi.storage.gke.io': ({ type }) =>
    type === 'hyperdisk-balanced' || type === 'hyperdisk-balanced-high-availability' ? 'hyperdisk' : plain,
  'csi.san.synology.com': ({ protocol = '' }) => {
    switch (protocol) {
      case '':
      case 'iscsi':
        return 'iscsi'
      case 'smb':
        return 'smb'
      case 'nfs':
      case 'nfs_treeq':
        return 'nfs'
      default:
        return unknown
    }
  },
  'vpc.file.csi.ibm.io': ({ profile, vmState }) =>
    profile === 'rfs' || profile === 'dp2' ? `${profile}${vmState === 'true' ? '-rwo' : ''}` : plain,
}

/** The key of a class, {@link unknownKey} when its parameters are not understood. */
export function profileKey({
  provisioner,
  parameters,
}: {
  readonly provisioner: string
  readonly parameters?: Parameters | undefined
}): string {
  const choose = Object.hasOwn(variants, provisioner) ? variants[provisioner] : undefined
  const variant = choose?.(parameters ?? {}) ?? plain
  if (typeof variant !== 'string') return unknownKey
  return variant === plain ? provisioner : `${provisioner}/${variant}`
}

function fsTypeOf(parameters: Parameters): string {
  return (parameters['csi.storage.k8s.io/fstype'] ?? '').toLowerCase()
}

function isPortworxNfs({ sharedv4_mount_options: options }: Parameters): boolean {
  const given = itemsOf(options, /,/)
  return given.includes('vers=3.0') && given.includes('nolock')
}

function itemsOf(list: string | undefined, separator: RegExp): string[] {
  return (list ?? '').split(separator).map((item) => item.trim())
}
