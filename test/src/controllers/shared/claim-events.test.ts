import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Event } from '../../../../src/api/kinds.ts'
import { newestText } from '../../../../src/controllers/shared/claim-events.ts'
import { eventOf } from '../fixtures.ts'

const clock = (seconds: number): string => new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toISOString()

/** Said for the first and the last time at these seconds. */
function said(message: string, first: number, last = first): Event {
  return { ...eventOf({ message, at: clock(last) }), firstTimestamp: clock(first) }
}

describe('the newest text of a claim', () => {
  it('is what was said last, of two things of one second the longer one, and never nothing', () => {
    assert.equal(newestText([said('first', 0), said('second', 1), said('', 2)]), 'second')
    assert.equal(newestText([said('short', 1), said('longer', 1)]), 'longer')
    assert.equal(newestText([]), undefined)
  })

  it('does not go round with a provisioner that says everything again whenever the claim is written to', () => {
    const round = [said('waiting', 0, 2), said('assuming', 1, 3), said('provisioning', 1, 3)]
    assert.equal(newestText(round), 'provisioning')
    const next = [said('waiting', 0, 2), said('assuming', 1, 9), said('provisioning', 1, 5)]
    assert.equal(newestText(next), 'provisioning')
  })

  it('comes back to what is said again and again while nobody says anything else', () => {
    assert.equal(newestText([said('full', 0, 75), said('provisioning', 10)]), 'full')
    assert.equal(newestText([said('full', 0, 65), said('provisioning', 10)]), 'provisioning')
  })

  it('needs no first time of events that have one time only', () => {
    const { lastTimestamp: _, ...event } = { ...said('new kind', 0), eventTime: clock(5) }
    assert.equal(newestText([said('old', 4), event]), 'old')
    const { firstTimestamp: __, ...timed } = event
    assert.equal(newestText([said('old', 4), timed]), 'new kind')
  })
})
