import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ApiError, ConnectionError } from '../../../src/kube/api-error.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import { TestClock } from '../../../src/kube/clock.ts'
import { EventRecorder } from '../../../src/kube/events.ts'
import type { KubeObject } from '../../../src/kube/object.ts'
import { silentLog } from '../../../src/log.ts'
import { createRegistry } from '../../../src/metrics.ts'
import { MemoryApi } from '../../fixtures/memory-api.ts'

interface StoredEvent extends KubeObject {
  count: number
  reason: string
  message: string
  firstTimestamp: string
  lastTimestamp: string
  involvedObject: { name: string; namespace?: string; uid: string; kind: string; apiVersion: string }
  source: { component: string; host?: string }
}

function about(name: string, namespace: string | undefined = 'vms'): KubeObject {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataVolume',
    metadata: { name, uid: `uid-${name}`, resourceVersion: '7', ...(namespace ? { namespace } : {}) },
  }
}

const bound = { type: 'Normal', reason: 'Bound', message: 'PVC dv Bound' } as const
const failed = { type: 'Warning', reason: 'Error', message: 'no luck' } as const

function setUp(client?: Pick<KubeClient, 'create' | 'patch'>): {
  recorder: EventRecorder
  clock: TestClock
  api: MemoryApi
  stored: () => StoredEvent[]
  outcomes: () => Promise<Record<string, number>>
} {
  const api = new MemoryApi()
  const clock = new TestClock('2026-03-01T12:00:00.123Z')
  const metrics = createRegistry()
  const recorder = new EventRecorder({
    client: client ?? api.client(),
    component: 'test-controller',
    host: 'pod-1',
    log: silentLog(),
    clock,
    metrics,
    random: () => 0.5,
  })
  return {
    recorder,
    clock,
    api,
    stored: () => [...api.objects.values()] as StoredEvent[],
    async outcomes() {
      const [metric] = (await metrics.getMetricsAsJSON()).filter(({ name }) => name === 'events_total')
      return Object.fromEntries((metric?.values ?? []).map(({ labels, value }) => [labels['outcome'], value]))
    },
  }
}

