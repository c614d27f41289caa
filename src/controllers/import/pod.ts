/**
 * The importer pod of a claim, in the shape that clients know (contract/datavolume.md §10, contract/import.md §2). Ours
 * differs in two points (docs/differences.md): it holds no service-account token unless a service account was asked for,
 * and a small emptyDir keeps the transfer's journal over restarts of the container. What an image that the kubelet pulls
 * adds is in `pull-node.ts`.
 */
import {
  annotations,
  importProxyConfigMapName,
  labels,
  labelValues,
  recommendedLabels,
  scratchName,
} from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { renderPodEnv, workerPaths } from '../../api/podenv.ts'
import type { CDI, CDIConfig, PersistentVolumeClaim, Pod, PodSpec, Volume, Container } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { annotationOf, isAnnotatedTrue } from '../shared/annotated.ts'
import { isPrime } from '../shared/claim.ts'
import { importOrderOf } from '../shared/import-source.ts'
import type { ImportOrder } from '../shared/import-source.ts'
import { controllerRef } from '../../kube/owners.ts'
import { passThroughOf } from '../shared/pass-through.ts'
import { isInsecureRegistry } from './image-reference.ts'
import { isPulledByNode, nodePullParts } from './pull-node.ts'
import type { NodePullParts } from './pull-node.ts'

/** Numeric user and group of every worker; KubeVirt's qemu runs as it too. */
const workerId = 107

/** Room for the journal of completed ranges; see importer/journal.ts. */
const journalLimit = '16Mi'

export const volumeNames = {
  data: 'cdi-data-vol',
  scratch: 'cdi-scratch-vol',
  cert: 'cdi-cert-vol',
  google: 'cdi-google-cred-vol',
  proxyCert: 'cdi-proxy-cert-vol',
  journal: 'cdi-journal-vol',
  secretHeaders: (index: number) => `cdi-secret-extra-headers-vol-${index}`,
} as const

/** What the installation says about all workers. */
export interface WorkerSettings {
  readonly image: string
  readonly pullPolicy: string
  /** The verbosity that goes on to workers as `-v=N`. */
  readonly verbosity: number
  readonly installer: InstallerLabels
}

export interface ImporterPodInput {
  /** The claim that is written to. */
  readonly carrier: PersistentVolumeClaim
  /** The claim whose labels the pod bears: T in populator mode, else the carrier. */
  readonly labelled: PersistentVolumeClaim
  readonly podName: string
  readonly withScratch: boolean
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
  /** Filesystem overhead of the carrier's storage class as text, e.g. `0.06`. Ignored for block volumes. */
  readonly filesystemOverhead: string
}

export function renderImporterPod(input: ImporterPodInput): NewObject<Pod> {
  const { carrier, labelled, podName, settings, config, cdi } = input
  const isBlock = carrier.spec?.volumeMode === 'Block'
  const order = importOrderOf(carrier)
  const serviceAccountName = annotationOf(carrier, annotations.podServiceAccountName)
  const priorityClassName = annotationOf(carrier, annotations.podPriorityClassName)
  const selectedNode = isPrime(carrier) ? annotationOf(carrier, annotations.selectedNode) : undefined
  const workload = cdi?.spec.workload

  const image = { image: settings.image, imagePullPolicy: settings.pullPolicy }
  const worker = commonParts(input, isPulledByNode(order))
  const nodePull = isPulledByNode(order) ? nodePullParts({ order, worker, image }) : undefined
  const { volumes, mounts } = volumesOf(input, { isBlock, nodePull })
  const pullSecrets = [...(config?.status?.imagePullSecrets ?? []), ...(nodePull?.pullSecrets ?? [])]
  const nodeSelector = { ...workload?.nodeSelector, ...nodePull?.nodeSelector }

  const container: Container = {
    ...worker,
    ...image,
    name: 'importer',
    command: ['/usr/bin/cdi', 'importer'],
    args: [`-v=${settings.verbosity}`],
    env: renderEnv(input, isBlock),
    ports: [{ name: 'metrics', containerPort: 8443, protocol: 'TCP' }],
    ...(isBlock ? { volumeDevices: [{ name: volumeNames.data, devicePath: workerPaths.blockDevice }] } : {}),
    volumeMounts: mounts,
  }

  const spec: PodSpec = {
    ...(nodePull ? { initContainers: [nodePull.initContainer], shareProcessNamespace: true } : {}),
    containers: nodePull ? [container, nodePull.server] : [container],
    restartPolicy: 'OnFailure',
    enableServiceLinks: false,
    securityContext: { fsGroup: workerId, seccompProfile: { type: 'RuntimeDefault' } },
    volumes,
    ...(serviceAccountName ? { serviceAccountName } : { automountServiceAccountToken: false }),
    ...(priorityClassName ? { priorityClassName } : {}),
    ...(selectedNode ? { nodeName: selectedNode } : {}),
    ...(pullSecrets.length > 0 ? { imagePullSecrets: pullSecrets } : {}),
    ...(Object.keys(nodeSelector).length > 0 ? { nodeSelector } : {}),
    ...(workload?.tolerations ? { tolerations: workload.tolerations } : {}),
    ...(workload?.affinity ? { affinity: workload.affinity } : {}),
  }

  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: podName,
      ...(carrier.metadata.namespace ? { namespace: carrier.metadata.namespace } : {}),
      annotations: {
        [annotations.createdByController]: 'yes',
        ...passThroughOf(carrier),
        ...(order.isImageStream
          ? { [annotations.resolveNames]: '*', [annotations.importWorkerOf]: carrier.metadata.uid }
          : {}),
      },
      labels: {
        ...recommendedLabels(settings.installer),
        [labels.component]: labelValues.importer,
        [labels.prometheus]: 'true',
        ...labelled.metadata.labels,
      },
      ...(order.isImageStream ? {} : { ownerReferences: [controllerRef(carrier)] }),
    },
    spec,
  }
}

