/** How long certificates last and when they are renewed: `spec.certConfig` of CDI, each field on its own over the defaults. */
import type { CDI } from '../api/kinds.ts'
import { formatGoDuration, parseGoDuration } from './go-duration.ts'

type CertConfig = NonNullable<CDI['spec']['certConfig']>

export interface Lifetime {
  readonly lifetimeMs: number
  /** Age at which a certificate is renewed. */
  readonly refreshMs: number
}

export interface Lifetimes {
  readonly ca: Lifetime
  readonly server: Lifetime
  readonly client: Lifetime
}

const hourMs = 3_600_000
const defaults = {
  ca: { lifetimeMs: 48 * hourMs, renewBeforeMs: 24 * hourMs },
  server: { lifetimeMs: 24 * hourMs, renewBeforeMs: 12 * hourMs },
  client: { lifetimeMs: 24 * hourMs, renewBeforeMs: 12 * hourMs },
} as const

/** Less would be over before a new certificate has come to all who need it. */
export const shortestLifetimeMs = 60_000
/** A refresh before this age would come again before the renewal is over. */
export const shortestRefreshMs = 10_000
/** Dates of certificates end with the year 9999. */
const longestLifetimeMs = 100 * 365 * 24 * hourMs

/**
 * The lifetimes that are in force. What makes no sense is replaced and told in `faults`, in words for whoever wrote it: a
 * lifetime that cannot be read or is out of bounds by the default, a refresh outside of the lifetime by its half.
 */
export function lifetimesOf(certConfig: CertConfig | undefined): { lifetimes: Lifetimes; faults: readonly string[] } {
  const faults: string[] = []
  const lifetimeOf = (purpose: keyof Lifetimes): Lifetime => {
    const read = (field: 'duration' | 'renewBefore', otherwiseMs: number): number => {
      const text = certConfig?.[purpose]?.[field]
      if (text === undefined || text === null) return otherwiseMs
      const valueMs = parseGoDuration(text)
      if (valueMs !== undefined) return valueMs
      faults.push(`${purpose}.${field} ${text} is not a duration such as 24h or 1h30m`)
      return otherwiseMs
    }
    let lifetimeMs = read('duration', defaults[purpose].lifetimeMs)
    if (lifetimeMs < shortestLifetimeMs || lifetimeMs > longestLifetimeMs) {
      faults.push(`${purpose}.duration ${formatGoDuration(lifetimeMs)} is not between a minute and a hundred years`)
      lifetimeMs = defaults[purpose].lifetimeMs
    }
    const renewBeforeMs = read('renewBefore', defaults[purpose].renewBeforeMs)
    const refreshMs = lifetimeMs - renewBeforeMs
    if (refreshMs >= shortestRefreshMs && refreshMs < lifetimeMs) return { lifetimeMs, refreshMs }
    faults.push(
      `${purpose}.renewBefore ${formatGoDuration(renewBeforeMs)} does not lie within the duration ${formatGoDuration(lifetimeMs)}`,
    )
    return { lifetimeMs, refreshMs: Math.ceil(lifetimeMs / 2) }
  }
  return { lifetimes: { ca: lifetimeOf('ca'), server: lifetimeOf('server'), client: lifetimeOf('client') }, faults }
}

/** The value of the annotation `certConfig`: JSON, with the fields in this order. */
export function formatLifetime({ lifetimeMs, refreshMs }: Lifetime): string {
  return JSON.stringify({ lifetime: formatGoDuration(lifetimeMs), refresh: formatGoDuration(refreshMs) })
}
