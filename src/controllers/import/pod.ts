/**
 * The importer pod of a claim, in the shape that clients know (contract/datavolume.md §10, contract/import.md §2). Ours
 * differs in two points (docs/differences.md): it holds no service-account token unless a service account was asked for,
 * and a small emptyDir keeps the transfer's journal over restarts of the container. What an image that the kubelet pulls
 * adds is in `pull-node.ts`.
 */
import { annotations, importProxyConfigMapName, labels, labelValues, recommendedLabels } from '../../api/names.ts'
import { renderPodEnv, workerPaths } from '../../api/podenv.ts'
import type { CDI, CDIConfig, PersistentVolumeClaim, Pod, PodSpec, Container } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { isAnnotatedTrue } from '../shared/annotated.ts'
import { importOrderOf } from '../shared/import-source.ts'
import type { ImportOrder } from '../shared/import-source.ts'
import { controllerRef } from '../../kube/owners.ts'
import { passThroughOf } from '../shared/pass-through.ts'
import {
  dataVolumeOf,
  journalVolume,
  mounted,
  scratchVolumeOf,
  workerContainerParts,
  workerPodParts,
} from '../shared/worker-pod.ts'
import type { MountedVolume, WorkerSettings } from '../shared/worker-pod.ts'
import { isInsecureRegistry } from './image-reference.ts'
import { isPulledByNode, nodePullParts } from './pull-node.ts'
import type { NodePullParts } from './pull-node.ts'

/** Names of the volumes that only importers have. */
const volumeNames = {
  cert: 'cdi-cert-vol',
  google: 'cdi-google-cred-vol',
  proxyCert: 'cdi-proxy-cert-vol',
  secretHeaders: (index: number) => `cdi-secret-extra-headers-vol-${index}`,
} as const

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
  const { carrier, labelled, podName, settings, config } = input
  const order = importOrderOf(carrier)
  const isPulled = isPulledByNode(order)
  const image = { image: settings.image, imagePullPolicy: settings.pullPolicy }
  const worker = workerContainerParts({ config, sharesProcesses: isPulled })
  const nodePull = isPulled ? nodePullParts({ order, worker, image }) : undefined
  const { volumes, container: seen } = mounted(volumesOf(input, nodePull))

  const container: Container = {
    ...worker,
    ...image,
    ...seen,
    name: 'importer',
    command: ['/usr/bin/cdi', 'importer'],
    args: [`-v=${settings.verbosity}`],
    env: renderEnv(input),
    ports: [{ name: 'metrics', containerPort: 8443, protocol: 'TCP' }],
  }

  const spec: PodSpec = {
    ...workerPodParts({
      ...input,
      ...(nodePull ? { pullSecrets: nodePull.pullSecrets, nodeSelector: nodePull.nodeSelector } : {}),
    }),
    ...(nodePull ? { initContainers: [nodePull.initContainer], shareProcessNamespace: true } : {}),
    containers: nodePull ? [container, nodePull.server] : [container],
    volumes,
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

/** The name of the ConfigMap with the proxy's CA in the CDI namespace, if this import goes through a proxy that has one. */
export function trustedProxyCa(carrier: PersistentVolumeClaim, config: CDIConfig | undefined): string | undefined {
  if (importOrderOf(carrier).source === 'none') return undefined
  return config?.status?.importProxy?.trustedCAProxy || undefined
}

function renderEnv({ carrier, config, filesystemOverhead }: ImporterPodInput): ReturnType<typeof renderPodEnv> {
  const isBlock = carrier.spec?.volumeMode === 'Block'
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
  nodePull: NodePullParts | undefined,
): MountedVolume[] {
  const order = importOrderOf(carrier)
  const parts: MountedVolume[] = [dataVolumeOf(carrier)]
  if (withScratch) parts.push(scratchVolumeOf(carrier))
  if (order.certConfigMap) {
    parts.push({
      volume: { name: volumeNames.cert, configMap: { name: order.certConfigMap } },
      mountPath: workerPaths.certDirectory,
    })
  }
  if (order.source === 'gcs' && order.secretName) {
    parts.push({
      volume: { name: volumeNames.google, secret: { secretName: order.secretName } },
      mountPath: workerPaths.googleDirectory,
    })
  }
  if (trustedProxyCa(carrier, config)) {
    const name = importProxyConfigMapName(carrier.metadata.name)
    parts.push({
      volume: { name: volumeNames.proxyCert, configMap: { name } },
      mountPath: workerPaths.proxyCertDirectory,
    })
  }
  order.secretExtraHeaders.forEach((secretName, index) =>
    parts.push({
      volume: { name: volumeNames.secretHeaders(index), secret: { secretName } },
      mountPath: `${workerPaths.extraHeadersDirectory}/${index}`,
    }),
  )
  if (nodePull) parts.push({ volume: nodePull.volume, mountPath: nodePull.mount.mountPath })
  return [...parts, journalVolume]
}