/**
 * What all containers of a worker have in common. Processes that shall see each other's files need the same group as well:
 * that of an image is whatever its own passwd file says.
 */
function commonParts({ config }: ImporterPodInput, sharesProcesses: boolean): Omit<Container, 'name'> {
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

/** The name of the ConfigMap with the proxy's CA in the CDI namespace, if this import goes through a proxy that has one. */
export function trustedProxyCa(carrier: PersistentVolumeClaim, config: CDIConfig | undefined): string | undefined {
  if (importOrderOf(carrier).source === 'none') return undefined
  return config?.status?.importProxy?.trustedCAProxy || undefined
}

function renderEnv(input: ImporterPodInput, isBlock: boolean): ReturnType<typeof renderPodEnv> {
  const { carrier, config, filesystemOverhead } = input
  const order = importOrderOf(carrier)
  const isPulled = isPulledByNode(order)
  const isInsecure =
    order.source === 'registry' && isInsecureRegistry(order.endpoint, config?.spec.insecureRegistries ?? [])
  const proxy = order.source === 'none' ? undefined : config?.status?.importProxy
  return renderPodEnv(
    {
      source: order.source,
      endpoint: order.endpoint,
      contentType: order.contentType,
      imageSize: carrier.spec?.resources?.requests?.['storage'] ?? '',
      ownerUid: progressOwnerUid(carrier),
      filesystemOverhead: isBlock ? '0' : filesystemOverhead,
      insecureTls: order.insecureSkipVerify || isInsecure,
      diskId: '',
      uuid: '',
      pullMethod: order.source === 'registry' ? order.pullMethod : '',
      readyFile: isPulled ? workerPaths.readyFile : '',
      doneFile: isPulled ? workerPaths.doneFile : '',
      backingFile: '',
      thumbprint: '',
      httpProxy: proxy?.HTTPProxy ?? '',
      httpsProxy: proxy?.HTTPSProxy ?? '',
      noProxy: proxy?.noProxy ?? '',
      currentCheckpoint: '',
      previousCheckpoint: '',
      finalCheckpoint: '',
      preallocation: isAnnotatedTrue(carrier, annotations.preallocationRequested),
      cacheMode: isAnnotatedTrue(carrier, annotations.requiresDirectIo) ? 'TRYNONE' : '',
      registryImageArchitecture: order.architecture,
      checksum: order.checksum,
    },
    {
      ...(order.secretName && readsSecretAsEnv(order) ? { secretName: order.secretName } : {}),
      ...(order.certConfigMap ? { certDir: workerPaths.certDirectory } : {}),
      ...(trustedProxyCa(carrier, config) ? { proxyCertDir: workerPaths.proxyCertDirectory } : {}),
      extraHeaders: order.extraHeaders,
    },
  )
}

/** Whether the worker wants the two keys of the Secret. Google's is a file, and of an image that it pulls itself the kubelet's. */
function readsSecretAsEnv(order: ImportOrder): boolean {
  return order.source !== 'gcs' && !isPulledByNode(order)
}

/** The UID that progress is reported under: that of the claim's only owner, else the claim's own. */
export function progressOwnerUid(carrier: PersistentVolumeClaim): string {
  const owners = carrier.metadata.ownerReferences ?? []
  return owners.length === 1 && owners[0] ? owners[0].uid : carrier.metadata.uid
}

function volumesOf(
  { carrier, withScratch, config }: ImporterPodInput,
  { isBlock, nodePull }: { isBlock: boolean; nodePull: NodePullParts | undefined },
): { volumes: Volume[]; mounts: NonNullable<Container['volumeMounts']> } {
  const order = importOrderOf(carrier)
  const volumes: Volume[] = []
  const mounts: NonNullable<Container['volumeMounts']> = []
  const add = (volume: Volume, mountPath?: string): void => {
    volumes.push(volume)
    if (mountPath) mounts.push({ name: volume.name, mountPath })
  }
  add(
    { name: volumeNames.data, persistentVolumeClaim: { claimName: carrier.metadata.name } },
    isBlock ? undefined : workerPaths.dataDirectory,
  )
  if (withScratch) {
    add(
      { name: volumeNames.scratch, persistentVolumeClaim: { claimName: scratchName(carrier.metadata.name) } },
      workerPaths.scratchDirectory,
    )
  }
  if (order.certConfigMap) {
    add({ name: volumeNames.cert, configMap: { name: order.certConfigMap } }, workerPaths.certDirectory)
  }
  if (order.source === 'gcs' && order.secretName) {
    add({ name: volumeNames.google, secret: { secretName: order.secretName } }, workerPaths.googleDirectory)
  }
  if (trustedProxyCa(carrier, config)) {
    add(
      { name: volumeNames.proxyCert, configMap: { name: importProxyConfigMapName(carrier.metadata.name) } },
      workerPaths.proxyCertDirectory,
    )
  }
  order.secretExtraHeaders.forEach((secretName, index) =>
    add(
      { name: volumeNames.secretHeaders(index), secret: { secretName } },
      `${workerPaths.extraHeadersDirectory}/${index}`,
    ),
  )
  if (nodePull) {
    volumes.push(nodePull.volume)
    mounts.push(nodePull.mount)
  }
  add({ name: volumeNames.journal, emptyDir: { sizeLimit: journalLimit } }, workerPaths.journalDirectory)
  return { volumes, mounts }
}
