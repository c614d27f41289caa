import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { DirtyWindow } from '../../../importer/target/dirty-window.ts'

describe('dirty window', () => {
  it('lets no more than two windows be dirty while the storage does not answer', async () => {
    const stuck = Promise.withResolvers<void>()
    let flushes = 0
    const window = new DirtyWindow({
      limitBytes: 100,
      flush: () => {
        flushes += 1
        return stuck.promise
      },
    })
    let admitted = 0
    const writer = (async () => {
      for (let count = 0; count < 100; count += 1) {
        await window.admit(10)
        admitted += 10
      }
    })()
    for (let turn = 0; turn < 500; turn += 1) await setImmediate()
    assert.equal(admitted, 200)
    assert.equal(flushes, 1)
    stuck.resolve()
    await writer
    assert.equal(admitted, 1000)
  })

  it('reports a flush that failed to the next writer and to who finishes', async () => {
    const window = new DirtyWindow({ limitBytes: 10, flush: () => Promise.reject(new Error('EIO')) })
    await window.admit(10)
    await window.admit(10)
    await setImmediate()
    await assert.rejects(window.admit(1), /EIO/)
    await assert.rejects(window.settle(), /EIO/)
  })

  it('does not call durable what an earlier flush has lost, though the next one succeeds: it is reported once only', async () => {
    let flushes = 0
    const window = new DirtyWindow({
      limitBytes: 10,
      flush: () => (++flushes === 1 ? Promise.reject(new Error('EIO')) : Promise.resolve()),
    })
    await assert.rejects(window.flush(), /EIO/)
    await assert.rejects(window.flush(), /EIO/)
    await assert.rejects(window.admit(1), /EIO/)
  })

  it('learns of what a flush beside its own was told', async () => {
    const beside = Promise.withResolvers<void>()
    let flushes = 0
    const window = new DirtyWindow({
      limitBytes: 10,
      flush: () => (++flushes === 1 ? Promise.resolve() : beside.promise),
    })
    await window.admit(10)
    const asked = window.flush()
    await window.admit(10)
    setTimeout(() => beside.reject(new Error('EIO')), 20)
    await assert.rejects(asked, /EIO/)
  })
})
