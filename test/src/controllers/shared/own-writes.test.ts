import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { OwnWrites } from '../../../../src/controllers/shared/own-writes.ts'
import { claim } from '../fixtures.ts'

function at(resourceVersion: string): ReturnType<typeof claim> {
  const made = claim()
  return { ...made, metadata: { ...made.metadata, resourceVersion } }
}

describe('what a process wrote itself', () => {
  it('makes older states of the object from a cache unfit to act upon', () => {
    const writes = new OwnWrites()
    assert.equal(writes.isBehind(at('99')), false, 'nothing was written yet')
    writes.wrote(at('100'))
    assert.equal(writes.isBehind(at('99')), true)
    assert.equal(writes.isBehind(at('100')), false)
  })

  it('is forgotten once the cache shows it or something newer', () => {
    const writes = new OwnWrites()
    writes.wrote(at('9'))
    assert.equal(writes.isBehind(at('10')), false)
    assert.equal(writes.isBehind(at('8')), false, 'a relist may go back; that is nothing that we wrote')
  })

  it('tells objects of the same name apart', () => {
    const writes = new OwnWrites()
    writes.wrote(at('100'))
    assert.equal(writes.isBehind(claim({ uid: 'another' })), false)
  })
})
