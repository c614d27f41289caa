/**
 * The pod that finds out how large the disk in a volume is (contract/clone.md §4.2). It differs from the old one in what
 * it cannot do: it has the volume mounted read-only, so that it is in nobody's way, and no service-account token.
 */
import { sizeDetectionArgs, sizeDetectionPaths } from '../../../api/cloner-env.ts'
import { annotations, defaultPassThrough, labels, labelValues, sizeDetectionPodName } from '../../../api/names.ts'
import type { CDI, CDIConfig, DataVolume, PersistentVolumeClaim, Pod } from '../../../api/kinds.ts'
import { formatKey, keyOf } from '../../../kube/object.ts'
import type { NewObject } from '../../../kube/object.ts'
import { controllerRef } from '../../../kube/owners.ts'
import { workerContainerParts, workerPodParts, workerVolumeNames } from '../../shared/worker-pod.ts'
import type { WorkerSettings } from '../../shared/worker-pod.ts'

export const sizeDetectionContainer = 'size-detection-volume'

export interface SizeDetectionPodInput {
  /** For whom it is found out. */
  readonly dataVolume: DataVolume
  /** The claim with the disk. */
  readonly source: PersistentVolumeClaim
  readonly settings: WorkerSettings
  readonly config: CDIConfig | undefined
  readonly cdi: CDI | undefined
}

export function renderSizeDetectionPod(input: SizeDetectionPodInput): NewObject<Pod> {
  const { dataVolume, source, settings, config, cdi } = input
  const { name, uid, namespace } = source.metadata
  const isAtHome = namespace === dataVolume.metadata.namespace
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: sizeDetectionPodName(uid),
      ...(namespace ? { namespace } : {}),
      annotations: {
        ...defaultPassThrough,
        ...knownSizeOf(source),
        ...(isAtHome ? {} : { [annotations.ownedByDataVolume]: formatKey(keyOf(dataVolume)) }),
      },
      labels: { [labels.app]: labelValues.app, [labels.component]: labelValues.importer },
      ...(isAtHome ? { ownerReferences: [controllerRef(dataVolume)] } : {}),
    },
    spec: {
      ...workerPodParts({ carrier: asFilledFor(dataVolume, source), config, cdi }),
      containers: [
        {
          ...workerContainerParts({ config }),
          name: sizeDetectionContainer,
          image: settings.image,
          imagePullPolicy: settings.pullPolicy,
          command: ['/usr/bin/cdi', 'size-detection'],
          args: sizeDetectionArgs(sizeDetectionPaths),
          // The size and nothing else: log lines are no sizes.
          terminationMessagePolicy: 'File',
          volumeMounts: [{ name: workerVolumeNames.data, mountPath: sizeDetectionPaths.mountPoint, readOnly: true }],
        },
      ],
      volumes: [{ name: workerVolumeNames.data, persistentVolumeClaim: { claimName: name } }],
    },
  }
}

/** What the source claim says of its size; a pod repeats it, so that one can tell later what it was made after. */
export function knownSizeOf({ metadata }: { metadata: Pod['metadata'] | NewObject<Pod>['metadata'] }): {
  [key: string]: string
} {
  const keys = [annotations.virtualSize, annotations.sourceCapacity]
  return Object.fromEntries(
    keys.flatMap((key) => {
      const value = metadata.annotations?.[key]
      return value === undefined ? [] : [[key, value]]
    }),
  )
}

/**
 * The annotations of a claim speak about the pods that once filled it: the service account and the node of those are not
 * wanted here, and the priority is that of whom the pod works for.
 */
function asFilledFor({ spec }: DataVolume, source: PersistentVolumeClaim): PersistentVolumeClaim {
  const { priorityClassName } = spec
  const own = priorityClassName ? { [annotations.podPriorityClassName]: priorityClassName } : {}
  return { ...source, metadata: { ...source.metadata, annotations: own } }
}
