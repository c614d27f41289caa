/**
 * Log lines that tools outside match byte by byte (contract/import.md §16): console lines with tabs, JSON fields last. All
 * other logging is pino's.
 */
import { writeSync } from 'node:fs'

/** Fields in the order in which they are to stand. */
export type ContractLog = (message: string, fields: readonly (readonly [string, unknown])[]) => void

/** Writes to a file descriptor at a verbosity above 1, else nothing. */
export function contractLog({
  verbosity,
  now,
  write = (line) => void writeSync(1, line),
}: {
  verbosity: number
  now: () => number
  write?: (line: string) => void
}): ContractLog {
  if (verbosity < 2) return () => undefined
  return (message, fields) => write(`${contractLine({ at: now(), message, fields })}\n`)
}

/** The outer object has a blank after colons and commas, the inner ones have none. */
export function contractLine({
  at,
  message,
  fields,
}: {
  at: number
  message: string
  fields: readonly (readonly [string, unknown])[]
}): string {
  const body = fields.map(([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`).join(', ')
  return `${new Date(at).toISOString()}\tDEBUG\tcontroller\t${message}\t{${body}}`
}

/** Of how many objects it is remembered what was said last. */
const mostRemembered = 10_000

/** Says of an object, by its UID, what it says once in each of its states; nothing is said again while nothing changed. */
export function oncePerState(log: ContractLog): (uid: string, ...line: Parameters<ContractLog>) => void {
  const saidOf = new Map<string, string>()
  return (uid, message, fields) => {
    const state = JSON.stringify([message, fields])
    if (saidOf.get(uid) === state) return
    if (saidOf.size > mostRemembered) saidOf.clear()
    saidOf.set(uid, state)
    log(message, fields)
  }
}
