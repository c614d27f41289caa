import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import {
  formatBoolean,
  formatCounts,
  parseBoolean,
  parseCount,
} from '../../../../importer/upload/resumable/structured-fields.ts'

describe('structured fields', () => {
  it('reads booleans and nothing else', () => {
    for (const [text, value] of [
      ['?1', true],
      ['?0', false],
      [' ?1 ', true],
      ['?1;a=1;b="x;y"', true],
      ['?1; a', true],
      ['1', undefined],
      ['true', undefined],
      ['?2', undefined],
      ['?1, ?1', undefined],
      ['"?1"', undefined],
      ['?1;=', undefined],
      ['', undefined],
      [undefined, undefined],
    ] as const) {
      assert.equal(parseBoolean(text), value, String(text))
    }
  })

  it('reads counts and nothing else', () => {
    for (const [text, value] of [
      ['0', 0],
      ['007', 7],
      ['999999999999999', 999_999_999_999_999],
      ['1000000000000000', undefined],
      ['12;q=1', 12],
      ['-1', undefined],
      ['1.0', undefined],
      ['1e3', undefined],
      ['0x10', undefined],
      ['1, 2', undefined],
      ['1\t', undefined],
      ['', undefined],
      [undefined, undefined],
    ] as const) {
      assert.equal(parseCount(text), value, String(text))
    }
  })

  it('reads what it writes', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat({ max: 999_999_999 }), (flag, count) => {
        assert.equal(parseBoolean(formatBoolean(flag)), flag)
        assert.equal(parseCount(String(count)), count)
      }),
    )
    assert.equal(formatCounts({ 'max-age': 60, 'max-size': 7 }), 'max-age=60, max-size=7')
  })

  it('never throws, whatever a client sends', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary', maxLength: 200 }), (text) => {
        parseBoolean(text)
        parseCount(text)
      }),
    )
  })
})
