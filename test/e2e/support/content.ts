/** What a volume holds, read by a pod that mounts it as a virtual machine's would: unprivileged, as uid 107. */
import type { PersistentVolumeClaim, Pod } from '../../../src/api/kinds.ts'
import type { NewObject } from '../../../src/kube/object.ts'
import type { TestCluster } from './cluster.ts'

/** A disk: a file `disk.img` or a block device. */
export interface DiskContent {
  readonly sizeBytes: number
  /** Digest of as many bytes from the beginning as were asked for. */
  readonly sha256: string
  /** Whether everything behind them is zero. */
  readonly restIsZero: boolean
  /** Only of files. */
  readonly file?: {
    readonly allocatedBytes: number
    /** Octal, e.g. `660`. */
    readonly mode: string
    readonly uid: number
    readonly gid: number
    /** Names in the root of the volume, without lost+found. */
    readonly beside: readonly string[]
  }
}

const securityContext = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  runAsUser: 107,
  seccompProfile: { type: 'RuntimeDefault' },
}

export interface VolumePodOptions {
  readonly name: string
  readonly pvc: PersistentVolumeClaim
  /** The volume is mounted so that nobody can write to it; a device always can be written to. */
  readonly readOnly?: boolean
  /** Bash; the volume is `/volume` or the device `/dev/volume`. What goes to `/dev/termination-log` is the result. */
  readonly script: string
}

/** The manifest of a pod that uses a volume. */
export function volumePod(
  { image }: Pick<TestCluster, 'image'>,
  { name, pvc, script, readOnly = false }: VolumePodOptions,
): NewObject<Pod> {
  const isBlock = pvc.spec?.volumeMode === 'Block'
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, ...(pvc.metadata.namespace ? { namespace: pvc.metadata.namespace } : {}) },
    spec: {
      restartPolicy: 'Never',
      enableServiceLinks: false,
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      securityContext: { fsGroup: 107, runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [
        {
          name: 'volume',
          image,
          imagePullPolicy: 'IfNotPresent',
          command: ['/bin/sh', '-ec', script],
          securityContext,
          ...(isBlock
            ? { volumeDevices: [{ name: 'volume', devicePath: '/dev/volume' }] }
            : { volumeMounts: [{ name: 'volume', mountPath: '/volume', readOnly }] }),
        },
      ],
      volumes: [{ name: 'volume', persistentVolumeClaim: { claimName: pvc.metadata.name } }],
    },
  }
}

/** The script that describes a disk of which `bytes` bytes came from the source. */
export function diskScript(pvc: PersistentVolumeClaim, bytes: number): string {
  const isBlock = pvc.spec?.volumeMode === 'Block'
  const disk = isBlock ? '/dev/volume' : '/volume/disk.img'
  const file = `,"file":{"allocatedBytes":$(( $(stat -c '%b * %B' ${disk}) )),"mode":"$(stat -c %a ${disk})","uid":$(stat -c %u ${disk}),"gid":$(stat -c %g ${disk}),"beside":[$(ls -A -I lost+found /volume | sed 's/.*/"&"/' | paste -sd, -)]}`
  return `
size=$(qemu-img info -f raw --output=json ${disk} | grep -m1 '"virtual-size"' | tr -dc 0-9)
sum=$(head -c ${bytes} ${disk} | sha256sum | cut -d' ' -f1)
rest=$(tail -c +${bytes + 1} ${disk} | tr -d '\\0' | head -c1 | wc -c)
if [ "$rest" = 0 ]; then zero=true; else zero=false; fi
echo "{\\"sizeBytes\\":$size,\\"sha256\\":\\"$sum\\",\\"restIsZero\\":$zero${isBlock ? '' : file.replaceAll('"', '\\"')}}" > /dev/termination-log
`
}

/** The script that lists the files of an unpacked archive with their digests. */
export const archiveScript = `
cd /volume
find . -mindepth 1 -not -path './lost+found*' -type f -exec sha256sum {} + | sort -k2 > /dev/termination-log
`

/** The result of a pod made by {@link volumePod}; throws if it failed. */
export function resultOf(pod: Pod): string | undefined {
  const terminated = pod.status?.containerStatuses?.[0]?.state?.terminated
  if (pod.status?.phase === 'Failed') throw new Error(`pod ${pod.metadata.name} failed: ${JSON.stringify(pod.status)}`)
  return pod.status?.phase === 'Succeeded' ? (terminated?.message ?? '') : undefined
}

/** What {@link diskScript} wrote. */
export function parseDisk(result: string): DiskContent {
  return JSON.parse(result) as DiskContent
}
