import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { backoffMs } from '../../../src/kube/backoff.ts'
import { formatMicroTime, formatTime, systemClock, TestClock } from '../../../src/kube/clock.ts'

describe('test clock', () => {
  it('runs timers in the order in which they are due, those included that timers set', async () => {
    const clock = new TestClock()
    const ran: string[] = []
    clock.after(20, () => ran.push('b'))
    clock.after(10, () => {
      ran.push('a')
      clock.after(5, () => ran.push('a2'))
    })
    clock.after(30, () => ran.push('never'))()
    await clock.advance(100)
    assert.deepEqual(ran, ['a', 'a2', 'b'])
    assert.equal(clock.monotonicMs(), 100)
  })

  it('rejects a sleep with the reason of its signal', async () => {
    const clock = new TestClock()
    const stop = new AbortController()
    const reason = new Error('enough')
    const sleeping = clock.sleep(1_000, stop.signal)
    stop.abort(reason)
    await assert.rejects(sleeping, reason)
    await assert.rejects(clock.sleep(1, stop.signal), reason)
    assert.equal(clock.pending, 0)
  })
})

describe('system clock', () => {
  it('sleeps and wakes, or is interrupted', async () => {
    await systemClock.sleep(1)
    const stop = AbortSignal.abort(new Error('enough'))
    await assert.rejects(systemClock.sleep(1_000_000, stop), /enough/)
  })
})

describe('times', () => {
  it('are written as Kubernetes reads them', () => {
    const epochMs = Date.parse('2026-03-01T12:00:00.123Z')
    assert.equal(formatTime(epochMs), '2026-03-01T12:00:00Z')
    assert.equal(formatMicroTime(epochMs), '2026-03-01T12:00:00.123000Z')
  })
})

describe('back-off', () => {
  it('doubles up to its limit, and at least half of it is sure', () => {
    const at = (failures: number, random: number): number =>
      backoffMs(failures, { baseMs: 100, maxMs: 1_000, random: () => random })
    assert.deepEqual(
      [0, 1, 2, 3, 4, 1_000].map((failures) => at(failures, 0)),
      [50, 100, 200, 400, 500, 500],
    )
    assert.ok(at(1_000, 0.999) <= 1_000)
  })
})
