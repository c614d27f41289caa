/**
 * Digests that a client sends along: `Repr-Digest` and `Content-Digest` (RFC 9530, structured fields: `sha-256=:…:`), and
 * the older `Digest` (RFC 3230: `SHA-256=…`). Algorithms that nobody here knows are passed over, as the RFCs want it; a
 * digest of a known algorithm that cannot be read is an error, since it was given to be checked.
 */
import { CdiError } from '../../src/errors.ts'
import type { Checksum, ChecksumAlgorithm } from '../sources/checksum.ts'

/** Names in the IANA registries, lower case. */
const algorithms: Readonly<Record<string, { readonly algorithm: ChecksumAlgorithm; readonly bytes: number }>> = {
  md5: { algorithm: 'md5', bytes: 16 },
  sha: { algorithm: 'sha1', bytes: 20 },
  'sha-256': { algorithm: 'sha256', bytes: 32 },
  'sha-512': { algorithm: 'sha512', bytes: 64 },
}

/** What each header says, empty where there is none. */
export interface DigestHeaders {
  /** Of the file: `Repr-Digest` and `Digest`. */
  readonly representation: readonly Checksum[]
  /** Of the body as it stands in the request: `Content-Digest`. The same thing unless the body is a form. */
  readonly content: readonly Checksum[]
}

/** Reads the headers (names in lower case). Throws CDI_UPLOAD_MALFORMED. */
export function digestsOf(header: (name: string) => string | undefined): DigestHeaders {
  const read = (name: string, parse: (name: string, text: string) => Checksum[]): Checksum[] => {
    const text = header(name)
    return text === undefined ? [] : parse(name, text)
  }
  return {
    representation: [...read('repr-digest', parseDigestField), ...read('digest', parseInstanceDigest)],
    content: read('content-digest', parseDigestField),
  }
}

/**
 * Reads a dictionary of byte sequences (RFC 9651 §4.2.2, §4.2.7). Of a key that stands twice the last one counts, as for
 * all dictionaries. Throws CDI_UPLOAD_MALFORMED.
 */
export function parseDigestField(name: string, text: string): Checksum[] {
  const found = new Map<string, Checksum>()
  const members = membersOf(name, text.trim())
  for (const member of members) {
    const [, key = '', value] = /^([a-z*][a-z0-9_.*-]*)(?:=(.*))?$/s.exec(member) ?? []
    if (key === '') throw malformed(name, member)
    const known = Object.hasOwn(algorithms, key)
    if (!known) continue
    // Parameters of the item mean nothing here.
    const [, base64] = /^:([A-Za-z0-9+/=]*):(?:\s*;.*)?$/s.exec(value ?? '') ?? []
    if (base64 === undefined) throw malformed(name, member)
    found.set(key, checksumOf(name, key, base64))
  }
  return [...found.values()]
}

/** Reads `algorithm=base64` with commas in between, names in any case (RFC 3230 §4.3.2). Throws CDI_UPLOAD_MALFORMED. */
export function parseInstanceDigest(name: string, text: string): Checksum[] {
  return text
    .split(',')
    .map((member) => member.trim())
    .flatMap((member) => {
      const [, key = '', base64 = ''] = /^([^\s=]+)=(.*)$/s.exec(member) ?? []
      if (key === '') throw malformed(name, member)
      return Object.hasOwn(algorithms, key.toLowerCase()) ? [checksumOf(name, key.toLowerCase(), base64)] : []
    })
}

/** Splits at the commas that stand neither in a string nor in an inner list. */
function membersOf(name: string, text: string): string[] {
  const members: string[] = []
  let from = 0
  let isQuoted = false
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const char = text[at]
    if (isQuoted) {
      if (char === '\\') at++
      else if (char === '"') isQuoted = false
    } else if (char === '"') {
      isQuoted = true
    } else if (char === '(') {
      depth++
    } else if (char === ')') {
      depth--
    } else if (char === ',' && depth === 0) {
      members.push(text.slice(from, at).trim())
      from = at + 1
    }
  }
  members.push(text.slice(from).trim())
  if (isQuoted || depth !== 0 || members.includes('')) throw malformed(name, text)
  return members
}

function checksumOf(name: string, key: string, base64: string): Checksum {
  const { algorithm, bytes } = algorithms[key] as (typeof algorithms)[string]
  const digest = Buffer.from(base64, 'base64')
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(base64) || digest.length !== bytes) {
    throw new CdiError(
      'CDI_UPLOAD_MALFORMED',
      `the header ${name} is malformed: a digest ${key} is ${bytes} bytes in base64, not ${JSON.stringify(shown(base64))}`,
    )
  }
  return { algorithm, hex: digest.toString('hex') }
}

function malformed(name: string, text: string): CdiError {
  return new CdiError('CDI_UPLOAD_MALFORMED', `the header ${name} is malformed at ${JSON.stringify(shown(text))}`)
}

function shown(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}…` : text
}
