/**
 * Names of the certificates in the namespace of the installation (contract/upload.md §7, platform.md §5): Secrets with
 * authorities and leaves, ConfigMaps with the bundles that peers trust, and what is written on them.
 */

export const certificateNames = {
  apiServer: {
    signer: 'cdi-apiserver-signer',
    bundle: 'cdi-apiserver-signer-bundle',
    leaf: 'cdi-apiserver-server-cert',
  },
  uploadProxy: {
    signer: 'cdi-uploadproxy-signer',
    bundle: 'cdi-uploadproxy-signer-bundle',
    leaf: 'cdi-uploadproxy-server-cert',
  },
  /** Signs a leaf for each upload server. */
  uploadServer: { signer: 'cdi-uploadserver-signer', bundle: 'cdi-uploadserver-signer-bundle' },
  /** Signs what the proxy, and sources of clones, show to upload servers. */
  uploadClient: {
    signer: 'cdi-uploadserver-client-signer',
    bundle: 'cdi-uploadserver-client-signer-bundle',
    leaf: 'cdi-uploadserver-client-cert',
  },
} as const

/** Key of the ConfigMaps. */
export const bundleKey = 'ca-bundle.crt'

/** Keys of the Secrets, which the type kubernetes.io/tls demands. */
export const pairKeys = { certificate: 'tls.crt', key: 'tls.key' } as const

export const tlsSecretType = 'kubernetes.io/tls'

export const certificateAnnotations = {
  /** RFC 3339; these two decide when a certificate is renewed, whatever it says itself. */
  notBefore: 'auth.openshift.io/certificate-not-before',
  notAfter: 'auth.openshift.io/certificate-not-after',
  /** Common name of the authority. */
  issuer: 'auth.openshift.io/certificate-issuer',
  /** Of servers: names, sorted, comma-joined. */
  hosts: 'auth.openshift.io/certificate-hostnames',
  /** JSON: lifetime and refresh as Go durations. */
  config: 'operator.cdi.kubevirt.io/certConfig',
} as const

/** Label that tells what an object holds: `signer`, `target` (a leaf) or `ca-bundle`. */
export const certificateTypeLabel = 'auth.openshift.io/managed-certificate-type'

export type CertificateType = 'signer' | 'target' | 'ca-bundle'
