/**
 * Keeps the certificates of the installation, and what the API server is told of them, where they should be: on every change
 * of the objects that hold them, when something is due, and once a minute in any case. The work is done by `src/certs`,
 * which the operator will call in the same way.
 */
import { kinds } from '../../api/kinds.ts'
import { labels } from '../../api/names.ts'
import type { InstallerLabels } from '../../api/names.ts'
import { injectCaBundle, mutatingWebhooks, uploadApiService, validatingWebhooks } from '../../certs/ca-injection.ts'
import { CertificateManager } from '../../certs/manager.ts'
import { certificateNames } from '../../certs/names.ts'
import { Cache } from '../../kube/cache.ts'
import { watching } from '../../kube/controller.ts'
import type { ControllerSpec, ReconcileResult, Watch } from '../../kube/controller.ts'
import type { Kind, KubeObject, ObjectKey } from '../../kube/object.ts'
import type { Dependencies } from '../shared/dependencies.ts'
import { activeCdi } from '../shared/settings.ts'

export interface CertificatesDependencies extends Pick<Dependencies, 'client' | 'log' | 'clock'> {
  readonly caches: Pick<Dependencies['caches'], 'cdis' | 'cdiSecrets' | 'cdiConfigMaps'>
  /** Namespace of the installation. */
  readonly cdiNamespace: string
  readonly installer: InstallerLabels
}

const key = { name: 'certificates' } as const

/** An edit from outside must have its effect within a minute (contract/upload.md §7), also if its event got lost. */
const intervalMs = 45_000
/** So that a clock that stands still in a test, or a time that has just passed, does not make a busy loop. */
const leastIntervalMs = 100

const certificateObjects: ReadonlySet<string> = new Set(
  Object.values(certificateNames).flatMap((names) => Object.values(names)),
)
const registrationObjects: ReadonlySet<string> = new Set([...validatingWebhooks, ...mutatingWebhooks, uploadApiService])

/** The controller, and `start`, which fills the caches that only it needs and resolves after the signal. */
export function certificatesController(dependencies: CertificatesDependencies): {
  spec: ControllerSpec
  start(signal: AbortSignal): Promise<void>
} {
  const { client, log, clock, caches, cdiNamespace: namespace, installer } = dependencies
  // Of what is told to the API server only this controller wants to hear.
  const registrations = [
    registrationCache(kinds.validatingWebhookConfiguration, dependencies),
    registrationCache(kinds.mutatingWebhookConfiguration, dependencies),
    registrationCache(kinds.apiService, dependencies),
  ]
  const manager = new CertificateManager({ client, namespace, log, clock })
  const reconcile = async (signal: AbortSignal): Promise<ReconcileResult | undefined> => {
    const cdi = activeCdi(caches)
    // Whoever goes away takes the certificates along; new ones would stay behind.
    if (cdi?.metadata.deletionTimestamp) return undefined
    const { lookAgainAt, apiServerBundle: bundle, errors } = await manager.run({ cdi, installer }, signal)
    if (bundle !== undefined) await injectCaBundle({ client, namespace, bundle, log, signal })
    if (errors.length > 0) throw errors[0]
    return { requeueAfterMs: Math.min(Math.max(lookAgainAt - clock.now(), leastIntervalMs), intervalMs) }
  }
  return {
    spec: {
      name: 'certificates',
      concurrency: 1,
      watches: [
        once,
        watching(caches.cdis, () => [key]),
        watching(caches.cdiSecrets, keyOfAny(certificateObjects)),
        watching(caches.cdiConfigMaps, keyOfAny(certificateObjects)),
        ...registrations.map((cache) => watching(cache, keyOfAny(registrationObjects))),
      ],
      reconcile: (_, signal) => reconcile(signal),
    },
    start: async (signal) => {
      await Promise.all(registrations.map((cache) => cache.start(signal)))
    },
  }
}

/** Also when there is nothing at all to watch yet. */
const once: Watch = {
  synced: Promise.resolve(),
  subscribe: (enqueue) => {
    enqueue(key)
    return () => undefined
  },
}

function keyOfAny(names: ReadonlySet<string>): (object: KubeObject) => ObjectKey[] {
  return ({ metadata: { name } }) => (names.has(name) ? [key] : [])
}

/** Changes of a kind of registration; what stands in them is read when it is needed. */
function registrationCache(kind: Kind, { client, log, clock }: CertificatesDependencies): Cache<KubeObject> {
  const labelSelector = `${labels.component}=cdi-api`
  return new Cache<KubeObject>({ client, kind, log, clock, labelSelector, transform: nameOnly })
}

function nameOnly({ apiVersion, kind, metadata: { name, uid, resourceVersion } }: KubeObject): KubeObject {
  return { apiVersion, kind, metadata: { name, uid, resourceVersion } }
}
