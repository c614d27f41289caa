import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { CdiError } from '../../../src/errors.ts'
import { ApiError } from '../../../src/kube/api-error.ts'
import { TestClock } from '../../../src/kube/clock.ts'
import { runController, watching } from '../../../src/kube/controller.ts'
import type { ControllerSpec, Watch } from '../../../src/kube/controller.ts'
import { LeadershipLostError } from '../../../src/kube/leader.ts'
import { formatKey, keyOf } from '../../../src/kube/object.ts'
import type { KubeObject, ObjectKey } from '../../../src/kube/object.ts'
import { ObjectStore } from '../../../src/kube/object-store.ts'
import { silentLog } from '../../../src/log.ts'
import { createRegistry } from '../../../src/metrics.ts'

interface Source extends Watch {
  add(key: ObjectKey): void
  readonly subscribers: number
}

function source({ synced = Promise.resolve() }: { synced?: Promise<void> } = {}): Source {
  const subscribers = new Set<(key: ObjectKey) => void>()
  return {
    synced,
    subscribe(enqueue) {
      subscribers.add(enqueue)
      return () => subscribers.delete(enqueue)
    },
    add: (key) => subscribers.forEach((enqueue) => enqueue(key)),
    get subscribers() {
      return subscribers.size
    },
  }
}

interface Running extends AsyncDisposable {
  readonly clock: TestClock
  readonly stop: AbortController
  readonly ended: Promise<void>
  outcomes(): Promise<Record<string, number>>
}

function run(spec: ControllerSpec): Running {
  const clock = new TestClock()
  const stop = new AbortController()
  const metrics = createRegistry()
  const ended = runController(spec, { log: silentLog(), metrics, clock, random: () => 0.5, signal: stop.signal })
  return {
    clock,
    stop,
    ended,
    async outcomes() {
      const [metric] = (await metrics.getMetricsAsJSON()).filter(({ name }) => name === 'controller_reconciles_total')
      return Object.fromEntries((metric?.values ?? []).map(({ labels, value }) => [labels['outcome'], value]))
    },
    async [Symbol.asyncDispose]() {
      stop.abort()
      await clock.advance(10_000)
      await ended
    },
  }
}

function conflict(reason: string, status = 409): ApiError {
  return new ApiError({ status, reason, message: reason })
}

