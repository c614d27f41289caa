/**
 * The pod that reads the source of a copy, and its Secret, in the shape that clients know (contract/clone.md §7.2). Key and
 * certificates are files and not values of the environment, so that they stand in no manifest (docs/differences.md).
 */
import { clonerMetricsPort, clonerPaths, clonerSecretKeys, renderClonerEnv } from '../../api/cloner-env.ts'
import { annotations, labels, labelValues, recommendedLabels, sourcePodName } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { uploadServerPort } from '../../api/upload-env.ts'
import type { CDI, CDIConfig, Container, PersistentVolumeClaim, Pod, PodSpec, Secret } from '../../api/kinds.ts'
import { formatKey, keyOf } from '../../kube/object.ts'
import type { NewObject } from '../../kube/object.ts'
import { controllerOf } from '../../kube/owners.ts'
import { annotationOf, isAnnotatedTrue } from '../shared/annotated.ts'
import { passThroughOf } from '../shared/pass-through.ts'
import { renderPodSecret } from '../shared/pod-secrets.ts'
import { workerContainerParts, workerPodParts, workerVolumeNames } from '../shared/worker-pod.ts'
import type { WorkerSettings } from '../shared/worker-pod.ts'
import type { ClientIdentity } from '../upload/identity.ts'
import { uploadServiceOf } from '../upload/plan.ts'
import { contentTypeOf } from './origin.ts'

export interface SourcePodInput {
  /** The claim that is copied to. */
  readonly receiver: PersistentVolumeClaim
  /** The claim that is read. */
  readonly source: PersistentVolumeClaim
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
}

const tlsVolume = 'tls-config'

type Affinity = NonNullable<PodSpec['affinity']>

export function renderSourcePod(input: SourcePodInput): NewObject<Pod> {
  const { receiver, source, settings, config, cdi } = input
  const name = sourcePodName(receiver.metadata.uid)
  const isBlock = source.spec?.volumeMode === 'Block'
  const container: Container = {
    ...workerContainerParts({ config }),
    name: 'cdi-clone-source',
    image: settings.image,
    imagePullPolicy: settings.pullPolicy,
    command: ['/usr/bin/cdi', 'cloner'],
    args: [`-v=${settings.verbosity}`],
    env: renderEnv(input),
    ports: [{ name: 'metrics', containerPort: clonerMetricsPort, protocol: 'TCP' }],
    volumeMounts: [
      ...(isBlock ? [] : [{ name: workerVolumeNames.data, mountPath: clonerPaths.mountPoint, readOnly: true }]),
      { name: tlsVolume, mountPath: clonerPaths.tlsDirectory, readOnly: true },
    ],
    ...(isBlock ? { volumeDevices: [{ name: workerVolumeNames.data, devicePath: clonerPaths.device }] } : {}),
  }
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      ...namespaceOf(source),
      annotations: {
        [annotations.createdByController]: 'yes',
        [annotations.ownerRef]: formatKey(keyOf(receiver)),
        ...passThroughOf(receiver),
      },
      labels: {
        ...recommendedLabels(settings.installer),
        [labels.component]: labelValues.cloneSource,
        [labels.cloneUniqueId]: name,
        [labels.prometheus]: 'true',
        [labels.hostAssistedSource]: source.metadata.uid,
      },
    },
    spec: {
      ...workerPodParts({ carrier: receiver, config, cdi, isApart: true }),
      affinity: withOurs(cdi?.spec.workload?.affinity, affinityOf({ receiver, source })),
      containers: [container],
      volumes: [
        { name: workerVolumeNames.data, persistentVolumeClaim: { claimName: source.metadata.name } },
        { name: tlsVolume, secret: { secretName: name } },
      ],
    },
  }
}

function renderEnv({ receiver, source }: SourcePodInput): Container['env'] {
  const isBlock = source.spec?.volumeMode === 'Block'
  const { namespace = '', uid } = receiver.metadata
  const service = uploadServiceOf(receiver)
  return renderClonerEnv({
    volumeMode: isBlock ? 'block' : 'filesystem',
    source: isBlock ? clonerPaths.device : clonerPaths.mountPoint,
    contentType: contentTypeOf(receiver),
    uploadUrl: `https://${service}.${namespace}.svc:${uploadServerPort}/v1beta1/upload`,
    tlsKeyFile: clonerPaths.tlsKeyFile,
    tlsCertFile: clonerPaths.tlsCertFile,
    serverCaFile: clonerPaths.serverCaFile,
    preallocation: isAnnotatedTrue(receiver, annotations.preallocationRequested),
    ownerUid: annotationOf(receiver, annotations.ownerUid) || (controllerOf(receiver)?.uid ?? uid),
  })
}

type PodAffinity = NonNullable<Affinity['podAffinity']>
type AffinityTerm = NonNullable<PodAffinity['requiredDuringSchedulingIgnoredDuringExecution']>[number]

/**
 * A volume for one node only is read on the node where its other readers are; beyond that the shortest way to the upload
 * server is the best.
 */
function affinityOf({ receiver, source }: Pick<SourcePodInput, 'receiver' | 'source'>): PodAffinity {
  const near = (label: string, value: string, place: PersistentVolumeClaim): AffinityTerm => ({
    labelSelector: { matchExpressions: [{ key: label, operator: 'In', values: [value] }] },
    namespaces: [place.metadata.namespace ?? ''],
    topologyKey: 'kubernetes.io/hostname',
  })
  const modes = source.spec?.accessModes ?? []
  const isForOneNode = modes.length === 1 && modes[0] === 'ReadWriteOnce'
  return {
    preferredDuringSchedulingIgnoredDuringExecution: [
      { weight: 100, podAffinityTerm: near(labels.uploadTarget, receiver.metadata.uid, receiver) },
    ],
    ...(isForOneNode
      ? {
          requiredDuringSchedulingIgnoredDuringExecution: [
            near(labels.hostAssistedSource, source.metadata.uid, source),
          ],
        }
      : {}),
  }
}

/** The placement of all workers with ours added. */
function withOurs(affinity: Affinity | undefined, ours: PodAffinity): Affinity {
  const theirs = affinity?.podAffinity
  const preferred = [
    ...(theirs?.preferredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(ours.preferredDuringSchedulingIgnoredDuringExecution ?? []),
  ]
  const required = [
    ...(theirs?.requiredDuringSchedulingIgnoredDuringExecution ?? []),
    ...(ours.requiredDuringSchedulingIgnoredDuringExecution ?? []),
  ]
  return {
    ...affinity,
    podAffinity: {
      preferredDuringSchedulingIgnoredDuringExecution: preferred,
      ...(required.length > 0 ? { requiredDuringSchedulingIgnoredDuringExecution: required } : {}),
    },
  }
}

/** Key and certificates of one source pod; it goes with the pod. */
export function renderSourceSecret({
  pod,
  identity,
  installer,
}: {
  pod: Pod
  identity: ClientIdentity
  installer: InstallerLabels
}): NewObject<Secret> {
  return renderPodSecret({
    pod,
    madeBy: annotations.createdByController,
    component: labelValues.cloneSource,
    texts: {
      [clonerSecretKeys.key]: identity.keyPem,
      [clonerSecretKeys.cert]: identity.certPem,
      [clonerSecretKeys.ca]: identity.serverCaPem,
    },
    installer,
  })
}

function namespaceOf({ metadata: { namespace } }: { metadata: { namespace?: string } }): { namespace?: string } {
  return namespace ? { namespace } : {}
}
