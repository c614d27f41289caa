import { strict as assert } from 'node:assert'
import { describe, it } from 'node:test'
import { extentsOf } from '../../../importer/cloner/extents.ts'

const entry = (start: number, length: number, data: boolean, zero = !data): object => ({ start, length, data, zero })

describe('extents of a file', () => {
  it('are what qemu-img calls data, joined', () => {
    const json = JSON.stringify([
      entry(0, 10, true),
      entry(10, 5, true),
      entry(15, 20, false),
      entry(35, 5, true, true),
      entry(40, 10, true),
    ])
    assert.deepEqual(extentsOf(json, 50), [
      { start: 0, end: 15 },
      { start: 40, end: 50 },
    ])
  })

  it('end with the file, though qemu-img speaks of whole sectors', () => {
    assert.deepEqual(extentsOf(JSON.stringify([entry(0, 512, true)]), 500), [{ start: 0, end: 500 }])
  })

  const unknown: [why: string, json: string][] = [
    ['it is no JSON', '[{'],
    ['there is a gap', JSON.stringify([entry(0, 10, true), entry(20, 30, true)])],
    ['the end is missing', JSON.stringify([entry(0, 40, true)])],
    ['a length makes no sense', JSON.stringify([entry(0, -50, true)])],
    ['there is nothing', '[]'],
  ]
  for (const [why, json] of unknown) {
    it(`are not known when ${why}`, () => assert.equal(extentsOf(json, 50), undefined))
  }
})
