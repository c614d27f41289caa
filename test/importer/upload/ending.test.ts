import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CdiError } from '../../../src/errors.ts'
import { terminationOf, untilEnd } from '../../../importer/upload/ending.ts'
import type { End, UntilEnd } from '../../../importer/upload/ending.ts'
import type { UploadResult } from '../../../importer/upload/transfer.ts'

const result: UploadResult = { preallocationApplied: true }
const fault = new CdiError('CDI_CONVERT_FAILED', 'disk is gone')

/** An upload server whose time passes when it waits. */
function scene(options: { deadlineMs?: number } = {}) {
  let nowMs = 0
  const done = Promise.withResolvers<UploadResult>()
  const delivered = Promise.withResolvers<void>()
  const scratch = Promise.withResolvers<CdiError>()
  const unseen = Promise.withResolvers<CdiError>()
  const stop = new AbortController()
  const slot = {
    done: done.promise,
    delivered: delivered.promise,
    scratchRequired: scratch.promise,
    quietMs: Number.POSITIVE_INFINITY,
    state: 'idle' as UntilEnd['slot']['state'],
  }
  /** What happens at which moment. */
  const script: { atMs: number; run: () => void }[] = []
  const end = (): Promise<End> =>
    untilEnd({
      slot,
      unseenFault: unseen.promise,
      now: () => nowMs,
      clock: {
        now: () => nowMs,
        async sleep(ms, signal) {
          const untilMs = nowMs + ms
          await new Promise((resolve) => setImmediate(resolve))
          signal.throwIfAborted()
          nowMs = Math.max(nowMs, untilMs)
          for (const { atMs, run } of script.splice(0)) {
            if (atMs <= nowMs) run()
            else script.push({ atMs, run })
          }
          await new Promise((resolve) => setImmediate(resolve))
          signal.throwIfAborted()
        },
      },
      signal: stop.signal,
      ...options,
    })
  return { slot, done, delivered, scratch, unseen, stop, script, end, now: () => nowMs }
}

describe('end of the upload server', () => {
  it('comes when the volume is finished and the client knows it', async () => {
    const { done, delivered, end, now } = scene()
    done.resolve(result)
    delivered.resolve()
    assert.deepEqual(await end(), { kind: 'uploaded', result })
    assert.equal(now(), 0)
  })

  it('waits half a minute for a client that does not know it', async () => {
    const { done, end, now } = scene()
    done.resolve(result)
    assert.deepEqual(await end(), { kind: 'uploaded', result })
    assert.equal(now(), 30_000)
  })

  it('is a finished upload even if somebody stops it while the client is being told', async () => {
    const { done, stop, end } = scene()
    const ending = end()
    done.resolve(result)
    await new Promise((resolve) => setImmediate(resolve))
    stop.abort(new CdiError('CDI_ABORTED', 'stopped by SIGTERM'))
    assert.deepEqual(await ending, { kind: 'uploaded', result })
  })

  it('comes at the deadline if nobody uploads, within two seconds', async () => {
    const { end, now } = scene({ deadlineMs: 60_001 })
    assert.deepEqual(await end(), { kind: 'deadlinePassed' })
    assert.ok(now() >= 60_001 && now() <= 62_001, String(now()))
  })

  it('waits at the deadline for who uploads, and for who only pauses', async () => {
    const { slot, script, end, now } = scene({ deadlineMs: 1000 })
    slot.quietMs = 0
    script.push({ atMs: 100_000, run: () => (slot.quietMs = 59_000) })
    script.push({ atMs: 200_000, run: () => (slot.quietMs = 60_000) })
    assert.deepEqual(await end(), { kind: 'deadlinePassed' })
    assert.equal(now(), 200_000)
  })

  it('comes at the deadline at once if that has passed already', async () => {
    const { end, now } = scene({ deadlineMs: -1 })
    assert.deepEqual(await end(), { kind: 'deadlinePassed' })
    assert.equal(now(), 0)
  })

  it('comes when an upload needs scratch space, fails behind its answer, or somebody stops it', async () => {
    const one = scene()
    one.scratch.resolve(fault)
    assert.deepEqual(await one.end(), { kind: 'failed', fault })
    const two = scene()
    two.unseen.resolve(fault)
    assert.deepEqual(await two.end(), { kind: 'failed', fault })
    const three = scene()
    three.stop.abort(fault)
    assert.deepEqual(await three.end(), { kind: 'failed', fault })
    const four = scene({ deadlineMs: 10_000 })
    four.script.push({ atMs: 4000, run: () => four.stop.abort(fault) })
    assert.deepEqual(await four.end(), { kind: 'failed', fault })
  })
})

describe('last words of the upload server', () => {
  const rows: readonly (readonly [string, End, number, string])[] = [
    ['a finished upload', { kind: 'uploaded', result }, 0, '{"preallocationApplied":true,"message":"Upload Complete"}'],
    ['a passed deadline', { kind: 'deadlinePassed' }, 0, '{"deadlinePassed":true,"message":"Deadline Passed"}'],
    ['a checksum that was wrong', { kind: 'failed', fault: new CdiError('CDI_CHECKSUM_MISMATCH', 'x') }, 1, 'x'],
    ['a fault', { kind: 'failed', fault }, 1, 'disk is gone'],
    [
      'an image that needs scratch space',
      { kind: 'failed', fault: new CdiError('CDI_SCRATCH_REQUIRED', 'x') },
      0,
      '{"scratchSpaceRequired":true,"preallocationApplied":false,"message":"scratch space required and none found"}',
    ],
  ]
  for (const [what, end, exitCode, text] of rows) {
    it(`tell ${what}`, () => assert.deepEqual(terminationOf(end), { exitCode, text }))
  }
})