describe('controller', () => {
  it('begins only when all caches are synced', async () => {
    const first = Promise.withResolvers<void>()
    const watch = source({ synced: first.promise })
    const seen: string[] = []
    await using running = run({
      name: 'test',
      watches: [watch, source()],
      reconcile: async (key) => void seen.push(formatKey(key)),
    })
    watch.add({ namespace: 'ns', name: 'a' })
    await running.clock.advance(1_000)
    assert.deepEqual(seen, [])
    first.resolve()
    await running.clock.advance(0)
    assert.deepEqual(seen, ['ns/a'])
  })

  it('tries again what failed, with growing delays, and counts each outcome', async () => {
    const results: (() => unknown)[] = [
      () => Promise.reject(new Error('a bug')),
      () => Promise.reject(conflict('Conflict')),
      () => Promise.reject(conflict('NotFound', 404)),
      () => ({ requeueAfterMs: 5_000 }),
      () => undefined,
    ]
    const calls: number[] = []
    const watch = source()
    await using running = run({
      name: 'test',
      watches: [watch],
      reconcile: async () => {
        calls.push(running.clock.monotonicMs())
        return results[calls.length - 1]?.() as Promise<undefined>
      },
    })
    watch.add({ name: 'a' })
    await running.clock.advance(60_000)
    assert.equal(calls.length, 5)
    assert.equal(calls[4], (calls[3] as number) + 5_000)
    assert.deepEqual(await running.outcomes(), { error: 1, conflict: 1, gone: 1, requeue: 1, done: 1 })
  })

  it('does not try again what cannot heal, until something changes', async () => {
    const watch = source()
    let calls = 0
    await using running = run({
      name: 'test',
      watches: [watch],
      reconcile: async () => {
        calls++
        throw new CdiError('CDI_CHECKSUM_INVALID', 'not a checksum')
      },
    })
    watch.add({ name: 'a' })
    await running.clock.advance(600_000)
    assert.equal(calls, 1)
    watch.add({ name: 'a' })
    await running.clock.advance(0)
    assert.equal(calls, 2)
    assert.deepEqual(await running.outcomes(), { terminal: 2 })
  })

  it('never runs one key twice at a time, but as many keys as it has workers', async () => {
    const watch = source()
    const under = new Map<string, number>()
    let most = 0
    const gate = Promise.withResolvers<void>()
    await using running = run({
      name: 'test',
      watches: [watch],
      concurrency: 3,
      async reconcile({ name }) {
        assert.ok(!under.has(name))
        under.set(name, 1)
        most = Math.max(most, under.size)
        await gate.promise
        under.delete(name)
      },
    })
    await running.clock.advance(0)
    for (const name of ['a', 'a', 'b', 'c', 'd', 'a']) watch.add({ name })
    await running.clock.advance(0)
    for (const name of ['a', 'b']) watch.add({ name })
    await running.clock.advance(0)
    assert.equal(most, 3)
    gate.resolve()
    await running.clock.advance(0)
    assert.deepEqual(await running.outcomes(), { done: 6 })
  })

  it('lets work under way end when it is stopped, begins nothing new, and listens no longer', async () => {
    const watch = source()
    const gate = Promise.withResolvers<void>()
    const ended: string[] = []
    const running = run({
      name: 'test',
      watches: [watch],
      concurrency: 1,
      async reconcile({ name }, signal) {
        await gate.promise
        signal.throwIfAborted()
        ended.push(name)
      },
    })
    await running.clock.advance(0)
    watch.add({ name: 'a' })
    watch.add({ name: 'b' })
    await running.clock.advance(0)
    running.stop.abort()
    gate.resolve()
    await running.ended
    assert.deepEqual(ended, ['a'])
    assert.equal(watch.subscribers, 0)
  })

  it('interrupts work that does not end soon after the stop', async () => {
    const watch = source()
    const running = run({
      name: 'test',
      watches: [watch],
      reconcile: (_, signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    watch.add({ name: 'a' })
    await running.clock.advance(0)
    running.stop.abort()
    await running.clock.advance(10_000)
    await running.ended
    assert.deepEqual(await running.outcomes(), { stopped: 1 })
  })

  it('interrupts work at once when the leadership is lost', async () => {
    const watch = source()
    const running = run({
      name: 'test',
      watches: [watch],
      reconcile: (_, signal) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
    })
    watch.add({ name: 'a' })
    await running.clock.advance(0)
    running.stop.abort(new LeadershipLostError('another leads'))
    await running.ended
    assert.equal(running.clock.monotonicMs(), 0)
  })

  it('ends when it is stopped before the caches are synced', async () => {
    const running = run({
      name: 'test',
      watches: [source({ synced: new Promise(() => undefined) })],
      reconcile: async () => undefined,
    })
    running.stop.abort()
    await running.ended
  })
})

describe('watching', () => {
  it('asks for keys with the present and the former state, and with the last state of what is gone', () => {
    const store = new ObjectStore<KubeObject>(() => assert.fail())
    const object = (resourceVersion: string): KubeObject => ({
      apiVersion: 'v1',
      kind: 'Thing',
      metadata: { name: 'a', namespace: 'ns', uid: '1', resourceVersion },
    })
    store.put(object('1'))
    const asked: (string | undefined)[][] = []
    const cache = { synced: Promise.resolve(), onChange: store.onChange.bind(store) }
    const keys: string[] = []
    const stop = watching(cache, (present, old) => {
      asked.push([present.metadata.resourceVersion, old?.metadata.resourceVersion])
      return [keyOf(present)]
    }).subscribe((key) => keys.push(formatKey(key)))
    store.put(object('2'))
    store.remove('ns/a', '1')
    stop()
    store.put(object('3'))
    assert.deepEqual(asked, [
      ['1', undefined],
      ['2', '1'],
      ['2', undefined],
    ])
    assert.deepEqual(keys, ['ns/a', 'ns/a', 'ns/a'])
  })
})
