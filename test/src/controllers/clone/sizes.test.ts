import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  receiverBytes,
  roomIn,
  sizeFor,
  tooSmallForCopy,
  tooSmallForSource,
} from '../../../../src/controllers/clone/sizes.ts'
import type { VolumeSize } from '../../../../src/controllers/clone/sizes.ts'

const mebibyte = 1024 * 1024
const file = (bytes: number, overhead = '0.06'): VolumeSize => ({ mode: 'Filesystem', overhead, bytes })
const device = (bytes: number): VolumeSize => ({ mode: 'Block', overhead: '0.06', bytes })

const bytes = fc.integer({ min: mebibyte, max: 2 ** 44 })
const overhead = fc.constantFrom('0', '0.055', '0.06', '0.1', '0.5', '0.999')
const volume = fc.record({ mode: fc.constantFrom('Block', 'Filesystem'), overhead, bytes })

describe('a source that is larger than what T asks for', () => {
  it('is told with both sizes, as the recording of a clone into a smaller volume shows', () => {
    assert.equal(
      tooSmallForSource({ sourceBytes: 71135396, targetBytes: 17783849 }),
      'target resources requests storage size is smaller than the source 17783849 < 71135396',
    )
  })

  const fits: [string, Parameters<typeof tooSmallForSource>[0]][] = [
    ['T asks for just as much', { sourceBytes: 100, targetBytes: 100 }],
    ['the class makes no smaller volumes', { sourceBytes: 100, targetBytes: 1, minimumBytes: 100 }],
    ['the size of the source is unknown', { sourceBytes: undefined, targetBytes: 1 }],
    ['the size of T is unknown', { sourceBytes: 1, targetBytes: undefined }],
  ]
  for (const [name, input] of fits) {
    it(`is none if ${name}`, () => assert.equal(tooSmallForSource(input), undefined))
  }

  it('names what T would get, not what it asks for', () => {
    assert.match(tooSmallForSource({ sourceBytes: 100, targetBytes: 1, minimumBytes: 50 }) ?? '', / 50 < 100$/)
  })
})

describe('a copy', () => {
  const cases: [string, VolumeSize, VolumeSize, boolean][] = [
    ['a file system into one of the same class and size', file(71135396), file(71135396), true],
    ['a file system into a device as large as the disk', file(71135396), device(64 * mebibyte), true],
    ['a file system into a device smaller than the disk', file(71135396), device(64 * mebibyte - 1), false],
    ['a device into a file system of its size', device(64 * mebibyte), file(64 * mebibyte), false],
    ['a device into a file system with room for it', device(64 * mebibyte), file(71135396), true],
    ['a file system into one of a class that takes more', file(71135396), file(71135396, '0.5'), false],
  ]
  for (const [name, source, target, fits] of cases) {
    it(`of ${name} ${fits ? 'fits' : 'does not fit'}`, () => {
      const problem = tooSmallForCopy(source, target)
      if (fits) assert.equal(problem, undefined)
      else assert.match(problem ?? '', /^target resources requests storage size is smaller than the source \d+ < \d+$/)
    })
  }

  it('that fits still fits into anything larger, and never from anything larger than what does not fit', () => {
    fc.assert(
      fc.property(volume, volume, fc.nat({ max: 2 ** 40 }), (source, target, more) => {
        const larger = (size: VolumeSize): VolumeSize => ({ ...size, bytes: size.bytes + more })
        if (tooSmallForCopy(source, target) === undefined) {
          assert.equal(tooSmallForCopy(source, larger(target)), undefined)
        } else assert.notEqual(tooSmallForCopy(larger(source), target), undefined)
      }),
    )
  })
})

describe('a volume made for a disk', () => {
  it('has room for it, and less than one mebibyte to spare for a disk of whole mebibytes', () => {
    fc.assert(
      fc.property(volume, (shape) => {
        const size = sizeFor(shape, shape.bytes)
        assert.ok(roomIn({ ...shape, bytes: size }) >= shape.bytes)
        const whole = Math.ceil(shape.bytes / mebibyte) * mebibyte
        assert.ok(roomIn({ ...shape, bytes: sizeFor(shape, whole) }) - whole < mebibyte)
      }),
    )
  })
})

describe('the claim that receives a copy', () => {
  it('is as large as T asks for, if T was completed by nobody', () => {
    assert.equal(
      receiverBytes({ source: device(64 * mebibyte), target: file(64 * mebibyte), isCompleted: false }),
      64 * mebibyte,
    )
  })

  it('is larger where the webhook left no room for a file system around a device', () => {
    assert.equal(
      receiverBytes({ source: device(64 * mebibyte), target: file(64 * mebibyte), isCompleted: true }),
      71135396,
    )
  })

  it('is no larger than T needs, however large the source is: its disk may be small', () => {
    const source = file(10 * 1024 * mebibyte)
    assert.equal(receiverBytes({ source, target: file(64 * mebibyte), isCompleted: true }), 71135396)
  })

  it('takes the copy if T was completed and is not too small by its own word, and is never smaller than T', () => {
    fc.assert(
      fc.property(volume, volume, (source, target) => {
        const received = receiverBytes({ source, target, isCompleted: true })
        assert.ok(received >= target.bytes)
        assert.ok(received <= sizeFor(target, target.bytes))
        if (tooSmallForCopy(source, { ...target, overhead: '0' }) !== undefined) return
        assert.equal(tooSmallForCopy(source, { ...target, bytes: received }), undefined)
      }),
    )
  })
})
