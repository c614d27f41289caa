/** The status of CDIConfig (contract/platform.md §7): the settings that are in force, defaults included. */
import type { CDIConfig, StorageClass } from '../../api/kinds.ts'

type Spec = CDIConfig['spec']
type Status = NonNullable<CDIConfig['status']>

export interface ConfigObservation {
  readonly spec: Spec
  readonly storageClasses: readonly StorageClass[]
}

/** All fields but those of the upload proxy, which `proxy-status.ts` decides on. */
export type ConfigStatus = Omit<Status, 'uploadProxyURL' | 'uploadProxyCA'>

const defaultOverhead = '0.06'
const defaultResources = {
  limits: { cpu: '750m', memory: '600M' },
  requests: { cpu: '100m', memory: '60M' },
} as const

/** False, empty and unset values are left out, except for the four of the proxy. */
export function planConfigStatus({ spec, storageClasses }: ConfigObservation): ConfigStatus {
  const scratch = spec.scratchSpaceStorageClass
  const isScratchThere = storageClasses.some(({ metadata }) => metadata.name === scratch)
  return {
    defaultPodResourceRequirements: resourcesOf(spec),
    filesystemOverhead: overheadOf(spec, storageClasses),
    importProxy: proxyOf(spec),
    ...(scratch && isScratchThere ? { scratchSpaceStorageClass: scratch } : {}),
    ...(spec.preallocation === true ? { preallocation: true } : {}),
    ...(spec.imagePullSecrets && spec.imagePullSecrets.length > 0 ? { imagePullSecrets: spec.imagePullSecrets } : {}),
  }
}

function resourcesOf({ podResourceRequirements: asked }: Spec): NonNullable<Status['defaultPodResourceRequirements']> {
  const { limits, requests } = defaultResources
  return {
    limits: { cpu: asked?.limits?.['cpu'] ?? limits.cpu, memory: asked?.limits?.['memory'] ?? limits.memory },
    requests: { cpu: asked?.requests?.['cpu'] ?? requests.cpu, memory: asked?.requests?.['memory'] ?? requests.memory },
  }
}

/** Every class is named, because KubeVirt looks nowhere else. */
function overheadOf(
  { filesystemOverhead }: Spec,
  storageClasses: readonly StorageClass[],
): Status['filesystemOverhead'] {
  const global = filesystemOverhead?.global || defaultOverhead
  const byClass = filesystemOverhead?.storageClass ?? {}
  return {
    global,
    storageClass: Object.fromEntries(
      storageClasses.map(({ metadata: { name } }) => [name, (Object.hasOwn(byClass, name) && byClass[name]) || global]),
    ),
  }
}

function proxyOf({ importProxy }: Spec): NonNullable<Status['importProxy']> {
  const { HTTPProxy = '', HTTPSProxy = '', noProxy = '', trustedCAProxy = '' } = importProxy ?? {}
  return { HTTPProxy, HTTPSProxy, noProxy, trustedCAProxy }
}
