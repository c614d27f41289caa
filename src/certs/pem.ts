/** PEM files that hold several certificates, and whatever else somebody put into them. */
import { createPrivateKey, X509Certificate } from 'node:crypto'

const blocks = /-----BEGIN CERTIFICATE-----[\sA-Za-z0-9+/=]+-----END CERTIFICATE-----/g

/** The certificates of a PEM text in their order; blocks that cannot be read are left out. */
export function certificatesIn(pem: string): X509Certificate[] {
  return (pem.match(blocks) ?? []).flatMap((block) => {
    try {
      return [new X509Certificate(block)]
    } catch {
      return []
    }
  })
}

/** Whether the private key belongs to the first certificate; false too when either of them cannot be read. */
export function isKeyPair(certPem: string, keyPem: string): boolean {
  try {
    return certificatesIn(certPem)[0]?.checkPrivateKey(createPrivateKey(keyPem)) ?? false
  } catch {
    return false
  }
}

/** The common name of a certificate's subject, as it stands in it and without any escaping. */
export function commonNameOf(certificate: X509Certificate): string | undefined {
  const { CN: name } = certificate.toLegacyObject().subject as { CN?: string | string[] | undefined }
  return Array.isArray(name) ? name.at(-1) : name
}
