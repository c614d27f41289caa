/**
 * Keeps the one CDIConfig, `config`: its spec is that of the CDI object, its status the settings in force. Without a CDI object
 * (an installation without the operator) the spec belongs to whoever edits it.
 */
import { kinds } from '../../api/kinds.ts'
import { labels, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { isAlreadyExists } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, Watch } from '../../kube/controller.ts'
import { mergePatch } from '../../kube/merge-patch.ts'
import { controllerOf, controllerRef } from '../../kube/owners.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { activeCdi, configOf } from '../shared/settings.ts'
import { planConfigStatus } from './plan.ts'

export interface ConfigDependencies extends Dependencies {
  readonly installer: InstallerLabels
}

const key = { name: 'config' } as const

export function configController(dependencies: ConfigDependencies): ControllerSpec {
  const { cdiConfigs, cdis, storageClasses } = dependencies.caches
  // Also when there is nothing at all to watch yet.
  const once: Watch = {
    synced: Promise.resolve(),
    subscribe: (enqueue) => {
      enqueue(key)
      return () => undefined
    },
  }
  return {
    name: 'config',
    concurrency: 1,
    watches: [
      once,
      watching(cdiConfigs, () => [key]),
      watching(cdis, () => [key]),
      watching(storageClasses, () => [key]),
    ],
    reconcile: () => reconcileConfig(dependencies),
  }
}

async function reconcileConfig({ client, caches, installer }: ConfigDependencies): Promise<void> {
  const cdi = activeCdi(caches)
  const config = configOf(caches)
  if (config === undefined) {
    // Who goes away takes the configuration along; a new one would stay behind.
    if (cdi?.metadata.deletionTimestamp) return
    const spec = cdi?.spec.config ?? {}
    try {
      await client.create(kinds.cdiConfig, {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'CDIConfig',
        metadata: {
          ...key,
          labels: { ...recommendedLabels(installer), [labels.component]: '' },
          ...(cdi ? { ownerReferences: [controllerRef(cdi)] } : {}),
        },
        spec,
        // There is no status subresource, so that it is never seen without its status.
        status: planConfigStatus({ spec, storageClasses: caches.storageClasses.list() }),
      })
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
    return
  }
  if (config.metadata.deletionTimestamp) return
  const spec = cdi === undefined ? config.spec : (cdi.spec.config ?? {})
  const { uploadProxyURL, uploadProxyCA } = config.status ?? {}
  const status = mergePatch(config.status, {
    ...planConfigStatus({ spec: spec ?? {}, storageClasses: caches.storageClasses.list() }),
    uploadProxyURL,
    uploadProxyCA,
  })
  const specPatch = mergePatch(config.spec, spec)
  const adopt = cdi !== undefined && controllerOf(config) === undefined
  if (status === undefined && specPatch === undefined && !adopt) return
  await client.patch(
    kinds.cdiConfig,
    key,
    {
      metadata: {
        resourceVersion: config.metadata.resourceVersion,
        ...(adopt ? { ownerReferences: [...(config.metadata.ownerReferences ?? []), controllerRef(cdi)] } : {}),
      },
      ...(specPatch === undefined ? {} : { spec: specPatch }),
      ...(status === undefined ? {} : { status }),
    },
    { type: 'merge' },
  )
}
