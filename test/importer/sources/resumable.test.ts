import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { defaultPatience, Pulse, resumable } from '../../../importer/sources/resumable.ts'
import type { OpenRange } from '../../../importer/sources/resumable.ts'
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'

/** A clock that only sleeping moves. */
class FakeClock {
  nowMs = 0
  readonly sleptMs: number[] = []
  now(): number {
    return this.nowMs
  }
  sleep(ms: number): Promise<void> {
    this.sleptMs.push(ms)
    this.nowMs += ms
    return Promise.resolve()
  }
}

function reader(open: OpenRange, { guarded = true, clock = new FakeClock() } = {}): OpenRange {
  const pulse = new Pulse(clock)
  return resumable({ open, guarded, clock, pulse, random: () => 0.5, limits: defaultPatience, log: silentLog() })
}

const content = Buffer.from(Array.from({ length: 1000 }, (_, index) => index % 251))
const never = new AbortController().signal

async function collect(read: OpenRange, range = { offset: 0, length: content.length }): Promise<Buffer> {
  const chunks: Buffer[] = []
  await read(range, (chunk) => void chunks.push(Buffer.from(chunk)), never)
  return Buffer.concat(chunks)
}

function fault(code: ErrorCode, details: Record<string, unknown> = {}): CdiError {
  return new CdiError(code, code, { details })
}

/** Fails always. */
function failing(code: ErrorCode, details?: Record<string, unknown>): OpenRange {
  return () => Promise.reject(fault(code, details))
}

describe('resuming', () => {
  it('hands out every byte once, wherever tries break or end early', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.record({ take: fc.nat(300), breaks: fc.boolean() }), { maxLength: 30 }),
        fc.nat(999),
        fc.nat(999),
        async (tries, one, other) => {
          const range = { offset: Math.min(one, other), length: Math.abs(one - other) }
          const script = [...tries]
          const read = reader(async ({ offset, length }, sink) => {
            const { take, breaks } = script.shift() ?? { take: 1000, breaks: false }
            await sink(content.subarray(offset, offset + Math.min(length, Math.max(take, breaks ? 0 : 1))))
            if (breaks) throw fault('CDI_SOURCE_INTERRUPTED')
          })
          assert.deepEqual(await collect(read, range), content.subarray(range.offset, range.offset + range.length))
        },
      ),
    )
  })

  it('does not give up as long as there is progress', async () => {
    let tries = 0
    const read = reader(async ({ offset }, sink) => {
      tries += 1
      await sink(content.subarray(offset, offset + 1))
      throw fault('CDI_SOURCE_INTERRUPTED')
    })
    assert.deepEqual(await collect(read), content)
    assert.equal(tries, content.length)
  })

  it('suffers broken links for ten minutes and refusals for two', async () => {
    for (const [code, seconds] of [
      ['CDI_SOURCE_INTERRUPTED', 600],
      ['CDI_SOURCE_UNREACHABLE', 600],
      ['CDI_SOURCE_STALLED', 600],
      ['CDI_SOURCE_STATUS', 120],
      ['CDI_SOURCE_TLS', 120],
    ] as const) {
      const clock = new FakeClock()
      await assert.rejects(collect(reader(failing(code), { clock })), { code })
      assert.ok(clock.nowMs >= seconds * 1000 && clock.nowMs <= seconds * 1000 + 15_000, `${code}: ${clock.nowMs}`)
    }
  })

  it('gives up at once on what does not heal', async () => {
    for (const code of ['CDI_SOURCE_CHANGED', 'CDI_SOURCE_REDIRECT', 'CDI_USAGE'] as const) {
      const clock = new FakeClock()
      await assert.rejects(collect(reader(failing(code), { clock })), { code })
      assert.deepEqual(clock.sleptMs, [])
    }
  })

  it('waits longer after each failure, with an upper limit', async () => {
    const clock = new FakeClock()
    await assert.rejects(collect(reader(failing('CDI_SOURCE_INTERRUPTED'), { clock })))
    assert.deepEqual(clock.sleptMs.slice(0, 4), [187.5, 375, 750, 1500])
    assert.equal(Math.max(...clock.sleptMs), 11_250)
  })

  it('waits as long as the server asks, beyond its own patience for refusals', async () => {
    const clock = new FakeClock()
    const answers = [
      fault('CDI_SOURCE_STATUS', { retryAfterMs: 100_000 }),
      fault('CDI_SOURCE_STATUS', { retryAfterMs: 100_000 }),
    ]
    const read = reader(
      async ({ offset, length }, sink) => {
        const answer = answers.shift()
        if (answer !== undefined) throw answer
        await sink(content.subarray(offset, offset + length))
      },
      { clock },
    )
    assert.deepEqual(await collect(read), content)
    assert.deepEqual(clock.sleptMs, [100_000, 100_000])
  })

  it('refuses to resume without a validator', async () => {
    let tries = 0
    const read = reader(
      async ({ offset }, sink) => {
        tries += 1
        await sink(content.subarray(offset, offset + 10))
        throw fault('CDI_SOURCE_INTERRUPTED')
      },
      { guarded: false },
    )
    await assert.rejects(collect(read), { code: 'CDI_SOURCE_INTERRUPTED', message: /at byte 10; not resumed/ })
    assert.equal(tries, 1)
  })

  it('takes a body that ends in good order at the same byte again and again for short', async () => {
    const read = reader(async ({ offset }, sink) => {
      if (offset === 0) await sink(content.subarray(0, 900))
      throw fault('CDI_SOURCE_INTERRUPTED', { endedWithin: true })
    })
    await assert.rejects(collect(read), { code: 'CDI_SOURCE_TRUNCATED' })
  })

  it('passes on what the sink throws, and does not try again', async () => {
    for (const sink of [() => Promise.reject(fault('CDI_SOURCE_INTERRUPTED')), () => assert.fail('sink')]) {
      let tries = 0
      const read = reader(async ({ offset, length }, to) => {
        tries += 1
        await to(content.subarray(offset, offset + length))
      })
      await assert.rejects(read({ offset: 0, length: 10 }, sink, never))
      assert.equal(tries, 1)
    }
  })

  it('does not take the time that the reader needed for silence of the source', async () => {
    const clock = new FakeClock()
    let tries = 0
    const read = reader(
      async ({ offset, length }, sink) => {
        tries += 1
        await sink(content.subarray(offset, offset + Math.min(length, 500)))
        if (tries === 1) throw fault('CDI_SOURCE_INTERRUPTED')
      },
      { clock },
    )
    let taken = 0
    const slowly = async (chunk: Buffer): Promise<void> => {
      taken += chunk.length
      await clock.sleep(3_600_000)
    }
    await read({ offset: 0, length: 1000 }, slowly, never)
    assert.equal(taken, 1000)
  })
})
