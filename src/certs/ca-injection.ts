/**
 * Tells the API server which authority our own API server's certificate is of: `caBundle` of the webhook configurations
 * and of the APIService follows the bundle, wherever these objects exist (contract/platform.md §5).
 */
import { kinds } from '../api/kinds.ts'
import type { KubeClient } from '../kube/client.ts'
import { isConflict, isNotFound } from '../kube/api-error.ts'
import type { Kind, KubeObject } from '../kube/object.ts'
import type { Log } from '../log.ts'

/** The API server's Service, which all of them name. */
const apiServiceName = 'cdi-api'

export const validatingWebhooks = [
  'cdi-api-datavolume-validate',
  'cdi-api-validate',
  'cdi-api-dataimportcron-validate',
  'cdi-api-populator-validate',
  'objecttransfer-api-validate',
] as const

export const mutatingWebhooks = ['cdi-api-datavolume-mutate', 'cdi-api-pvc-mutate'] as const

export const uploadApiService = 'v1beta1.upload.cdi.kubevirt.io'

/** The parts of a registration that are looked at. */
interface ClientConfig {
  readonly service?: { readonly name?: string | undefined; readonly namespace?: string | undefined } | undefined
  readonly caBundle?: string | undefined
}

interface WebhookConfiguration extends KubeObject {
  webhooks?: { name: string; clientConfig: ClientConfig }[] | undefined
}

export interface InjectionOptions {
  readonly client: Pick<KubeClient, 'get' | 'patch'>
  /** Namespace of the installation: registrations that lead elsewhere are left alone. */
  readonly namespace: string
  /** PEM. */
  readonly bundle: string
  readonly log: Log
  readonly signal?: AbortSignal | undefined
}

/** One look at all of them; only those that differ are written. Throws the first error after having tried all. */
export async function injectCaBundle(options: InjectionOptions): Promise<void> {
  const caBundle = Buffer.from(options.bundle).toString('base64')
  const validating: Kind<WebhookConfiguration> = kinds.validatingWebhookConfiguration
  const mutating: Kind<WebhookConfiguration> = kinds.mutatingWebhookConfiguration
  const settled = await Promise.allSettled([
    ...validatingWebhooks.map((name) => injectIntoWebhooks(options, validating, name, caBundle)),
    ...mutatingWebhooks.map((name) => injectIntoWebhooks(options, mutating, name, caBundle)),
    injectIntoApiService(options, caBundle),
  ])
  for (const result of settled) if (result.status === 'rejected') throw result.reason
}

async function injectIntoWebhooks(
  options: InjectionOptions,
  kind: Kind<WebhookConfiguration>,
  name: string,
  caBundle: string,
): Promise<void> {
  await inject(options, kind, name, ({ webhooks = [] }) => {
    const isOurs = ({ clientConfig }: { clientConfig: ClientConfig }): boolean =>
      leadsHere(options, clientConfig.service)
    if (!webhooks.some((webhook) => isOurs(webhook) && webhook.clientConfig.caBundle !== caBundle)) return undefined
    return {
      webhooks: webhooks.map((webhook) =>
        isOurs(webhook) ? { ...webhook, clientConfig: { ...webhook.clientConfig, caBundle } } : webhook,
      ),
    }
  })
}

async function injectIntoApiService(options: InjectionOptions, caBundle: string): Promise<void> {
  await inject(options, kinds.apiService, uploadApiService, ({ spec }) => {
    if (!leadsHere(options, spec?.service) || spec?.caBundle === caBundle) return undefined
    // The API server refuses both at once.
    return { spec: { caBundle, ...(spec?.insecureSkipTLSVerify ? { insecureSkipTLSVerify: null } : {}) } }
  })
}

/** Reads, and writes what is to be changed unless somebody else did meanwhile. */
async function inject<T extends KubeObject>(
  { client, log, signal }: InjectionOptions,
  kind: Kind<T>,
  name: string,
  changeOf: (found: T) => object | undefined,
): Promise<void> {
  for (let tries = 1; ; tries++) {
    const found = await client.get(kind, { name }, signal)
    const change = found && changeOf(found)
    if (found === undefined || change === undefined) return
    const { resourceVersion } = found.metadata
    try {
      await client.patch(kind, { name }, { metadata: { resourceVersion }, ...change }, { type: 'merge', signal })
      log.info({ kind: kind.kind, name }, 'caBundle set')
      return
    } catch (error) {
      if (isNotFound(error)) return
      if (!isConflict(error) || tries >= maxTries) throw error
    }
  }
}

const maxTries = 5

function leadsHere({ namespace }: InjectionOptions, service: ClientConfig['service']): boolean {
  return service?.name === apiServiceName && service.namespace === namespace
}
