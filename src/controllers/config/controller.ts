/**
 * Keeps the one CDIConfig, `config`: its spec is that of the CDI object, its status the settings in force. Without a CDI object
 * (an installation without the operator) the spec belongs to whoever edits it.
 */
import { kinds } from '../../api/kinds.ts'
import { labels, recommendedLabels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { isAlreadyExists } from '../../kube/api-error.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult, Watch } from '../../kube/controller.ts'
import { mergePatch } from '../../kube/merge-patch.ts'
import { controllerOf, controllerRef } from '../../kube/owners.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { activeCdi, configOf } from '../shared/settings.ts'
import { planConfigStatus } from './plan.ts'
import { clusterCaConfigMap, proxyStatusOf } from './proxy-status.ts'

export interface ConfigDependencies extends Dependencies {
  readonly installer: InstallerLabels
  /** Namespace of the installation, where the upload proxy is. */
  readonly cdiNamespace: string
}

/** Certificates begin and end without anybody telling. */
const certificatesDelayMs = 60_000

const key = { name: 'config' } as const

export function configController(dependencies: ConfigDependencies): ControllerSpec {
  const { caches } = dependencies
  const { cdiConfigs, cdis, storageClasses, ingresses, routes, cdiSecrets, cdiConfigMaps } = caches
  const namedByIngress = (name: string): boolean =>
    ingresses.list().some(({ spec }) => spec?.tls?.some(({ secretName }) => secretName === name))
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
      watching(ingresses, () => [key]),
      watching(routes, () => [key]),
      watching(cdiSecrets, ({ metadata: { name } }) => (namedByIngress(name) ? [key] : [])),
      watching(cdiConfigMaps, ({ metadata: { name } }) => (name === clusterCaConfigMap ? [key] : [])),
    ],
    reconcile: () => reconcileConfig(dependencies),
  }
}

async function reconcileConfig({
  client,
  caches,
  installer,
  cdiNamespace,
  clock,
  log,
}: ConfigDependencies): Promise<ReconcileResult> {
  const cdi = activeCdi(caches)
  const config = configOf(caches)
  const spec = (cdi === undefined ? config?.spec : cdi.spec.config) ?? {}
  const { status: proxy, missingSecret } = proxyStatusOf({
    spec,
    before: config?.status ?? {},
    ingresses: caches.ingresses.list(),
    routes: caches.routes.list(),
    secretOf: (name) => caches.cdiSecrets.get({ namespace: cdiNamespace, name }),
    clusterCa: caches.cdiConfigMaps.get({ namespace: cdiNamespace, name: clusterCaConfigMap }),
    now: clock.now(),
  })
  if (missingSecret) log.warn({ secret: missingSecret }, 'the Secret of the Ingress of the upload proxy is not there')
  const wanted = { ...planConfigStatus({ spec, storageClasses: caches.storageClasses.list() }), ...proxy }
  const result = proxy.uploadProxyCA === undefined ? {} : { requeueAfterMs: certificatesDelayMs }
  if (config === undefined) {
    // Who goes away takes the configuration along; a new one would stay behind.
    if (cdi?.metadata.deletionTimestamp) return {}
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
        status: wanted,
      })
    } catch (error) {
      if (!isAlreadyExists(error)) throw error
    }
    return result
  }
  if (config.metadata.deletionTimestamp) return {}
  const status = mergePatch(config.status, wanted)
  const specPatch = mergePatch(config.spec, spec)
  const adopt = cdi !== undefined && controllerOf(config) === undefined
  if (status === undefined && specPatch === undefined && !adopt) return result
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
  return result
}
