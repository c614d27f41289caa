import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { formatGoDuration, parseGoDuration } from '../../../src/certs/go-duration.ts'

describe('Go durations', () => {
  const written: [number, string][] = [
    [0, '0s'],
    [1, '1ms'],
    [999, '999ms'],
    [1_000, '1s'],
    [1_500, '1.5s'],
    [60_000, '1m0s'],
    [900_000, '15m0s'],
    [1_200_000, '20m0s'],
    [3_600_000, '1h0m0s'],
    [5_400_000, '1h30m0s'],
    [172_800_000, '48h0m0s'],
    [-43_200_000, '-12h0m0s'],
    [3_600_001, '1h0m0.001s'],
  ]
  for (const [durationMs, text] of written) {
    it(`writes ${durationMs} ms as ${text} and reads it back`, () => {
      assert.equal(formatGoDuration(durationMs), text)
      assert.equal(parseGoDuration(text), durationMs)
    })
  }

  const alsoRead: [string, number][] = [
    ['0', 0],
    ['-0', 0],
    ['48h', 172_800_000],
    ['1.5h', 5_400_000],
    ['.5m', 30_000],
    ['2.s', 2_000],
    ['+90s', 90_000],
    ['1m1h', 3_660_000],
    ['1000us', 1],
    ['1000µs', 1],
    ['1000μs', 1],
    ['1000000ns', 1],
  ]
  for (const [text, durationMs] of alsoRead) {
    it(`reads ${text}`, () => assert.equal(parseGoDuration(text), durationMs))
  }

  for (const text of ['', ' ', '12', 'h', '.h', '1d', '1h ', '1 h', '--1h', '1h-1m', '1e3s', 'Infinityh', '1H']) {
    it(`takes '${text}' for no duration`, () => assert.equal(parseGoDuration(text), undefined))
  }

  it('takes a duration that no number holds exactly for none', () => {
    assert.equal(parseGoDuration(`${'9'.repeat(400)}h`), undefined)
  })

  it('reads whatever it writes', () => {
    const milliseconds = fc.integer({ min: -3_153_600_000_000, max: 3_153_600_000_000 })
    fc.assert(fc.property(milliseconds, (value) => assert.equal(parseGoDuration(formatGoDuration(value)), value)))
  })
})
