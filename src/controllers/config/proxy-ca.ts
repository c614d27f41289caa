/**
 * With which certificates clients verify the upload proxy (contract/upload.md §9.2): chosen from those of its Ingress or of
 * the cluster. Pure; what is no certificate is passed over.
 */
import { X509Certificate } from 'node:crypto'

const pemBlock = /-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g

/**
 * Of the certificates that are valid now: the one for the host that is valid longest, with its issuers if it does not sign
 * itself; all of them if none is for the host. PEM without blanks around it; undefined if none is valid.
 */
export function certificatesFor({
  pem,
  host,
  now,
}: {
  pem: string
  host: string
  /** Milliseconds since the epoch. */
  now: number
}): string | undefined {
  const valid = parse(pem).filter(
    ({ certificate: { validFromDate, validToDate } }) => validFromDate.getTime() <= now && now <= validToDate.getTime(),
  )
  const [best] = valid
    .filter(({ certificate }) => certificate.checkHost(host) !== undefined)
    .toSorted((a, b) => b.certificate.validToDate.getTime() - a.certificate.validToDate.getTime())
  const chosen = best ? withIssuers(best, valid) : valid
  return chosen.length === 0 ? undefined : chosen.map(({ text }) => text.trim()).join('\n')
}

interface Parsed {
  readonly text: string
  readonly certificate: X509Certificate
}

function parse(pem: string): Parsed[] {
  return (pem.match(pemBlock) ?? []).flatMap((text) => {
    try {
      return [{ text, certificate: new X509Certificate(text) }]
    } catch {
      return []
    }
  })
}

function withIssuers(leaf: Parsed, all: readonly Parsed[]): Parsed[] {
  const chain = [leaf]
  for (let last = leaf; !isRoot(last);) {
    const issuer = commonName(last.certificate.issuer)
    const next = all.find(
      (candidate) => !chain.includes(candidate) && commonName(candidate.certificate.subject) === issuer,
    )
    if (!next || issuer === undefined) break
    chain.push(next)
    last = next
  }
  return chain
}

function isRoot({ certificate }: Parsed): boolean {
  return certificate.issuer === certificate.subject
}

/** The CN of a name as Node writes it, one attribute a line. */
function commonName(name: string): string | undefined {
  return /^CN=(.*)$/m.exec(name)?.[1]
}
