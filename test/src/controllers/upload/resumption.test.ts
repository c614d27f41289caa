import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { array, assert as check, nat, property } from 'fast-check'
import { ResumptionReader, textOfResumption } from '../../../../src/controllers/upload/resumption.ts'
import type { AskServer } from '../../../../src/controllers/upload/resumption.ts'
import { TestClock } from '../../../../src/kube/clock.ts'
import { silentLog } from '../../../../src/log.ts'

const expires = '2030-01-01T00:00:00Z'
const answer = (ranges: readonly (readonly number[])[], more: object = {}): string =>
  JSON.stringify({ id: 'a', length: 2 ** 40, ranges, expires, ...more })

describe('what a server has made durable', () => {
  it('is written as it was told, with whatever the next server may want to know', () => {
    const told = answer([[0, 10]], { byRanges: true })
    assert.equal(textOfResumption(told), told)
    const open = JSON.stringify({ id: 'a', ranges: [], expires })
    assert.equal(textOfResumption(open), open, 'the length may be unknown yet')
  })

  for (const [what, text] of [
    ['no JSON', 'hello'],
    ['no object', '[]'],
    ['no id', JSON.stringify({ ranges: [], expires })],
    ['no end', JSON.stringify({ id: 'a', ranges: [] })],
    ['no ranges', JSON.stringify({ id: 'a', expires })],
    ['an empty range', answer([[5, 5]])],
    ['a range backwards', answer([[5, 1]])],
    [
      'ranges that overlap',
      answer([
        [0, 5],
        [4, 9],
      ]),
    ],
    [
      'ranges that touch',
      answer([
        [0, 5],
        [5, 9],
      ]),
    ],
    [
      'ranges out of order',
      answer([
        [6, 9],
        [0, 5],
      ]),
    ],
    ['half a byte', answer([[0, 1.5]])],
    ['a range before the beginning', answer([[-1, 5]])],
    ['a length that is none', answer([], { length: 'x' })],
    ['a checksum that is none', answer([], { checksum: 1 })],
    ['an id without end', answer([], { id: 'x'.repeat(20_000) })],
  ] as const) {
    it(`is not written when it is ${what}`, () => assert.equal(textOfResumption(text), undefined))
  }

  it('is cut to the longest ranges when there are too many for a claim', () => {
    check(
      property(array(nat(1_000_000), { minLength: 2_000, maxLength: 4_000 }), (lengths) => {
        let at = 0
        const ranges = lengths.map((length) => {
          const range: [number, number] = [at, at + length + 1]
          at += length + 2
          return range
        })
        const text = textOfResumption(answer(ranges)) ?? ''
        assert.ok(text.length <= 16 * 1024, `${text.length} bytes`)
        assert.ok(text.length > 15 * 1024, `${text.length} bytes`)
        const kept = (JSON.parse(text) as { ranges: [number, number][] }).ranges
        assert.deepEqual(
          kept,
          kept.toSorted(([a], [b]) => a - b),
        )
        const known = new Set(ranges.map(String))
        assert.ok(kept.every((range) => known.has(String(range))))
        const shortest = Math.min(...kept.map(([from, to]) => to - from))
        const keptSet = new Set(kept.map(String))
        const dropped = ranges.filter((range) => !keptSet.has(String(range)))
        assert.ok(dropped.every(([from, to]) => to - from <= shortest))
      }),
      { numRuns: 10 },
    )
  })
})

describe('the reader of resumptions', () => {
  const key = { namespace: 'vms', name: 'prime-1' }
  const address = { ip: '10.0.0.7', port: 8443, name: 'svc.vms.svc', path: '/v1beta1/upload-resumption' }

  it('asks each server every five seconds and brings its key up when the answer is another one', async () => {
    const clock = new TestClock()
    const answers: (string | null | Error)[] = [
      null,
      null,
      answer([[0, 1]]),
      new Error('refused'),
      'nonsense',
      answer([[0, 9]]),
    ]
    let asked = 0
    const ask: AskServer = (where) => {
      assert.equal(where, address)
      const told = answers[Math.min(asked++, answers.length - 1)]
      return told instanceof Error ? Promise.reject(told) : Promise.resolve(told as string | null)
    }
    const reader = new ResumptionReader({ ask, clock, log: silentLog() })
    const keys: string[] = []
    const unsubscribe = reader.subscribe(({ name }) => keys.push(name))
    reader.follow(key, { uid: 'u', address })
    assert.equal(reader.answerOf(key, 'u'), undefined)
    await clock.advance(5_000)
    assert.equal(reader.answerOf(key, 'u'), null)
    await clock.advance(10_000)
    assert.equal(reader.answerOf(key, 'u'), answer([[0, 1]]))
    reader.follow(key, { uid: 'u', address })
    await clock.advance(10_000)
    assert.equal(reader.answerOf(key, 'u'), answer([[0, 1]]), 'a server that is silent or confused changes nothing')
    await clock.advance(5_000)
    assert.equal(reader.answerOf(key, 'u'), answer([[0, 9]]))
    assert.equal(keys.length, 3)
    assert.equal(reader.answerOf(key, 'another pod'), undefined)
    assert.equal(asked, 6)

    reader.follow(key, undefined)
    await clock.advance(20_000)
    assert.equal(asked, 6, 'nobody is asked any longer')
    assert.equal(reader.answerOf(key, 'u'), undefined)
    unsubscribe()
    assert.equal(clock.pending, 0)
  })

  it('knows nothing of a pod that took the place of another one until it was asked', async () => {
    const clock = new TestClock()
    const reader = new ResumptionReader({
      ask: () => Promise.resolve(answer([[0, 1]])),
      clock,
      log: silentLog(),
    })
    const unsubscribe = reader.subscribe(() => undefined)
    reader.follow(key, { uid: 'u', address })
    await clock.advance(5_000)
    reader.follow(key, { uid: 'v', address })
    assert.equal(reader.answerOf(key, 'v'), undefined)
    await clock.advance(5_000)
    assert.equal(reader.answerOf(key, 'v'), answer([[0, 1]]))
    unsubscribe()
    assert.equal(clock.pending, 0)
  })
})
