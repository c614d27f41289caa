/**
 * What all pods that work on a claim have in common, whatever they do (contract/datavolume.md §10): who they run as, where
 * they may run, what they may use, and how the claim is mounted.
 */
import { annotations, scratchName } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { workerPaths } from '../../api/podenv.ts'
import type { CDI, CDIConfig, Container, PersistentVolumeClaim, PodSpec, Volume } from '../../api/kinds.ts'
import { annotationOf } from './annotated.ts'
import { isPrime } from './claim.ts'

/** Numeric user and group of every worker; KubeVirt's qemu runs as it too. */
const workerId = 107

/** Room for the journal of completed ranges; see importer/journal.ts. */
const journalLimit = '32Mi'

export const workerVolumeNames = {
  data: 'cdi-data-vol',
  scratch: 'cdi-scratch-vol',
  journal: 'cdi-journal-vol',
} as const

/** What the installation says about all workers. */
export interface WorkerSettings {
  readonly image: string
  readonly pullPolicy: string
  /** The verbosity that goes on to workers as `-v=N`. */
  readonly verbosity: number
  readonly installer: InstallerLabels
}

/**
 * What all containers of a worker have in common. Processes that shall see each other's files need the same group as well:
 * that of an image is whatever its own passwd file says.
 */
export function workerContainerParts({
  config,
  sharesProcesses = false,
}: {
  config: CDIConfig | undefined
  sharesProcesses?: boolean
}): Omit<Container, 'name'> {
  const resources = config?.status?.defaultPodResourceRequirements
  return {
    terminationMessagePath: workerPaths.terminationLog,
    terminationMessagePolicy: 'FallbackToLogsOnError',
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      runAsNonRoot: true,
      runAsUser: workerId,
      ...(sharesProcesses ? { runAsGroup: workerId } : {}),
      seccompProfile: { type: 'RuntimeDefault' },
    },
    ...(resources ? { resources: resources as NonNullable<Container['resources']> } : {}),
  }
}

export interface WorkerPodInput {
  /** The claim that is written to. */
  readonly carrier: PersistentVolumeClaim
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
  /** Beside those of the configuration. */
  readonly pullSecrets?: NonNullable<PodSpec['imagePullSecrets']>
  /** Beside that of the workloads. */
  readonly nodeSelector?: NonNullable<PodSpec['nodeSelector']>
  /** The pod does not mount the claim and may be in another namespace: node and account of the claim do not concern it. */
  readonly isApart?: boolean
}

/** The parts of the spec that do not depend on the work. No worker holds a service-account token unless one was asked for. */
export function workerPodParts({
  carrier,
  config,
  cdi,
  pullSecrets: morePullSecrets = [],
  nodeSelector: moreNodeSelector = {},
  isApart = false,
}: WorkerPodInput): Omit<PodSpec, 'containers'> {
  const serviceAccountName = isApart ? undefined : annotationOf(carrier, annotations.podServiceAccountName)
  const priorityClassName = annotationOf(carrier, annotations.podPriorityClassName)
  const selectedNode = isPrime(carrier) && !isApart ? annotationOf(carrier, annotations.selectedNode) : undefined
  const workload = cdi?.spec.workload
  const pullSecrets = [...(config?.status?.imagePullSecrets ?? []), ...morePullSecrets]
  const nodeSelector = { ...workload?.nodeSelector, ...moreNodeSelector }
  return {
    restartPolicy: 'OnFailure',
    enableServiceLinks: false,
    securityContext: { fsGroup: workerId, seccompProfile: { type: 'RuntimeDefault' } },
    ...(serviceAccountName ? { serviceAccountName } : { automountServiceAccountToken: false }),
    ...(priorityClassName ? { priorityClassName } : {}),
    ...(selectedNode ? { nodeName: selectedNode } : {}),
    ...(pullSecrets.length > 0 ? { imagePullSecrets: pullSecrets } : {}),
    ...(Object.keys(nodeSelector).length > 0 ? { nodeSelector } : {}),
    ...(workload?.tolerations ? { tolerations: workload.tolerations } : {}),
    ...(workload?.affinity ? { affinity: workload.affinity } : {}),
  }
}

/** A volume of a pod and how its worker's container sees it. */
export interface MountedVolume {
  readonly volume: Volume
  /** Absent for block devices. */
  readonly mountPath?: string
  readonly devicePath?: string
}

/** The claim itself, as a directory or a device. */
export function dataVolumeOf(carrier: PersistentVolumeClaim): MountedVolume {
  const volume = { name: workerVolumeNames.data, persistentVolumeClaim: { claimName: carrier.metadata.name } }
  return carrier.spec?.volumeMode === 'Block'
    ? { volume, devicePath: workerPaths.blockDevice }
    : { volume, mountPath: workerPaths.dataDirectory }
}

export function scratchVolumeOf(carrier: PersistentVolumeClaim): MountedVolume {
  const claimName = scratchName(carrier.metadata.name)
  return {
    volume: { name: workerVolumeNames.scratch, persistentVolumeClaim: { claimName } },
    mountPath: workerPaths.scratchDirectory,
  }
}

/** Keeps the journal of a transfer over restarts of the container. */
export const journalVolume: MountedVolume = {
  volume: { name: workerVolumeNames.journal, emptyDir: { sizeLimit: journalLimit } },
  mountPath: workerPaths.journalDirectory,
}

/** The volumes of a pod and what its worker's container says of them. */
export function mounted(parts: readonly MountedVolume[]): {
  volumes: Volume[]
  container: Pick<Container, 'volumeMounts' | 'volumeDevices'>
} {
  const volumeMounts = parts.flatMap(({ volume: { name }, mountPath }) => (mountPath ? [{ name, mountPath }] : []))
  const volumeDevices = parts.flatMap(({ volume: { name }, devicePath }) => (devicePath ? [{ name, devicePath }] : []))
  return {
    volumes: parts.map(({ volume }) => volume),
    container: { volumeMounts, ...(volumeDevices.length > 0 ? { volumeDevices } : {}) },
  }
}
