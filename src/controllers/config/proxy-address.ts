/**
 * Under which address clients find the upload proxy (contract/upload.md §9.1): what the administrator says, else the host of
 * the first Ingress, else of the first Route that leads to its Service. Pure. Whatever an Ingress looks like, it is at worst
 * passed over.
 */
import type { CDIConfig, Ingress, Route } from '../../api/kinds.ts'

export const uploadProxyService = 'cdi-uploadproxy'

/** An address, and what said so. */
export type ProxyAddress =
  | { readonly from: 'override'; readonly url: string }
  | { readonly from: 'ingress'; readonly url: string; readonly ingress: Ingress }
  | { readonly from: 'route'; readonly url: string; readonly route: Route }

/** The address; undefined if there is none. From Ingresses and Routes it is a bare host. */
export function uploadProxyAddress({
  spec,
  ingresses,
  routes,
}: {
  spec: CDIConfig['spec']
  /** Those of the namespace of the installation, as the Routes. */
  ingresses: readonly Ingress[]
  routes: readonly Route[]
}): ProxyAddress | undefined {
  if (spec.uploadProxyURLOverride) return { from: 'override', url: spec.uploadProxyURLOverride }
  for (const ingress of byName(ingresses)) {
    const url = hostOfIngress(ingress)
    if (url) return { from: 'ingress', url, ingress }
  }
  for (const route of byName(routes)) {
    const url = hostOfRoute(route)
    if (url) return { from: 'route', url, route }
  }
  return undefined
}

/** A default backend with a Service decides alone whether the Ingress counts; else the first path that leads to ours. */
function hostOfIngress({ spec }: Ingress): string | undefined {
  const rules = spec?.rules ?? []
  const standard = spec?.defaultBackend?.service?.name
  if (standard !== undefined) return standard === uploadProxyService ? rules[0]?.host : undefined
  return rules.find(
    ({ host, http }) =>
      Boolean(host) && (http?.paths ?? []).some(({ backend }) => backend?.service?.name === uploadProxyService),
  )?.host
}

function hostOfRoute({ spec, status }: Route): string | undefined {
  return spec.to?.name === uploadProxyService ? status?.ingress?.[0]?.host : undefined
}

/** In the order in which the API server lists them, whatever order a cache has. */
function byName<T extends { metadata: { name: string } }>(objects: readonly T[]): T[] {
  return objects.toSorted((a, b) =>
    a.metadata.name < b.metadata.name ? -1 : a.metadata.name > b.metadata.name ? 1 : 0,
  )
}
