/**
 * The upload server of a claim, its Service and its Secret, in the shape that clients know (contract/upload.md §4.3). The
 * pod differs from the old one in four points (docs/differences.md): no service-account token unless a service account was
 * asked for, an emptyDir for the journal of resumable uploads, scratch only if the image needs it, and a startup probe that
 * looks every second, so that nobody waits for the five seconds between two looks of the readiness probe.
 */
import { annotations, labels, labelValues, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { renderUploadEnv, uploadProxyClientName, uploadServerPaths, uploadServerPort } from '../../api/upload-env.ts'
import type { CDI, CDIConfig, Container, PersistentVolumeClaim, Pod, Secret, Service } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { controllerRef } from '../../kube/owners.ts'
import { renderTlsProfile, tlsProfileOf } from '../../tls-profile.ts'
import { annotationOf, isAnnotatedTrue } from '../shared/annotated.ts'
import { passThroughOf } from '../shared/pass-through.ts'
import { renderPodSecret } from '../shared/pod-secrets.ts'
import { cloneClientName, isCloneTarget } from '../shared/upload-target.ts'
import {
  dataVolumeOf,
  journalVolume,
  mounted,
  scratchVolumeOf,
  workerContainerParts,
  workerPodParts,
} from '../shared/worker-pod.ts'
import type { MountedVolume, WorkerSettings } from '../shared/worker-pod.ts'
import type { ServerIdentity } from './identity.ts'
import { uploadServiceOf } from './plan.ts'

export interface UploadPodInput {
  /** The claim that is written to. */
  readonly carrier: PersistentVolumeClaim
  readonly podName: string
  readonly withScratch: boolean
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
  /** Filesystem overhead of the carrier's storage class as text, e.g. `0.06`. Ignored for block volumes. */
  readonly filesystemOverhead: string
  /** When the pod has to make room for one with fresh certificates, milliseconds since the epoch. */
  readonly deadline: number
}

/** A port that OVN networks let in although their default is to let nothing in. */
const openPorts = JSON.stringify([{ protocol: 'tcp', port: uploadServerPort }])

const healthz = { path: '/healthz', port: uploadServerPort, scheme: 'HTTPS' }

export function renderUploadPod(input: UploadPodInput): NewObject<Pod> {
  const { carrier, podName, withScratch, settings, config } = input
  const tls: MountedVolume = {
    volume: { name: 'tls-config', secret: { secretName: podName } },
    mountPath: uploadServerPaths.tlsDirectory,
  }
  const { volumes, container: seen } = mounted([
    tls,
    dataVolumeOf(carrier),
    ...(withScratch ? [scratchVolumeOf(carrier)] : []),
    journalVolume,
  ])
  const container: Container = {
    ...workerContainerParts({ config }),
    ...seen,
    name: 'cdi-upload-server',
    image: settings.image,
    imagePullPolicy: settings.pullPolicy,
    command: ['/usr/bin/cdi', 'uploadserver'],
    args: [`-v=${settings.verbosity}`],
    env: renderEnv(input),
    // A kubelet asks for readiness as soon as the startup probe has succeeded. A server that is busy is not unready.
    startupProbe: { httpGet: healthz, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 300 },
    readinessProbe: { httpGet: healthz, periodSeconds: 5, timeoutSeconds: 5, failureThreshold: 3 },
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: podName,
      ...namespaceOf(carrier),
      annotations: {
        [annotations.createdByUploadController]: 'yes',
        [annotations.openDefaultPorts]: openPorts,
        ...passThroughOf(carrier),
      },
      labels: {
        ...recommendedLabels(settings.installer),
        [labels.component]: labelValues.uploadServer,
        [labels.service]: uploadServiceOf(carrier),
        [labels.uploadTarget]: carrier.metadata.uid,
      },
      ownerReferences: [controllerRef(carrier)],
    },
    spec: { ...workerPodParts(input), containers: [container], volumes },
  }
}

function renderEnv({ carrier, config, filesystemOverhead, deadline }: UploadPodInput): Container['env'] {
  const { ciphers, minVersion } = renderTlsProfile(tlsProfileOf(config))
  const isClone = isCloneTarget(carrier)
  return renderUploadEnv({
    tlsKeyFile: uploadServerPaths.tlsKeyFile,
    tlsCertFile: uploadServerPaths.tlsCertFile,
    clientCaFile: uploadServerPaths.clientCaFile,
    filesystemOverhead: carrier.spec?.volumeMode === 'Block' ? '0' : filesystemOverhead,
    imageSize: carrier.spec?.resources?.requests?.['storage'] ?? '',
    clientName: isClone ? cloneClientName(carrier) : uploadProxyClientName,
    preallocation: isAnnotatedTrue(carrier, annotations.preallocationRequested),
    tlsCiphers: ciphers,
    tlsMinVersion: minVersion,
    deadline: new Date(deadline).toISOString(),
    contentType: annotationOf(carrier, annotations.contentType) === 'archive' ? 'archive' : 'kubevirt',
    checksum: annotationOf(carrier, annotations.uploadChecksum) ?? '',
    resumption: annotationOf(carrier, annotations.uploadResumption) ?? '',
    ...(isClone ? { isCloneTarget: true } : {}),
  })
}

/** The Service under whose name the proxy finds the pod, and which the pod's certificate names. */
export function renderUploadService({
  carrier,
  installer,
}: {
  carrier: PersistentVolumeClaim
  installer: InstallerLabels
}): NewObject<Service> {
  const name = uploadServiceOf(carrier)
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name,
      ...namespaceOf(carrier),
      annotations: { [annotations.createdByUploadController]: 'yes' },
      labels: { ...recommendedLabels(installer), [labels.component]: labelValues.uploadServer },
      ownerReferences: [controllerRef(carrier)],
    },
    spec: {
      clusterIP: 'None',
      ports: [{ port: uploadServerPort, targetPort: uploadServerPort, protocol: 'TCP' }],
      selector: { [labels.service]: name },
      // The pod that sends a copy looks for it while it starts; a name that is not known then stays unknown for seconds.
      ...(isCloneTarget(carrier) ? { publishNotReadyAddresses: true } : {}),
    },
  }
}

/** Key and certificates of one pod; it goes with the pod. */
export function renderUploadSecret({
  pod,
  identity,
  installer,
}: {
  pod: Pod
  identity: ServerIdentity
  installer: InstallerLabels
}): NewObject<Secret> {
  return renderPodSecret({
    pod,
    madeBy: annotations.createdByUploadController,
    component: labelValues.uploadServer,
    texts: { 'tls.key': identity.keyPem, 'tls.crt': identity.certPem, 'ca.crt': identity.clientCaPem },
    installer,
  })
}

function namespaceOf({ metadata: { namespace } }: { metadata: { namespace?: string } }): { namespace?: string } {
  return namespace ? { namespace } : {}
}
