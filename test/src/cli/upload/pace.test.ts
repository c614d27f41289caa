import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { Pace, paceLimits } from '../../../../src/cli/upload/pace.ts'
import { Patience } from '../../../../src/cli/upload/patience.ts'
import { RateMeter } from '../../../../src/cli/upload/rate.ts'
import { TestClock } from '../../../../src/kube/clock.ts'

const mebibyte = 1024 * 1024

describe('size of a request', () => {
  it('comes to about ten seconds of the line', () => {
    for (const mebibytesPerSecond of [0.5, 3, 40]) {
      const pace = new Pace()
      for (let requests = 0; requests < 20; requests += 1) {
        pace.succeeded(pace.bytes, (pace.bytes / (mebibytesPerSecond * mebibyte)) * 1000)
      }
      const wanted = Math.max(1, Math.floor(mebibytesPerSecond * 10)) * mebibyte
      assert.equal(pace.bytes, wanted, `${mebibytesPerSecond} MiB/s`)
    }
  })

  it('comes to less where requests are cut sooner', () => {
    const pace = new Pace()
    for (let requests = 0; requests < 20; requests += 1) {
      const tookMs = (pace.bytes / (8 * mebibyte)) * 1000
      // Something cuts after five seconds.
      if (tookMs > 5000) pace.wasCut(40 * mebibyte, 5000)
      else pace.succeeded(pace.bytes, tookMs)
    }
    assert.ok(pace.bytes <= 40 * mebibyte, String(pace.bytes))
    assert.ok(pace.bytes >= 20 * mebibyte, String(pace.bytes))
  })

  it('stays within its limits and in whole MiB whatever happens', () => {
    const step = fc.record({ cut: fc.boolean(), bytes: fc.nat(2 ** 32), ms: fc.nat(100_000) })
    fc.assert(
      fc.property(fc.array(step), (steps) => {
        const pace = new Pace()
        for (const { cut, bytes, ms } of steps) pace[cut ? 'wasCut' : 'succeeded'](bytes, ms)
        assert.ok(pace.bytes >= paceLimits.leastBytes && pace.bytes <= paceLimits.mostBytes)
        assert.equal(pace.bytes % mebibyte, 0)
      }),
    )
  })
})

describe('patience', () => {
  it('waits longer each time, ends after its budget, and begins anew with any progress', async () => {
    const clock = new TestClock()
    const patience = new Patience({ clock, random: () => 0.999, budgetMs: 60_000 })
    const waits: number[] = []
    for (let waitMs = patience.failed(); waitMs !== undefined; waitMs = patience.failed()) {
      waits.push(Math.round(waitMs))
      await clock.advance(waitMs)
    }
    assert.deepEqual(waits.slice(0, 4), [200, 400, 800, 1599])
    assert.ok(waits.at(-1) === 9995 && patience.troubledMs >= 60_000)
    patience.progressed()
    assert.equal(patience.troubledMs, 0)
    assert.ok((patience.failed() ?? 0) <= 200)
  })

  it('waits as long as the server wants, within reason', () => {
    const patience = new Patience({ clock: new TestClock() })
    assert.equal(patience.failed(5_000), 5_000)
    assert.equal(patience.failed(3_600_000), 60_000)
  })
})

describe('rate', () => {
  it('is that of the last seconds', async () => {
    const clock = new TestClock()
    const meter = new RateMeter(clock)
    assert.equal(meter.bytesPerSecond, undefined)
    let done = 0
    const run = async (seconds: number, rate: number): Promise<void> => {
      for (let at = 0; at < seconds * 2; at += 1) {
        await clock.advance(500)
        done += rate / 2
        meter.add(done)
      }
    }
    await run(60, 100)
    assert.equal(meter.bytesPerSecond, 100)
    await run(30, 1000)
    assert.equal(meter.bytesPerSecond, 1000)
    meter.add(0)
    assert.equal(meter.bytesPerSecond, undefined)
  })
})
