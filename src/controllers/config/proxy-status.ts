/** What CDIConfig says of the upload proxy: address and certificates (contract/upload.md §9). Pure. */
import type { CDIConfig, ConfigMap, Ingress, Route, Secret } from '../../api/kinds.ts'
import { uploadProxyAddress } from './proxy-address.ts'
import type { ProxyAddress } from './proxy-address.ts'
import { certificatesFor } from './proxy-ca.ts'

export type ProxyStatus = Pick<NonNullable<CDIConfig['status']>, 'uploadProxyURL' | 'uploadProxyCA'>

/** In every namespace, the certificates by which the cluster's own Routes are signed. */
export const clusterCaConfigMap = 'kube-root-ca.crt'
const clusterCaKey = 'ca.crt'
const ingressKey = 'tls.crt'

export interface ProxyObservation {
  readonly spec: CDIConfig['spec']
  /** What is said now. */
  readonly before: ProxyStatus
  readonly ingresses: readonly Ingress[]
  readonly routes: readonly Route[]
  /** A Secret of the namespace of the installation. */
  readonly secretOf: (name: string) => Secret | undefined
  /** {@link clusterCaConfigMap} of the namespace of the installation. */
  readonly clusterCa: ConfigMap | undefined
  /** Milliseconds since the epoch. */
  readonly now: number
}

export interface ProxyOutcome {
  readonly status: ProxyStatus
  /** Name of a Secret that an Ingress names and that is not there. */
  readonly missingSecret: string | undefined
}

export function proxyStatusOf(seen: ProxyObservation): ProxyOutcome {
  const address = uploadProxyAddress(seen)
  if (!address) return { status: {}, missingSecret: undefined }
  // Whose certificates an address of the administrator bears is not known here.
  if (address.from === 'override') {
    const { uploadProxyCA } = seen.before
    return {
      status: { uploadProxyURL: address.url, ...(uploadProxyCA ? { uploadProxyCA } : {}) },
      missingSecret: undefined,
    }
  }
  const { pem, missingSecret } = pemFor(address, seen)
  const uploadProxyCA = pem && certificatesFor({ pem, host: address.url, now: seen.now })
  return { status: { uploadProxyURL: address.url, ...(uploadProxyCA ? { uploadProxyCA } : {}) }, missingSecret }
}

function pemFor(
  address: Exclude<ProxyAddress, { from: 'override' }>,
  { secretOf, clusterCa }: ProxyObservation,
): { pem: string | undefined; missingSecret: string | undefined } {
  switch (address.from) {
    case 'route':
      return { pem: clusterCa?.data?.[clusterCaKey], missingSecret: undefined }
    case 'ingress': {
      const name = address.ingress.spec?.tls?.find(({ secretName }) => secretName)?.secretName
      if (!name) return { pem: undefined, missingSecret: undefined }
      const secret = secretOf(name)
      const encoded = secret?.data?.[ingressKey]
      return {
        pem: encoded === undefined ? undefined : Buffer.from(encoded, 'base64').toString(),
        missingSecret: secret ? undefined : name,
      }
    }
    default:
      return address satisfies never
  }
}
