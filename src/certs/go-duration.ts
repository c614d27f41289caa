/** Durations as Go writes them (`48h0m0s`), in which Kubernetes has users and annotations write them. */

/** Milliseconds of a unit. */
const units = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
} as const

const whole = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/
const part = /(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g

/** Milliseconds of a text that Go's `time.ParseDuration` takes, rounded to whole ones; undefined for any other text. */
export function parseGoDuration(text: string): number | undefined {
  if (/^[+-]?0$/.test(text)) return 0
  const [, sign, parts] = whole.exec(text) ?? []
  if (parts === undefined) return undefined
  let sum = 0
  for (const [, amount, unit] of parts.matchAll(part)) sum += Number(amount) * units[unit as keyof typeof units]
  const milliseconds = Math.round(sum)
  if (!Number.isSafeInteger(milliseconds)) return undefined
  return sign === '-' && milliseconds !== 0 ? -milliseconds : milliseconds
}

/** The text that Go's `Duration.String` gives for whole milliseconds. */
export function formatGoDuration(durationMs: number): string {
  if (durationMs === 0) return '0s'
  const sign = durationMs < 0 ? '-' : ''
  const total = Math.abs(durationMs)
  if (total < 1000) return `${sign}${total}ms`
  const hours = Math.floor(total / units.h)
  const minutes = Math.floor((total % units.h) / units.m)
  const seconds = `${(total % units.m) / 1000}s`
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : `${sign}${seconds}`
}
