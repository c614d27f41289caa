import assert from 'node:assert/strict'
import { setTimeout as delay } from 'node:timers/promises'
import { describe, it } from 'node:test'
import { CdiError } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { Slot, SlotRefusal } from '../../../importer/upload/slot.ts'
import type { SlotOptions } from '../../../importer/upload/slot.ts'
import type { Transfer, UploadResult } from '../../../importer/upload/transfer.ts'

const reason = new CdiError('CDI_ABORTED', 'enough')

/** A transfer in the hands of a test: it finishes, fails and is dropped when it is told to. */
class HandTransfer implements Transfer {
  readonly finishing = Promise.withResolvers<UploadResult>()
  readonly dropping = Promise.withResolvers<void>()
  droppedFor: CdiError | undefined
  offset = 0

  async append(body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void> {
    for await (const chunk of body) {
      signal.throwIfAborted()
      this.offset += chunk.length
    }
  }

  finish(): Promise<UploadResult> {
    return this.finishing.promise
  }

  drop(why: CdiError): Promise<void> {
    this.droppedFor = why
    this.finishing.reject(why)
    this.finishing.promise.catch(() => {})
    return this.dropping.promise
  }
}

function newSlot(options: Omit<SlotOptions, 'log'> = {}): Slot {
  return new Slot({ log: silentLog(), ...options })
}

const refused = (why: string) => (error: unknown) => error instanceof SlotRefusal && error.reason === why

describe('slot', () => {
  it('is idle, held, processing and done, in that order', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    assert.equal(slot.state, 'idle')
    const hold = await slot.claim(() => transfer)
    assert.deepEqual([slot.state, hold.state], ['held', 'open'])
    const finishing = hold.finish()
    assert.deepEqual([slot.state, hold.state], ['processing', 'processing'])
    transfer.finishing.resolve({ preallocationApplied: false })
    assert.deepEqual(await finishing, { preallocationApplied: false })
    assert.deepEqual([slot.state, hold.state], ['done', 'done'])
    assert.deepEqual(await slot.done, { preallocationApplied: false })
    await assert.rejects(
      slot.claim(() => new HandTransfer()),
      refused('done'),
    )
    await assert.rejects(
      hold.read(() => Promise.resolve()),
      refused('done'),
    )
  })

  it('is refused to others while a request is read, and while it is processed', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    const hold = await slot.claim(() => transfer)
    const reading = Promise.withResolvers<void>()
    const read = hold.read(() => reading.promise)
    assert.throws(() => slot.assertFree(), refused('busy'))
    await assert.rejects(
      slot.claim(() => new HandTransfer()),
      refused('busy'),
    )
    reading.resolve()
    await read
    slot.assertFree()
    hold.finish().catch(() => {})
    await assert.rejects(
      slot.claim(() => new HandTransfer()),
      refused('busy'),
    )
    await assert.rejects(
      hold.read(() => Promise.resolve()),
      refused('busy'),
    )
    assert.equal(transfer.droppedFor, undefined)
  })

  it('goes to whoever begins anew between requests, when the last bytes are dropped', async () => {
    const slot = newSlot()
    const first = new HandTransfer()
    const hold = await slot.claim(() => first)
    await hold.read(() => Promise.resolve())
    let isOpen = false
    const claiming = slot.claim(() => {
      isOpen = true
      return new HandTransfer()
    })
    await delay(5)
    assert.equal(isOpen, false, 'opened while the last one may still write')
    await assert.rejects(
      slot.claim(() => new HandTransfer()),
      refused('busy'),
    )
    first.dropping.resolve()
    assert.equal((await claiming).state, 'open')
    assert.equal(hold.state, 'over')
    assert.equal(hold.fault, first.droppedFor)
    await assert.rejects(
      hold.read(() => Promise.resolve()),
      refused('gone'),
    )
  })

  it('waits for what is just being dropped instead of refusing', async () => {
    const slot = newSlot()
    const first = new HandTransfer()
    const hold = await slot.claim(() => first)
    const dropping = hold.drop(reason)
    const claiming = slot.claim(() => new HandTransfer())
    first.dropping.resolve()
    await dropping
    assert.equal((await claiming).state, 'open')
  })

