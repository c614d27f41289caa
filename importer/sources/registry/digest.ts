/** Digests as registries write them: `algorithm:hex` (OCI image specification, "Descriptor", Digests). */
import { createHash } from 'node:crypto'
import { CdiError } from '../../../src/errors.ts'

/** The algorithms that the specification registers, and their hexadecimal digits. */
const hexDigits: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha512', 128],
])

/** True for a digest that can be checked. */
export function isDigest(text: string): boolean {
  const [algorithm = '', hex = '', ...more] = text.split(':')
  return more.length === 0 && hexDigits.get(algorithm) === hex.length && /^[0-9a-f]+$/.test(hex)
}

/** The digest of `bytes` by the algorithm that `like` has. */
export function digestOf(bytes: Buffer, like = 'sha256:'): string {
  const algorithm = like.slice(0, like.indexOf(':'))
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`
}

/** Throws CDI_REGISTRY_DIGEST unless `bytes` have the digest; `what` they are is said in the message. */
export function assertDigest({ bytes, digest, what }: { bytes: Buffer; digest: string; what: string }): void {
  const calculated = digestOf(bytes, digest)
  if (calculated === digest) return
  throw new CdiError('CDI_REGISTRY_DIGEST', `${what} has the digest ${calculated} instead of ${digest}`, {
    details: { expected: digest, calculated },
  })
}
