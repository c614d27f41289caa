import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../src/api/annotations.ts'
import type { KubeClient } from '../../src/kube/client.ts'
import { TestClock } from '../../src/kube/clock.ts'
import { ClaimLooks } from '../../uploadproxy/claim-looks.ts'

const key = { namespace: 'team', name: 'disk' }
const never = new AbortController().signal

/** A client whose answers the test gives, one by one. */
function asking() {
  const asked: string[] = []
  const answers: PromiseWithResolvers<unknown>[] = []
  const client: Pick<KubeClient, 'get'> = {
    get: (_, { name }) => {
      asked.push(name)
      const answer = Promise.withResolvers<unknown>()
      answers.push(answer)
      return answer.promise as Promise<never>
    },
  }
  return {
    client,
    asked,
    answer: (value: unknown) => answers.shift()?.resolve(value),
    fail: (error: Error) => answers.shift()?.reject(error),
  }
}

describe('looks at claims', () => {
  it('are one look for all who come while it is under way', async () => {
    const { client, asked, answer } = asking()
    const looks = new ClaimLooks({ client, clock: new TestClock() })
    const all = Array.from({ length: 300 }, () => looks.look(key, { maxAgeMs: 0, signal: never }))
    assert.deepEqual(asked, ['disk'])
    answer(undefined)
    assert.deepEqual(new Set(await Promise.all(all.map(async (look) => (await look).target))), new Set([undefined]))
  })

  it('are as old as is allowed, and no older', async () => {
    const { client, asked, answer } = asking()
    const clock = new TestClock()
    const looks = new ClaimLooks({ client, clock })
    const first = looks.look(key, { maxAgeMs: 900, signal: never })
    answer(undefined)
    await first
    await clock.advance(800)
    await looks.look(key, { maxAgeMs: 900, signal: never })
    assert.equal(asked.length, 1)
    void looks.look(key, { maxAgeMs: 100, signal: never })
    assert.equal(asked.length, 2)
  })

  it('are forgotten', async () => {
    const { client, asked, answer } = asking()
    const clock = new TestClock()
    const looks = new ClaimLooks({ client, clock })
    const first = looks.look(key, { maxAgeMs: 900, signal: never })
    answer(undefined)
    await first
    await clock.advance(1000)
    assert.equal(clock.pending, 0)
    void looks.look(key, { maxAgeMs: 10_000, signal: never })
    assert.equal(asked.length, 2)
  })

  it('that failed are not shared with those who come later', async () => {
    const { client, asked, answer, fail } = asking()
    const looks = new ClaimLooks({ client, clock: new TestClock() })
    const first = looks.look(key, { maxAgeMs: 900, signal: never })
    fail(new Error('no answer'))
    await assert.rejects(first, /no answer/)
    const second = looks.look(key, { maxAgeMs: 900, signal: never })
    answer(undefined)
    assert.deepEqual(await second, { target: undefined, prime: undefined })
    assert.equal(asked.length, 2)
  })

  it('go on for the others when one of those who wait goes away', async () => {
    const { client, answer } = asking()
    const looks = new ClaimLooks({ client, clock: new TestClock() })
    const gone = new AbortController()
    const one = looks.look(key, { maxAgeMs: 900, signal: gone.signal })
    const other = looks.look(key, { maxAgeMs: 900, signal: never })
    gone.abort(new Error('gone'))
    await assert.rejects(one, /gone/)
    answer(undefined)
    assert.deepEqual(await other, { target: undefined, prime: undefined })
  })

  it('take in the prime of a populated claim', async () => {
    const { client, asked, answer } = asking()
    const looks = new ClaimLooks({ client, clock: new TestClock() })
    const look = looks.look(key, { maxAgeMs: 0, signal: never })
    const target = {
      metadata: { name: 'disk', annotations: { [annotations.populatorPvcPrime]: 'prime-1' } },
      spec: { dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 's' } },
    }
    const prime = { metadata: { name: 'prime-1' } }
    answer(target)
    await new Promise(setImmediate)
    answer(prime)
    assert.deepEqual(await look, { target, prime })
    assert.deepEqual(asked, ['disk', 'prime-1'])
  })
})
