import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Permits } from '../../../importer/upload/permits.ts'

const { signal } = new AbortController()
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('permits', () => {
  it('let so many at once, and the others in order', async () => {
    const permits = new Permits(2)
    const had: number[] = []
    const take = async (number: number): Promise<Disposable> => {
      const permit = await permits.take(signal)
      had.push(number)
      return permit
    }
    const [first, , third] = [take(1), take(2), take(3), take(4)]
    await settled()
    assert.deepEqual(had, [1, 2])
    ;(await first)?.[Symbol.dispose]()
    await settled()
    assert.deepEqual(had, [1, 2, 3])
    ;(await third)?.[Symbol.dispose]()
    await settled()
    assert.deepEqual(had, [1, 2, 3, 4])
  })

  it('are not lost with those who do not wait any longer', async () => {
    const permits = new Permits(1)
    const first = await permits.take(signal)
    const impatient = new AbortController()
    const second = permits.take(impatient.signal)
    const third = permits.take(signal)
    impatient.abort(new Error('no more'))
    await assert.rejects(second, /no more/)
    first[Symbol.dispose]()
    assert.ok(await third)
  })

  it('are not lost with one who gave up in the moment of being served', async () => {
    const permits = new Permits(1)
    const first = await permits.take(signal)
    const impatient = new AbortController()
    const second = permits.take(impatient.signal)
    first[Symbol.dispose]()
    impatient.abort(new Error('no more'))
    const outcome = await second.then(
      (permit) => permit,
      () => undefined,
    )
    outcome?.[Symbol.dispose]()
    assert.ok(await permits.take(signal))
  })
})
