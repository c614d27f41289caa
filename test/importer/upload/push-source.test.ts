import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { PushSource } from '../../../importer/upload/push-source.ts'

const never = new AbortController().signal
const chunk = (bytes: number): Buffer => Buffer.alloc(bytes, 7)
const settled = async (promise: void | Promise<void>): Promise<boolean> => {
  let isSettled = promise === undefined
  void Promise.resolve(promise).then(() => (isSettled = true))
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
  return isSettled
}

describe('source that is pushed', () => {
  it('holds back who pushes until the one who reads has taken it', async () => {
    const source = new PushSource({ name: 'the upload' })
    const first = source.push(chunk(10))
    assert.equal(await settled(first), false, 'nobody reads yet')
    const taken: number[] = []
    let gate = Promise.withResolvers<void>()
    const reading = source.stream((bytes) => {
      taken.push(bytes.length)
      return gate.promise
    }, never)
    assert.equal(await settled(first), false, 'the sink has it, and has not let it go')
    gate.resolve()
    assert.equal(await settled(first), true)
    gate = Promise.withResolvers()
    const second = source.push(chunk(20))
    assert.equal(await settled(second), false)
    gate.resolve()
    assert.equal(await settled(second), true)
    source.end()
    await reading
    assert.deepEqual(taken, [10, 20])
    assert.equal(source.pushedBytes, 30)
  })

  it('holds back behind the first bytes until somebody reads on', async () => {
    const source = new PushSource({ name: 'the upload' })
    const peeking = source.peek(never)
    let pushed = 0
    let last: void | Promise<void>
    do {
      last = source.push(chunk(65_536))
      pushed += 65_536
    } while (await settled(last))
    assert.equal(pushed, 192 * 1024)
    assert.equal((await peeking).length, pushed)
    let taken = 0
    const reading = source.stream((bytes) => void (taken += bytes.length), never)
    assert.equal(await settled(last), true)
    source.end()
    await reading
    assert.equal(taken, pushed)
  })

  it('gives the fault of the one who reads to itself, and lets go who pushes', async () => {
    const source = new PushSource({ name: 'the upload' })
    const fault = new Error('no room')
    const reading = source.stream(() => Promise.reject(fault), never)
    const caught = assert.rejects(reading, fault)
    await source.push(chunk(1))
    await caught
    assert.equal(source.isFailed, true)
    assert.equal(await settled(source.push(chunk(1))), true)
  })

  it('has as many bytes as it was told to have', async () => {
    const short = new PushSource({ name: 'the upload', sizeBytes: 10 })
    const reading = short.stream(() => {}, never)
    await short.push(chunk(9))
    short.end()
    await assert.rejects(reading, { code: 'CDI_SOURCE_TRUNCATED' })
    const long = new PushSource({ name: 'the upload', sizeBytes: 10 })
    const readingLong = long.stream(() => {}, never)
    const caught = assert.rejects(readingLong, { code: 'CDI_SOURCE_CHANGED' })
    await long.push(chunk(11))
    await caught
  })

  it('ends with the reason of the one who aborts', async () => {
    const source = new PushSource({ name: 'the upload' })
    const stop = new AbortController()
    const reason = new Error('stop')
    const reading = source.stream(() => {}, stop.signal)
    stop.abort(reason)
    await assert.rejects(reading, reason)
    assert.equal(await settled(source.push(chunk(1))), true)
    assert.equal(source.isFailed, true)
  })
})
