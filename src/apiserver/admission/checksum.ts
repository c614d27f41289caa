/** The syntax of checksums in specs: `algorithm:hex`, in any case (contract/platform.md §8.1). */

const hexDigits: Readonly<Record<string, number>> = { md5: 32, sha1: 40, sha256: 64, sha512: 128 }

/** What is wrong with a checksum, undefined when nothing is. */
export function checksumProblem(text: string): string | undefined {
  const [algorithm = '', hex, ...more] = text.trim().toLowerCase().split(':')
  if (hex === undefined || more.length > 0) return 'expected "algorithm:hash"'
  const digits = Object.hasOwn(hexDigits, algorithm) ? hexDigits[algorithm] : undefined
  if (digits === undefined) return `unsupported algorithm ${JSON.stringify(algorithm)}, use md5, sha1, sha256 or sha512`
  if (hex.length !== digits) return `${algorithm} has ${digits} hexadecimal digits, not ${hex.length}`
  return /^[0-9a-f]+$/.test(hex) ? undefined : 'the hash is not hexadecimal'
}
