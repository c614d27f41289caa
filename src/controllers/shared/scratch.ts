/** The scratch volume that a worker asked for (contract/datavolume.md §11, contract/import.md §3). */
import { annotations, labels, recommendedLabels, scratchName } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import type { CDIConfig, PersistentVolumeClaim, Pod } from '../../api/kinds.ts'
import type { NewObject } from '../../kube/object.ts'
import { parseQuantity, requiredBytes, roundUpToMebibyte, usableBytes } from '../../quantity.ts'
import { annotationOf } from './annotated.ts'
import { isPrime } from './claim.ts'
import { controllerRef } from '../../kube/owners.ts'

export interface ScratchInput {
  readonly carrier: PersistentVolumeClaim
  /** The worker's pod, which owns the scratch claim so that both go together. */
  readonly pod: Pod
  readonly config: CDIConfig | undefined
  readonly installer: InstallerLabels
  /** Overhead of a class as text; '' is the class of a claim without one. */
  readonly overheadOf: (storageClassName: string | undefined) => string
}

/** The class of scratch claims: the configured one, else that of the carrier, else none. */
export function scratchClassOf(carrier: PersistentVolumeClaim, config: CDIConfig | undefined): string | undefined {
  return config?.status?.scratchSpaceStorageClass || carrier.spec?.storageClassName
}

export function renderScratchClaim(input: ScratchInput): NewObject<PersistentVolumeClaim> {
  const { carrier, pod, config, installer } = input
  const storageClassName = scratchClassOf(carrier, config)
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: {
      name: scratchName(carrier.metadata.name),
      ...(carrier.metadata.namespace ? { namespace: carrier.metadata.namespace } : {}),
      labels: { ...recommendedLabels(installer), [labels.veleroExclude]: 'true' },
      annotations: inherited(carrier),
      ownerReferences: [controllerRef(pod)],
    },
    spec: {
      accessModes: ['ReadWriteOnce'],
      volumeMode: 'Filesystem',
      resources: { requests: { storage: String(scratchBytes(input)) } },
      ...(storageClassName === undefined ? {} : { storageClassName }),
    },
  }
}

/** Room for the disk that fits into the carrier, on a file system of the scratch class. */
function scratchBytes({ carrier, config, overheadOf }: ScratchInput): number {
  const requested = parseQuantity(carrier.spec?.resources?.requests?.['storage'] ?? '0')
  const carrierOverhead = carrier.spec?.volumeMode === 'Block' ? '0' : overheadOf(carrier.spec?.storageClassName)
  const usable = usableBytes(carrierOverhead, requested)
  return roundUpToMebibyte(requiredBytes(overheadOf(scratchClassOf(carrier, config)), usable))
}

/** KubeVirt's annotations go along, ours do not; a P that was placed on a node has its scratch there too. */
function inherited(carrier: PersistentVolumeClaim): Record<string, string> {
  const copied = Object.fromEntries(
    Object.entries(carrier.metadata.annotations ?? {}).filter(
      ([key]) => key.includes('kubevirt.io/') && !key.includes('cdi.kubevirt.io/'),
    ),
  )
  const node = isPrime(carrier) ? annotationOf(carrier, annotations.selectedNode) : undefined
  return node ? { ...copied, [annotations.selectedNode]: node } : copied
}
