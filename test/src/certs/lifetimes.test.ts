import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { formatLifetime, lifetimesOf, shortestLifetimeMs, shortestRefreshMs } from '../../../src/certs/lifetimes.ts'

const hourMs = 3_600_000
const minuteMs = 60_000

describe('lifetimes of certificates', () => {
  it('are 48 h with a refresh of 24 h for authorities, 24 h with 12 h for leaves, unless told', () => {
    const { lifetimes, faults } = lifetimesOf(undefined)
    assert.deepEqual(lifetimes, {
      ca: { lifetimeMs: 48 * hourMs, refreshMs: 24 * hourMs },
      server: { lifetimeMs: 24 * hourMs, refreshMs: 12 * hourMs },
      client: { lifetimeMs: 24 * hourMs, refreshMs: 12 * hourMs },
    })
    assert.deepEqual(faults, [])
    assert.deepEqual(lifetimesOf({}), { lifetimes, faults })
  })

  it('are written into the annotation as Go durations', () => {
    const { ca, server } = lifetimesOf(undefined).lifetimes
    assert.equal(formatLifetime(ca), '{"lifetime":"48h0m0s","refresh":"24h0m0s"}')
    assert.equal(formatLifetime(server), '{"lifetime":"24h0m0s","refresh":"12h0m0s"}')
    const { lifetimes } = lifetimesOf({ ca: { duration: '20m', renewBefore: '5m' } })
    assert.equal(formatLifetime(lifetimes.ca), '{"lifetime":"20m0s","refresh":"15m0s"}')
  })

  it('are overridden field by field', () => {
    const { lifetimes, faults } = lifetimesOf({
      ca: { duration: '96h' },
      server: { renewBefore: '1h' },
      client: { duration: '20m0s', renewBefore: '10m0s' },
    })
    assert.deepEqual(lifetimes, {
      ca: { lifetimeMs: 96 * hourMs, refreshMs: 72 * hourMs },
      server: { lifetimeMs: 24 * hourMs, refreshMs: 23 * hourMs },
      client: { lifetimeMs: 20 * minuteMs, refreshMs: 10 * minuteMs },
    })
    assert.deepEqual(faults, [])
  })

  const senseless: [string, Parameters<typeof lifetimesOf>[0], RegExp, number, number][] = [
    ['a duration that is none', { ca: { duration: '2d' } }, /^ca\.duration 2d is not a duration/, 48, 24],
    ['a duration below a minute', { ca: { duration: '59s' } }, /^ca\.duration 59s is not between/, 48, 24],
    ['a duration of centuries', { ca: { duration: '9999999h' } }, /^ca\.duration 9999999h0m0s is not between/, 48, 24],
    [
      'a renewal before the beginning',
      { ca: { duration: '10h' } },
      /^ca\.renewBefore 24h0m0s does not lie within/,
      10,
      5,
    ],
    ['a renewal at the end', { ca: { renewBefore: '0s' } }, /^ca\.renewBefore 0s does not lie within/, 48, 24],
    ['a renewal after the end', { ca: { renewBefore: '-1h' } }, /^ca\.renewBefore -1h0m0s does not lie within/, 48, 24],
  ]
  for (const [name, certConfig, fault, lifetimeHours, refreshHours] of senseless) {
    it(`replace ${name} and tell it`, () => {
      const { lifetimes, faults } = lifetimesOf(certConfig)
      assert.equal(faults.length, 1)
      assert.match(faults[0] ?? '', fault)
      assert.deepEqual(lifetimes.ca, { lifetimeMs: lifetimeHours * hourMs, refreshMs: refreshHours * hourMs })
    })
  }

  it('always leave time before and after the refresh, whatever is configured', () => {
    const text = fc.oneof(
      fc.string(),
      fc.integer({ min: -1e6, max: 1e6 }).map((seconds) => `${seconds}s`),
    )
    const one = fc.record({ duration: text, renewBefore: text }, { requiredKeys: [] })
    fc.assert(
      fc.property(fc.record({ ca: one, server: one, client: one }, { requiredKeys: [] }), (certConfig) => {
        for (const { lifetimeMs, refreshMs } of Object.values(lifetimesOf(certConfig).lifetimes)) {
          assert.ok(lifetimeMs >= shortestLifetimeMs)
          assert.ok(refreshMs >= shortestRefreshMs && refreshMs < lifetimeMs)
        }
      }),
    )
  })
})
