import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Collisions } from '../../../importer/target/collisions.ts'

const mebibyte = 1024 * 1024

/** Runs writes that end when they are told to; tells which have begun. */
function scene() {
  const collisions = new Collisions()
  const begun: string[] = []
  const start = (name: string, way: 'direct' | 'cached', offset: number, length = 4096) => {
    const end = Promise.withResolvers<void>()
    const running = collisions.avoid({ way, offset, length }, async () => {
      begun.push(name)
      await end.promise
    })
    return { end: end.resolve, fail: end.reject, running }
  }
  return { begun, start, settled: () => new Promise((resolve) => setImmediate(resolve)) }
}

describe('collisions of direct and cached writes', () => {
  it('are avoided by waiting, within the largest folio', async () => {
    const { begun, start, settled } = scene()
    const first = start('direct', 'direct', 0)
    const near = start('near', 'cached', 2 * mebibyte - 4096)
    const far = start('far', 'cached', 2 * mebibyte)
    await settled()
    assert.deepEqual(begun, ['direct', 'far'])
    first.end()
    await first.running
    await settled()
    assert.deepEqual(begun, ['direct', 'far', 'near'])
    near.end()
    far.end()
    await Promise.all([near.running, far.running])
  })

  it('do not hold up writes of the same way', async () => {
    const { begun, start, settled } = scene()
    const writes = ['direct', 'cached'].flatMap((way, index) =>
      [1, 2].map((number) => start(`${way} ${number}`, way as 'direct', index * 8 * mebibyte)),
    )
    await settled()
    assert.equal(begun.length, 4)
    for (const { end } of writes) end()
    await Promise.all(writes.map(({ running }) => running))
  })

  it('are over when a write fails', async () => {
    const { begun, start, settled } = scene()
    const first = start('direct', 'direct', 0)
    const next = start('cached', 'cached', 0)
    first.fail(new Error('no'))
    await assert.rejects(first.running, /no/)
    await settled()
    assert.deepEqual(begun, ['direct', 'cached'])
    next.end()
    await next.running
  })
})