  it('is idle again when finishing fails, and tells why', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    transfer.dropping.resolve()
    const hold = await slot.claim(() => transfer)
    const finishing = hold.finish()
    const fault = new CdiError('CDI_FORMAT_INVALID', 'no image')
    transfer.finishing.reject(fault)
    await assert.rejects(finishing, fault)
    await assert.rejects(hold.finish(), fault)
    assert.deepEqual([slot.state, hold.state, hold.fault], ['idle', 'over', fault])
  })

  it('is idle again when the transfer cannot be opened', async () => {
    const slot = newSlot()
    await assert.rejects(
      slot.claim(() => Promise.reject(new Error('no room'))),
      /no room/,
    )
    assert.equal(slot.state, 'idle')
  })

  it('drops once, and never what is done', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    const hold = await slot.claim(() => transfer)
    const finishing = hold.finish()
    transfer.finishing.resolve({ preallocationApplied: true })
    await finishing
    await hold.drop(reason)
    assert.equal(hold.state, 'done')
    assert.equal(transfer.droppedFor, undefined)
  })

  it('aborts the requests of what is dropped', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    transfer.dropping.resolve()
    const hold = await slot.claim(() => transfer)
    const read = hold.read((reading) => transfer.append(reading.body(silence()), reading.signal))
    await hold.drop(reason)
    await assert.rejects(read, reason)
  })

  it('is taken from a client that has been silent, not from one that we hold back', async () => {
    const slot = newSlot({ yieldMs: 500 })
    const transfer = new HandTransfer()
    transfer.dropping.resolve()
    const hold = await slot.claim(() => transfer)
    const slow = hold.read(async (reading) => {
      for await (const _ of reading.body(twice())) await delay(1200)
    })
    await delay(1000)
    assert.throws(() => slot.assertFree(), refused('busy'))
    await slow
    const silent = hold.read((reading) => transfer.append(reading.body(silence()), reading.signal))
    silent.catch(() => {})
    assert.throws(() => slot.assertFree(), refused('busy'))
    await delay(800)
    await slot.claim(() => new HandTransfer())
    await assert.rejects(silent, { code: 'CDI_ABORTED' })
  })

  it('ends a client that is silent for too long, whether anybody waits or not', async () => {
    const slot = newSlot({ idleMs: 50 })
    const transfer = new HandTransfer()
    const hold = await slot.claim(() => transfer)
    await assert.rejects(
      hold.read((reading) => transfer.append(reading.body(silence()), reading.signal)),
      { code: 'CDI_SOURCE_STALLED' },
    )
  })

  it('tells when a client knows that it is done, and not before', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    const hold = await slot.claim(() => transfer)
    let isDelivered = false
    void slot.delivered.then(() => (isDelivered = true))
    hold.delivered()
    await delay(1)
    assert.equal(isDelivered, false)
    transfer.finishing.resolve({ preallocationApplied: false })
    await hold.finish()
    hold.delivered()
    await delay(1)
    assert.equal(isDelivered, true)
  })

  it('tells that an upload needs scratch space', async () => {
    const slot = newSlot()
    const transfer = new HandTransfer()
    transfer.dropping.resolve()
    const hold = await slot.claim(() => transfer)
    const fault = new CdiError('CDI_SCRATCH_REQUIRED', 'none found')
    await hold.drop(fault)
    assert.equal(await slot.scratchRequired, fault)
  })

  it('suspends what can be gone on with when the program ends, drops the rest, and takes nothing new', async () => {
    for (const canGoOn of [true, false]) {
      const slot = newSlot()
      const transfer = new HandTransfer()
      transfer.dropping.resolve()
      let suspended = false
      if (canGoOn) {
        Object.assign(transfer, {
          suspend: () => {
            suspended = true
            return Promise.resolve()
          },
        })
      }
      const hold = await slot.claim(() => transfer)
      await slot.end(reason)
      assert.ok(hold.isSuspended)
      // Whoever comes now is asked to come again, not told that its upload is over.
      await assert.rejects(
        hold.read(async () => {}),
        refused('busy'),
      )
      assert.equal(suspended, canGoOn)
      assert.equal(transfer.droppedFor, canGoOn ? undefined : reason)
      assert.throws(() => slot.assertFree(), refused('busy'))
    }
  })

  it('is quiet since the last request was read', async () => {
    const slot = newSlot()
    assert.equal(slot.quietMs, Number.POSITIVE_INFINITY)
    const hold = await slot.claim(() => new HandTransfer())
    await hold.read(async () => {
      await delay(20)
      assert.equal(slot.quietMs, 0)
    })
    await delay(20)
    assert.ok(slot.quietMs >= 15 && slot.quietMs < 10_000)
    hold.finish().catch(() => {})
    assert.equal(slot.quietMs, 0)
  })
})

/** A body that never brings anything. */
async function* silence(): AsyncGenerator<Buffer> {
  await new Promise<void>(() => {})
  yield Buffer.alloc(0)
}

async function* twice(): AsyncGenerator<Buffer> {
  yield Buffer.from('a')
  yield Buffer.from('b')
}
