import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { TestClock } from '../../../src/kube/clock.ts'
import { WorkQueue } from '../../../src/kube/workqueue.ts'
import { createRegistry } from '../../../src/metrics.ts'

function queueOn(clock: TestClock): WorkQueue {
  return new WorkQueue({ name: 'test', clock, random: () => 0.5, baseDelayMs: 100, maxDelayMs: 1_000 })
}

/** What is ready at this moment, taken. */
async function takeNow(queue: WorkQueue): Promise<string[]> {
  const taken: string[] = []
  while (queue.depth > 0) taken.push((await queue.take()) as string)
  return taken
}

type Step =
  | { readonly do: 'add' | 'fail'; readonly key: string }
  | { readonly do: 'after'; readonly key: string; readonly delayMs: number }
  | { readonly do: 'take' }
  | { readonly do: 'done'; readonly which: number }
  | { readonly do: 'pass'; readonly durationMs: number }

const key = fc.constantFrom('a', 'b', 'c')
const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constantFrom('add' as const, 'fail' as const), key }),
    fc.record({ do: fc.constant('after' as const), key, delayMs: fc.nat(500) }),
    fc.record({ do: fc.constant('take' as const) }),
    fc.record({ do: fc.constant('done' as const), which: fc.nat(3) }),
    fc.record({ do: fc.constant('pass' as const), durationMs: fc.nat(400) }),
  ) satisfies fc.Arbitrary<Step>,
  { maxLength: 60 },
)

describe('work queue', () => {
  it('never works on a key twice at a time and forgets no wish, whatever the order of events', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        const clock = new TestClock()
        const queue = queueOn(clock)
        const working: string[] = []
        /** Keys that were wished for and not taken since. */
        const owed = new Set<string>()
        for (const step of steps) {
          switch (step.do) {
            case 'add':
              queue.add(step.key)
              owed.add(step.key)
              break
            case 'fail':
              queue.addRateLimited(step.key)
              owed.add(step.key)
              break
            case 'after':
              queue.addAfter(step.key, step.delayMs)
              owed.add(step.key)
              break
            case 'take': {
              if (queue.depth === 0) break
              const taken = (await queue.take()) as string
              assert.ok(!working.includes(taken), `${taken} is worked on twice`)
              working.push(taken)
              owed.delete(taken)
              break
            }
            case 'done':
              for (const done of working.splice(step.which, 1)) queue.done(done)
              break
            case 'pass':
              await clock.advance(step.durationMs)
              break
            default:
              step satisfies never
          }
        }
        // Whatever is still wished for comes, once everything that is under way ends and time passes.
        for (const done of working) queue.done(done)
        await clock.advance(60_000)
        const rest = new Set(await takeNow(queue))
        for (const wish of owed) assert.ok(rest.has(wish), `${wish} was forgotten`)
        assert.equal(clock.pending, 0)
      }),
      { numRuns: 300 },
    )
  })

  it('joins several wishes into one, and keeps one that comes during the work', async () => {
    const queue = queueOn(new TestClock())
    queue.add('a')
    queue.add('a')
    assert.equal(await queue.take(), 'a')
    queue.add('a')
    queue.add('a')
    assert.equal(queue.depth, 0)
    queue.done('a')
    assert.deepEqual(await takeNow(queue), ['a'])
    queue.done('a')
    assert.equal(queue.depth, 0)
  })

  it('hands out keys in the order of their arrival', async () => {
    const queue = queueOn(new TestClock())
    for (const each of ['c', 'a', 'b', 'a']) queue.add(each)
    assert.deepEqual(await takeNow(queue), ['c', 'a', 'b'])
  })

  it('gives a key to a worker that waits already', async () => {
    const queue = queueOn(new TestClock())
    const taking = queue.take()
    queue.add('a')
    assert.equal(await taking, 'a')
  })

  it('doubles the delay of a key that fails, up to a limit, and starts anew when it was forgotten', async () => {
    const clock = new TestClock()
    const queue = queueOn(clock)
    const delayOf = async (): Promise<number> => {
      const startMs = clock.monotonicMs()
      queue.addRateLimited('a')
      while (queue.depth === 0) await clock.advance(25)
      await takeNow(queue)
      queue.done('a')
      return clock.monotonicMs() - startMs
    }
    const delays: number[] = []
    for (let failures = 0; failures < 6; failures++) delays.push(await delayOf())
    assert.deepEqual(delays, [75, 150, 300, 600, 750, 750])
    queue.forget('a')
    assert.equal(await delayOf(), 75)
  })

  it('lets the shortest of several delays count', async () => {
    const clock = new TestClock()
    const queue = queueOn(clock)
    queue.addAfter('a', 1_000)
    queue.addAfter('a', 100)
    queue.addAfter('a', 500)
    await clock.advance(100)
    assert.deepEqual(await takeNow(queue), ['a'])
    queue.done('a')
    await clock.advance(2_000)
    assert.equal(queue.depth, 0)
  })

  it('hands out nothing after it was shut down, not even to those who wait', async () => {
    const clock = new TestClock()
    const queue = queueOn(clock)
    const taking = queue.take()
    queue.addAfter('late', 100)
    queue.shutDown()
    queue.add('a')
    await clock.advance(1_000)
    assert.equal(await taking, undefined)
    assert.equal(await queue.take(), undefined)
    assert.equal(clock.pending, 0)
  })

  it('counts what it does', async () => {
    const metrics = createRegistry()
    const clock = new TestClock()
    const queue = new WorkQueue({ name: 'dv', clock, metrics })
    queue.add('a')
    queue.add('b')
    await queue.take()
    await clock.advance(3_000)
    queue.done('a')
    queue.addRateLimited('a')
    const text = await metrics.metrics()
    assert.match(text, /workqueue_depth\{name="dv"\} 1/)
    assert.match(text, /workqueue_adds_total\{name="dv"\} 2/)
    assert.match(text, /workqueue_retries_total\{name="dv"\} 1/)
    assert.match(text, /workqueue_work_duration_seconds_sum\{name="dv"\} 3/)
  })
})
