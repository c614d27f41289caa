import assert from 'node:assert/strict'
import { Writable } from 'node:stream'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { pino } from 'pino'
import { TestClock } from '../../../src/kube/clock.ts'
import { LeadershipLostError, runAsLeader } from '../../../src/kube/leader.ts'
import type { LeaderOptions } from '../../../src/kube/leader.ts'
import { silentLog } from '../../../src/log.ts'
import { MemoryApi } from '../../fixtures/memory-api.ts'
import type { Line } from '../../fixtures/memory-api.ts'

const lease = { namespace: 'cdi', name: 'the-lease' }

interface Candidate {
  readonly line: Line
  readonly stop: AbortController
  /** Leads, as far as it knows. */
  leads(): boolean
  readonly ended: Promise<unknown>
}

function candidate(
  api: MemoryApi,
  clock: TestClock,
  identity: string,
  options: Partial<LeaderOptions> = {},
): Candidate {
  const line: Line = { isCut: false, requests: [] }
  const stop = new AbortController()
  let leads = false
  const ended = runAsLeader({
    client: api.client(line),
    lease,
    identity,
    log: silentLog(),
    clock,
    random: () => 0.5,
    signal: stop.signal,
    lead: async (signal) => {
      leads = true
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve()
        else signal.addEventListener('abort', () => resolve(), { once: true })
      })
      leads = false
    },
    ...options,
  }).then(
    () => undefined,
    (error: unknown) => error,
  )
  return { line, stop, leads: () => leads, ended }
}

interface LeaseSpec {
  holderIdentity?: string
  leaseTransitions?: number
  renewTime?: string
  acquireTime?: string
}

function leaseSpec(api: MemoryApi): LeaseSpec {
  const object = api.objects.get('leases cdi/the-lease') as unknown as { spec: LeaseSpec }
  return object.spec
}

describe('leader election', () => {
  it('lets one of two lead, and the other when the first gives the lease back', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(0)
    const b = candidate(api, clock, 'b')
    await clock.advance(60_000)
    assert.deepEqual([a.leads(), b.leads()], [true, false])
    a.stop.abort()
    assert.equal(await a.ended, undefined)
    await clock.advance(2_500)
    assert.deepEqual([a.leads(), b.leads()], [false, true])
    assert.equal(leaseSpec(api).leaseTransitions, 1)
    b.stop.abort()
    await b.ended
    assert.equal(leaseSpec(api).holderIdentity, undefined)
  })

  it('writes times with six decimals, which the API insists on', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(0)
    assert.match(leaseSpec(api).renewTime ?? '', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/)
    a.stop.abort()
    await a.ended
  })

  it('takes over from a leader that vanished only after the lease has run out on its own clock', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(0)
    const b = candidate(api, clock, 'b')
    a.line.isCut = true
    await clock.advance(14_900)
    assert.equal(b.leads(), false)
    await clock.advance(2_500)
    assert.equal(b.leads(), true)
    assert.ok((await a.ended) instanceof LeadershipLostError)
    b.stop.abort()
    await b.ended
  })

  it('survives an outage that is shorter than the renew deadline, requests that hang included', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(1_000)
    a.line.isCut = true
    await clock.advance(5_000)
    a.line.isCut = false
    await clock.advance(60_000)
    assert.equal(a.leads(), true)
    a.stop.abort()
    await a.ended
  })

  it('makes the lease again when somebody deletes it', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(5_000)
    api.objects.delete('leases cdi/the-lease')
    await clock.advance(8_000)
    assert.equal(a.leads(), true)
    assert.equal(leaseSpec(api).holderIdentity, 'a')
    a.stop.abort()
    await a.ended
  })

  it('stops leading at once when somebody else holds the lease', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(0)
    const body = { spec: { holderIdentity: 'usurper' } }
    await api
      .client()
      .patch(
        { group: 'coordination.k8s.io', version: 'v1', plural: 'leases', kind: 'Lease', namespaced: true },
        lease,
        body,
        { type: 'merge' },
      )
    await clock.advance(2_500)
    assert.equal(a.leads(), false)
    assert.match(String(await a.ended), /usurper holds the lease/)
    assert.equal(leaseSpec(api).holderIdentity, 'usurper')
  })

  it('says so in the log when it has become the leader', async () => {
    const lines: string[] = []
    const sink = new Writable({
      write(chunk, _encoding, callback) {
        lines.push(String(chunk))
        callback()
      },
    })
    const clock = new TestClock()
    const a = candidate(new MemoryApi(), clock, 'a', { log: pino({}, sink) })
    await clock.advance(0)
    assert.equal(lines.filter((line) => line.includes('successfully acquired lease')).length, 1)
    a.stop.abort()
    await a.ended
  })

  it('passes on what the work throws, and gives the lease back', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const broken = new Error('the work failed')
    const a = candidate(api, clock, 'a', { lead: () => Promise.reject(broken) })
    assert.equal(await a.ended, broken)
    assert.equal(leaseSpec(api).holderIdentity, undefined)
  })

  it('ends without having led when it is stopped while it waits', async () => {
    const api = new MemoryApi()
    const clock = new TestClock()
    const a = candidate(api, clock, 'a')
    await clock.advance(0)
    const b = candidate(api, clock, 'b')
    await clock.advance(3_000)
    b.stop.abort()
    assert.equal(await b.ended, undefined)
    assert.equal(leaseSpec(api).holderIdentity, 'a')
    a.stop.abort()
    await a.ended
  })

  it('never has two leaders, whoever is cut off, stopped or started when', async () => {
    const step = fc.record({
      who: fc.nat(2),
      do: fc.constantFrom<'cut' | 'mend' | 'stop' | 'start'>('cut', 'mend', 'stop', 'start'),
      passMs: fc.nat(12_000),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 15 }), async (steps) => {
        const api = new MemoryApi()
        const clock = new TestClock()
        let serial = 0
        const start = (): Candidate => candidate(api, clock, `candidate-${serial++}`)
        const candidates = [start(), start(), start()]
        const left: Candidate[] = []
        for (const { who, do: what, passMs } of steps) {
          const one = candidates[who] as Candidate
          if (what === 'cut' || what === 'mend') one.line.isCut = what === 'cut'
          if (what === 'stop') one.stop.abort()
          if (what === 'start') {
            one.stop.abort()
            left.push(one)
            candidates[who] = start()
          }
          for (let passedMs = 0; passedMs <= passMs; passedMs += 500) {
            await clock.advance(500)
            const leaders = [...candidates, ...left].filter((each) => each.leads())
            assert.ok(leaders.length <= 1, 'two lead at the same time')
          }
        }
        // With all ways mended and one candidate left, it leads.
        for (const each of [...candidates, ...left]) {
          each.line.isCut = false
          each.stop.abort()
        }
        await clock.advance(20_000)
        const last = start()
        await clock.advance(20_000)
        assert.ok(last.leads())
        last.stop.abort()
        await clock.advance(10_000)
        await Promise.all([...candidates, ...left, last].map(({ ended }) => ended))
      }),
      { numRuns: 60 },
    )
  })
})
