/** What the events of a claim say, for conditions and for telling them on another claim. */
import { primeEventPrefix, reasons } from '../../api/names.ts'
import type { Event } from '../../api/kinds.ts'
import type { Told } from './told.ts'

/** What is repeated counts as new so long after it was. */
const repeatedMs = 60_000

/**
 * The text of the newest event, of equally new ones the longest; events without text do not count. A provisioner looks at a
 * claim, and says again what it does, whenever somebody writes what was said last on that claim: so what is only repeated is
 * not news at once, or the two would drive each other round until neither may tell anything any more.
 */
export function newestText(events: readonly Event[]): string | undefined {
  let best: { time: number; text: string } | undefined
  for (const event of events) {
    const text = event.message ?? ''
    if (!text) continue
    const time = Math.max(beginOf(event), timeOf(event) - repeatedMs)
    if (!best || time > best.time || (time === best.time && text.length > best.text.length)) best = { time, text }
  }
  return best?.text
}

/** Those of P's events that concern T: a P that lost its volume to T is bound "incorrectly" on purpose. */
export function eventsForTarget(primeEvents: readonly Event[]): Event[] {
  return primeEvents.filter((event) => event.reason !== reasons.claimMisbound)
}

/**
 * P's events as they are to be told on T, `[<P>] : <message>`, oldest first; those that T's events or `alreadyTold`
 * contain are left out, so that each is told once.
 */
export function retold({
  primeName,
  primeEvents,
  targetEvents,
  alreadyTold,
}: {
  primeName: string
  primeEvents: readonly Event[]
  targetEvents: readonly Event[]
  alreadyTold: ReadonlySet<string>
}): Told[] {
  const known = new Set([
    ...targetEvents.map((event) => toldKey({ reason: event.reason, message: event.message })),
    ...alreadyTold,
  ])
  const result: Told[] = []
  for (const event of eventsForTarget(primeEvents).toSorted((a, b) => timeOf(a) - timeOf(b))) {
    const told: Told = {
      type: event.type === 'Warning' ? 'Warning' : 'Normal',
      reason: event.reason ?? '',
      message: `${primeEventPrefix(primeName)}${event.message ?? ''}`,
    }
    const key = toldKey(told)
    if (known.has(key)) continue
    known.add(key)
    result.push(told)
  }
  return result
}

/** The event in a list of its own, unless it has been told. */
export function untold(
  event: Told,
  { targetEvents, alreadyTold }: { targetEvents: readonly Event[]; alreadyTold: ReadonlySet<string> },
): Told[] {
  const key = toldKey(event)
  const isTold = alreadyTold.has(key) || targetEvents.some((told) => toldKey(told) === key)
  return isTold ? [] : [event]
}

/** What makes two events the same for a reader. */
export function toldKey({ reason, message }: { reason?: string | undefined; message?: string | undefined }): string {
  return `${reason ?? ''}\n${message ?? ''}`
}

/** Milliseconds since the epoch of the last time that an event happened. */
function timeOf({ series, lastTimestamp, eventTime, metadata }: Event): number {
  return parsed(series?.lastObservedTime ?? lastTimestamp ?? eventTime ?? metadata.creationTimestamp)
}

/** The same of the first time. */
function beginOf(event: Event): number {
  const { firstTimestamp, eventTime, metadata } = event
  const first = firstTimestamp ?? eventTime ?? metadata.creationTimestamp
  return first === undefined ? timeOf(event) : parsed(first)
}

function parsed(text: string | undefined): number {
  const time = text ? Date.parse(text) : Number.NaN
  return Number.isFinite(time) ? time : 0
}