describe('event recorder', () => {
  it('writes an event as tools expect it', async () => {
    const { recorder, stored } = setUp()
    recorder.event(about('dv'), bound)
    await recorder.flush()
    const [event] = stored() as [StoredEvent]
    assert.match(event.metadata.name, /^dv\.[0-9a-f]{15,16}$/)
    assert.equal(event.metadata.namespace, 'vms')
    assert.deepEqual(event.involvedObject, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'DataVolume',
      name: 'dv',
      namespace: 'vms',
      uid: 'uid-dv',
      resourceVersion: '7',
    })
    assert.deepEqual(event.source, { component: 'test-controller', host: 'pod-1' })
    assert.deepEqual(
      [event.count, event.firstTimestamp, event.lastTimestamp],
      [1, '2026-03-01T12:00:00Z', '2026-03-01T12:00:00Z'],
    )
  })

  it('raises the count of the same event about the same object, and of no other', async () => {
    const { recorder, clock, stored } = setUp()
    recorder.event(about('dv'), failed)
    await clock.advance(60_000)
    recorder.event(about('dv'), failed)
    recorder.event(about('dv'), { ...failed, message: 'other luck' })
    recorder.event(about('dv'), { ...failed, type: 'Normal' })
    recorder.event(about('other'), failed)
    await recorder.flush()
    const [first, ...others] = stored()
    assert.deepEqual(
      [first?.count, first?.firstTimestamp, first?.lastTimestamp],
      [2, '2026-03-01T12:00:00Z', '2026-03-01T12:01:00Z'],
    )
    assert.deepEqual(
      others.map(({ count }) => count),
      [1, 1, 1],
    )
    assert.equal(new Set(stored().map(({ metadata }) => metadata.name)).size, 4)
  })

  it('starts a new count when the former event has been cleaned up', async () => {
    const { recorder, api, stored } = setUp()
    recorder.event(about('dv'), failed)
    await recorder.flush()
    api.objects.clear()
    recorder.event(about('dv'), failed)
    recorder.event(about('dv'), failed)
    await recorder.flush()
    assert.deepEqual(
      stored().map(({ count }) => count),
      [2],
    )
  })

  it('tells of objects without a namespace in default', async () => {
    const { recorder, stored } = setUp()
    recorder.event(about('cdi', ''), bound)
    await recorder.flush()
    const [event] = stored() as [StoredEvent]
    assert.equal(event.metadata.namespace, 'default')
    assert.ok(!Object.hasOwn(event.involvedObject, 'namespace'))
  })

  it('keeps names within what the API takes', async () => {
    const { recorder, stored } = setUp()
    recorder.event(about('x'.repeat(253)), bound)
    await recorder.flush()
    assert.ok((stored()[0]?.metadata.name.length ?? 0) <= 253)
  })

  it('drops what is told of a namespace that is going away, and goes on', async () => {
    const answers = [
      new ApiError({ status: 403, reason: 'Forbidden', message: 'being terminated' }),
      new ApiError({ status: 404, reason: 'NotFound', message: 'namespaces "vms" not found' }),
    ]
    const api = new MemoryApi()
    const client = api.client()
    const { recorder, outcomes } = setUp({
      ...client,
      create: async (kind, object, signal) => {
        const answer = answers.shift()
        if (answer) throw answer
        return client.create(kind, object, signal)
      },
    })
    for (const message of ['1', '2', '3']) recorder.event(about('dv'), { ...failed, message })
    await recorder.flush()
    assert.deepEqual(await outcomes(), { dropped: 2, sent: 1 })
  })

  it('tries again when the API server is away, in the order of events', async () => {
    let isAway = true
    const api = new MemoryApi()
    const client = api.client()
    const { recorder, clock, outcomes } = setUp({
      ...client,
      create: async (kind, object, signal) => {
        if (isAway) throw new ConnectionError('away')
        return client.create(kind, object, signal)
      },
    })
    recorder.event(about('dv'), { ...failed, message: '1' })
    recorder.event(about('dv'), { ...failed, message: '2' })
    await clock.advance(5_000)
    isAway = false
    await clock.advance(20_000)
    await recorder.flush()
    assert.deepEqual(await outcomes(), { sent: 2 })
    assert.deepEqual(
      [...api.objects.values()].map((event) => (event as StoredEvent).message),
      ['1', '2'],
    )
  })

  it('gives up an event that the API does not take, without holding the others', async () => {
    let calls = 0
    const api = new MemoryApi()
    const client = api.client()
    const { recorder, outcomes } = setUp({
      ...client,
      create: async (kind, object, signal) => {
        if (++calls === 1) throw new ApiError({ status: 422, reason: 'Invalid', message: 'no' })
        return client.create(kind, object, signal)
      },
    })
    recorder.event(about('dv'), failed)
    recorder.event(about('dv'), bound)
    await recorder.flush()
    assert.deepEqual(await outcomes(), { failed: 1, sent: 1 })
  })

  it('lets one object tell 25 events at once, and one more each five minutes', async () => {
    const { recorder, clock, outcomes } = setUp()
    for (let told = 0; told < 40; told++) recorder.event(about('dv'), { ...failed, message: String(told) })
    recorder.event(about('other'), bound)
    await recorder.flush()
    assert.deepEqual(await outcomes(), { limited: 15, sent: 26 })
    await clock.advance(300_000)
    recorder.event(about('dv'), bound)
    await recorder.flush()
    assert.equal((await outcomes())['sent'], 27)
  })

  it('sends what waits when it is stopped, but not for longer than it is given', async () => {
    const { recorder, stored } = setUp()
    recorder.event(about('dv'), bound)
    await recorder.stop()
    assert.equal(stored().length, 1)
    recorder.event(about('dv'), failed)
    await recorder.flush()
    assert.equal(stored().length, 1)

    const hanging = setUp({
      create: (_kind, _object, signal) =>
        new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason as Error))),
      patch: () => Promise.reject(new Error('never called')),
    })
    hanging.recorder.event(about('dv'), bound)
    const stopping = hanging.recorder.stop(1_000)
    await hanging.clock.advance(1_000)
    await stopping
    assert.deepEqual(await hanging.outcomes(), { dropped: 1 })
  })
})
