import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import { Patience } from '../../../importer/cloner/patience.ts'
import type { PatienceLimits } from '../../../importer/cloner/patience.ts'
import { Setback } from '../../../importer/cloner/target.ts'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'

const limits: PatienceLimits = { firstPauseMs: 100, longestPauseMs: 400, giveUpMs: 1500, mostDamages: 2 }
const log = silentLog()
const never = new AbortController().signal

function scene(): { patience: Patience; pauses: number[] } {
  const pauses: number[] = []
  let nowMs = 0
  const clock = {
    now: () => nowMs,
    sleep: (ms: number) => {
      pauses.push(ms)
      nowMs += ms
      return Promise.resolve()
    },
  }
  return { patience: new Patience({ log, clock, random: () => 0.5, limits }), pauses }
}

describe('patience of a cloner', () => {
  it('makes longer and longer pauses', async () => {
    const { patience, pauses } = scene()
    for (let count = 0; count < 4; count += 1) await patience.after(new Setback('broken'), never)
    assert.deepEqual(pauses, [100, 200, 400, 400])
  })

  it('ends when nothing got through for too long', async () => {
    const { patience } = scene()
    await assert.rejects(
      async () => {
        for (;;) await patience.after(new Setback('connection refused'), never)
      },
      (error) => error instanceof CdiError && error.code === 'CDI_CLONE_UNREACHABLE' && /2 s: conn/.test(error.message),
    )
  })

  it('begins anew with every progress', async () => {
    const { patience, pauses } = scene()
    for (let count = 0; count < 40; count += 1) {
      await patience.after(new Setback('broken'), never)
      patience.progressed()
    }
    assert.deepEqual(new Set(pauses), new Set([100]))
  })

  it('has none with what cannot heal', async () => {
    const { patience, pauses } = scene()
    const fault = new CdiError('CDI_CLONE_REFUSED', 'too small')
    await assert.rejects(patience.after(fault, never), fault)
    assert.deepEqual(pauses, [])
  })

  it('ends when sections arrive damaged again and again, in spite of progress', async () => {
    const { patience } = scene()
    const damage = new Setback('not as it was read', { isDamage: true })
    await patience.after(damage, never)
    patience.progressed()
    await patience.after(damage, never)
    patience.progressed()
    await assert.rejects(
      patience.after(damage, never),
      (error) => error instanceof CdiError && error.code === 'CDI_CHECKSUM_MISMATCH',
    )
  })

  it('ends when the program ends', async () => {
    const reason = new CdiError('CDI_ABORTED', 'stopped by SIGTERM')
    await assert.rejects(scene().patience.after(new Setback('broken'), AbortSignal.abort(reason)), reason)
  })
})
