/**
 * Kubernetes quantities (`1.5Gi`, `500M`, `100m`, `12e6`) and the arithmetic of volume sizes. Inside everything is an
 * exact fraction of bigints: 64Mi at an overhead of 0.06 is 71135396 bytes on every machine.
 */

/** An exact number: numerator / 10^scale. */
interface Decimal {
  readonly numerator: bigint
  readonly scale: number
}

const binaryExponents = { Ki: 10n, Mi: 20n, Gi: 30n, Ti: 40n, Pi: 50n, Ei: 60n } as const
const decimalExponents = { n: -9, u: -6, m: -3, '': 0, k: 3, M: 6, G: 9, T: 12, P: 15, E: 18 } as const

const quantityPattern =
  /^([+-]?)(?:([0-9]+)(?:\.([0-9]*))?|\.([0-9]+))(?:(Ki|Mi|Gi|Ti|Pi|Ei)|[eE]([+-]?[0-9]{1,3})|([numkMGTPE]?))$/

export const mebibyte = 1024 * 1024

/** Thrown for text that is not a quantity. */
export class QuantityError extends Error {
  constructor(text: string) {
    super(`quantities must match '<number><suffix>', got ${JSON.stringify(text)}`)
    this.name = 'QuantityError'
  }
}

/** Reads a quantity exactly; throws a {@link QuantityError}. */
function parseDecimal(text: string): Decimal {
  const match = quantityPattern.exec(text)
  if (!match) throw new QuantityError(text)
  const [, sign, whole, fraction = '', leadingDot, binary, exponent, decimal] = match
  const digits = leadingDot ?? fraction
  const unsigned = BigInt(`${whole ?? '0'}${digits}`)
  const magnitude = sign === '-' ? -unsigned : unsigned
  if (binary) {
    return { numerator: magnitude << binaryExponents[binary as keyof typeof binaryExponents], scale: digits.length }
  }
  const power = exponent ? Number(exponent) : decimalExponents[(decimal ?? '') as keyof typeof decimalExponents]
  return shift({ numerator: magnitude, scale: digits.length }, power)
}

/** value × 10^power with a scale that is never negative. */
function shift({ numerator, scale }: Decimal, power: number): Decimal {
  const left = scale - power
  return left >= 0 ? { numerator, scale: left } : { numerator: numerator * 10n ** BigInt(-left), scale: 0 }
}

/** The numerator of a value at a scale that is not smaller than its own. */
function rescale(value: Decimal, scale: number): bigint {
  return value.numerator * 10n ** BigInt(scale - value.scale)
}

function ceilDivide(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator
  return numerator % denominator > 0n ? quotient + 1n : quotient
}

/**
 * A quantity in whole units (bytes for sizes), rounded up as Kubernetes does. Throws a {@link QuantityError} for text
 * that is no quantity and a RangeError beyond 2^53 − 1 (8 PiB).
 */
export function parseQuantity(text: string | number): number {
  const { numerator, scale } = parseDecimal(String(text))
  return toSafeNumber(ceilDivide(numerator, 10n ** BigInt(scale)))
}

/** Like {@link parseQuantity}, but undefined for anything that is not a quantity or out of range. */
export function tryParseQuantity(text: string | number | undefined): number | undefined {
  if (text === undefined) return undefined
  try {
    return parseQuantity(text)
  } catch {
    return undefined
  }
}

/** Below zero if a < b, 0 if both name the same amount (`1Gi`, `1024Mi`), above zero if a > b. Exact. */
export function compareQuantities(a: string | number, b: string | number): number {
  const left = parseDecimal(String(a))
  const right = parseDecimal(String(b))
  const scale = Math.max(left.scale, right.scale)
  const difference = rescale(left, scale) - rescale(right, scale)
  return difference < 0n ? -1 : difference > 0n ? 1 : 0
}

/** The shortest exact text with a binary suffix: 67108864 → `64Mi`, 71135396 → `71135396`. */
export function formatBytes(bytes: number): string {
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`not a whole number of bytes: ${bytes}`)
  if (bytes === 0) return '0'
  const suffixes = Object.entries(binaryExponents).toReversed()
  for (const [suffix, exponent] of suffixes) {
    const unit = 2 ** Number(exponent)
    if (bytes % unit === 0) return `${bytes / unit}${suffix}`
  }
  return String(bytes)
}

/**
 * What of `bytes` is left for a disk when the file system takes its share: floor to MiB of ceil(bytes / (1 + overhead)).
 * `overhead` is a decimal text such as `0.06` (contract/import.md §4); throws a {@link QuantityError} for other text.
 */
export function usableBytes(overhead: string, bytes: number): number {
  const { numerator, denominator } = onePlus(overhead)
  const usable = ceilDivide(BigInt(bytes) * denominator, numerator)
  return toSafeNumber((usable / BigInt(mebibyte)) * BigInt(mebibyte))
}

/**
 * The size of a volume whose file system leaves room for a disk of `bytes`: ceil(ceil to MiB of bytes × (1 + overhead)).
 * `overhead` as in {@link usableBytes}.
 */
export function requiredBytes(overhead: string, bytes: number): number {
  const { numerator, denominator } = onePlus(overhead)
  return toSafeNumber(ceilDivide(BigInt(roundUpToMebibyte(bytes)) * numerator, denominator))
}

/** The next multiple of 1 MiB. */
export function roundUpToMebibyte(bytes: number): number {
  return Math.ceil(bytes / mebibyte) * mebibyte
}

/** 1 + overhead as a fraction. */
function onePlus(overhead: string): { numerator: bigint; denominator: bigint } {
  const { numerator, scale } = parseDecimal(overhead)
  if (numerator < 0n) throw new QuantityError(overhead)
  const denominator = 10n ** BigInt(scale)
  return { numerator: denominator + numerator, denominator }
}

function toSafeNumber(value: bigint): number {
  const number = Number(value)
  if (!Number.isSafeInteger(number)) throw new RangeError(`quantity out of range: ${value}`)
  return number
}
