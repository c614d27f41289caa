/**
 * Structured logging for every program: constant messages, facts as fields. Credentials never reach a log: the fields
 * below are redacted wherever they stand, and URLs are logged through {@link safeUrl}.
 */
import { pino } from 'pino'
import type { Logger } from 'pino'

export type Log = Logger

const secretFields = [
  'password',
  'secretKey',
  'accessKeyId',
  'authorization',
  'proxyAuthorization',
  'token',
  'headers.authorization',
]

export interface LogOptions {
  readonly name: string
  /** klog-like verbosity: 0–1 info, 2–3 debug, above trace. */
  readonly verbosity?: number
  /** Where to write; standard output unless told. Always synchronous, so that nothing is lost on exit. */
  readonly fd?: number
}

/** A logger that writes one JSON object a line, synchronously. */
export function createLog({ name, verbosity = 1, fd = 1 }: LogOptions): Log {
  return pino(
    {
      name,
      level: verbosity <= 1 ? 'info' : verbosity <= 3 ? 'debug' : 'trace',
      redact: { paths: secretFields.flatMap((field) => [field, `*.${field}`]), censor: '[redacted]' },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    pino.destination({ fd, sync: true }),
  )
}

/** A logger that says nothing, for tests and for the quiet command line. */
export function silentLog(): Log {
  return pino({ level: 'silent' })
}

/** The URL as it may be shown: user information and query values (signed URLs) are blanked. */
export function safeUrl(url: string | URL): string {
  const shown = new URL(url)
  if (shown.username || shown.password) {
    shown.username = 'redacted'
    shown.password = ''
  }
  for (const key of new Set(shown.searchParams.keys())) shown.searchParams.set(key, 'redacted')
  return shown.href
}
