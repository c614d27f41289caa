import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { execa } from 'execa'
import { Cache } from '../../../src/kube/cache.ts'
import type { Change } from '../../../src/kube/cache.ts'
import { isConflict, isExpired, isNotFound } from '../../../src/kube/client.ts'
import type { ConnectedClient } from '../../../src/kube/client.ts'
import { systemClock } from '../../../src/kube/clock.ts'
import { runController, watching } from '../../../src/kube/controller.ts'
import { EventRecorder } from '../../../src/kube/events.ts'
import { runAsLeader } from '../../../src/kube/leader.ts'
import { formatKey, keyOf } from '../../../src/kube/object.ts'
import type { Kind, KubeObject } from '../../../src/kube/object.ts'
import { controllerRef } from '../../../src/kube/owners.ts'
import { silentLog } from '../../../src/log.ts'
import { startApiServer } from '../../fixtures/apiserver.ts'
import type { ApiServer } from '../../fixtures/apiserver.ts'

interface ConfigMap extends KubeObject {
  data?: Record<string, string>
}

const configMaps: Kind<ConfigMap> = {
  group: '',
  version: 'v1',
  plural: 'configmaps',
  kind: 'ConfigMap',
  namespaced: true,
}
const namespaces: Kind = { group: '', version: 'v1', plural: 'namespaces', kind: 'Namespace', namespaced: false }
const events: Kind = { group: '', version: 'v1', plural: 'events', kind: 'Event', namespaced: true }
const leases: Kind<KubeObject & { spec: { holderIdentity?: string; leaseTransitions?: number } }> = {
  group: 'coordination.k8s.io',
  version: 'v1',
  plural: 'leases',
  kind: 'Lease',
  namespaced: true,
}

async function eventually(what: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1_200; tries++) {
    if (await what()) return
    await delay(50)
  }
  assert.fail(`never happened: ${what.toString()}`)
}

describe('against a real API server', () => {
  let api: ApiServer
  let client: ConnectedClient
  let serial = 0

  before(async () => {
    api = await startApiServer()
    client = api.client()
  })
  after(() => api[Symbol.asyncDispose]())

  /** A namespace of its own for each test. */
  async function makeNamespace(): Promise<string> {
    const name = `test-${serial++}`
    await client.create(namespaces, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    return name
  }

  function create(namespace: string, name: string, data: Record<string, string> = {}): Promise<ConfigMap> {
    return client.create(configMaps, { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data })
  }

  async function runCache<T extends KubeObject>(kind: Kind<T>, namespace: string) {
    const cache = new Cache<T>({ client, kind, namespace, log: silentLog() })
    const changes: Change<T>[] = []
    cache.onChange((change) => changes.push(change))
    const stop = new AbortController()
    const running = cache.start(stop.signal)
    await cache.synced
    return {
      cache,
      changes,
      async [Symbol.asyncDispose]() {
        stop.abort()
        await running
      },
    }
  }

  it('refuses a merge patch with an outdated version, and none without', async () => {
    const namespace = await makeNamespace()
    const first = await create(namespace, 'a', { x: '1', y: '1' })
    const key = keyOf(first)
    const patched = await client.patch(configMaps, key, { data: { x: '2', y: null } }, { type: 'merge' })
    assert.deepEqual(patched.data, { x: '2' })
    const { resourceVersion } = first.metadata
    const stale = client.patch(configMaps, key, { metadata: { resourceVersion }, data: { x: '3' } }, { type: 'merge' })
    await assert.rejects(stale, isConflict)
    assert.deepEqual((await client.get(configMaps, key))?.data, { x: '2' })
  })

  it('creates by server-side apply, changes by JSON patch, deletes by UID', async () => {
    const namespace = await makeNamespace()
    const key = { namespace, name: 'applied' }
    const body = { apiVersion: 'v1', kind: 'ConfigMap', metadata: key, data: { x: '1' } }
    const made = await client.patch(configMaps, key, body, { type: 'apply', fieldManager: 'test' })
    const operations = [{ op: 'replace', path: '/data/x', value: '2' }]
    assert.deepEqual((await client.patch(configMaps, key, operations, { type: 'json' })).data, { x: '2' })
    await assert.rejects(client.delete(configMaps, key, { uid: 'another' }), isConflict)
    assert.equal(await client.delete(configMaps, key, { uid: made.metadata.uid }), true)
    assert.equal(await client.delete(configMaps, key), false)
    await assert.rejects(create('no-such-namespace', 'a'), isNotFound)
  })

  it('keeps a cache alive over the death and return of the API server', async () => {
    const namespace = await makeNamespace()
    await create(namespace, 'before')
    await using running = await runCache(configMaps, namespace)
    const { cache, changes } = running
    await api.kill()
    await delay(500)
    assert.ok(cache.get({ namespace, name: 'before' }), 'what was known stays known')
    await api.restart()
    await client.delete(configMaps, { namespace, name: 'before' })
    await create(namespace, 'after')
    await eventually(() => cache.get({ namespace, name: 'after' }) !== undefined && cache.size === 1)
    assert.deepEqual(
      changes.map((change) => [change.old?.metadata.name, change.new?.metadata.name]),
      [
        [undefined, 'before'],
        ['before', undefined],
        [undefined, 'after'],
      ],
    )
  })

  it('sees deletion and return of a name while nobody watched as two changes', async () => {
    const namespace = await makeNamespace()
    const first = await create(namespace, 'a')
    await using running = await runCache(configMaps, namespace)
    const { cache, changes } = running
    await api.kill()
    await api.restart()
    const other = api.client()
    await other.delete(configMaps, keyOf(first))
    const second = await other.create(configMaps, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { namespace, name: 'a' },
    })
    await eventually(() => cache.get(keyOf(first))?.metadata.uid === second.metadata.uid)
    assert.deepEqual(
      changes.map((change) => [change.old?.metadata.uid, change.new?.metadata.uid]),
      [
        [undefined, first.metadata.uid],
        [first.metadata.uid, undefined],
        [undefined, second.metadata.uid],
      ],
    )
  })

  it('is told that a version is too old after a compaction, and a cache lists anew', async () => {
    const namespace = await makeNamespace()
    const { resourceVersion } = await client.list(events, { namespace })
    await using recorder = new EventRecorder({ client, component: 'test', log: silentLog() })
    const about = await create(namespace, 'a')
    recorder.event(about, { type: 'Normal', reason: 'First', message: '1' })
    await recorder.flush()
    await using running = await runCache(events, namespace)
    await api.kill()
    await api.restart()
    await api.compact()
    const watching = (async () => {
      for await (const _ of client.watch(events, { namespace, resourceVersion })) break
    })()
    await assert.rejects(watching, isExpired)
    recorder.event(about, { type: 'Normal', reason: 'Second', message: '2' })
    await eventually(() => running.cache.size === 2)
  })

  it('watches from a version on until the server ends it in order', async () => {
    const namespace = await makeNamespace()
    const { resourceVersion } = await client.list(configMaps, { namespace })
    const made = await create(namespace, 'a')
    const types: string[] = []
    for await (const event of client.watch(configMaps, { namespace, resourceVersion, timeoutSeconds: 1 })) {
      types.push(event.type)
      assert.ok(BigInt(event.object.metadata.resourceVersion) >= BigInt(made.metadata.resourceVersion))
    }
    assert.deepEqual(types, ['ADDED'])
  })

  it('joins the pages of a long list', async () => {
    const namespace = await makeNamespace()
    for (let made = 0; made < 7; made++) await create(namespace, `thing-${made}`)
    const first = await client.list(configMaps, { namespace, limit: 3 })
    assert.equal(first.items.length, 3)
    const second = await client.list(configMaps, { namespace, limit: 10, continue: first.continue })
    assert.equal(second.items.length, 4)
    assert.equal(second.continue, undefined)
    assert.equal((await client.list(configMaps, { namespace })).items[0]?.kind, 'ConfigMap')
  })

  it('shows events to kubectl, joined by their count, and survives the end of a namespace', async () => {
    const namespace = await makeNamespace()
    const about = await create(namespace, 'a')
    await using recorder = new EventRecorder({ client, component: 'test-controller', log: silentLog() })
    for (let told = 0; told < 3; told++) {
      recorder.event(about, { type: 'Warning', reason: 'NoLuck', message: 'it did not work' })
    }
    recorder.event(about, { type: 'Normal', reason: 'Luck', message: 'it worked' })
    await recorder.flush()
    const kubectl = await execa('kubectl', [
      '--kubeconfig',
      api.kubeconfig,
      '-n',
      namespace,
      'describe',
      'configmap',
      'a',
    ])
    assert.match(kubectl.stdout, /Warning\s+NoLuck\s+\S+ \(x3 over \S+\)\s+test-controller\s+it did not work/)
    assert.match(kubectl.stdout, /Normal\s+Luck\s+\S+\s+test-controller\s+it worked/)

    await client.delete(namespaces, { name: namespace })
    recorder.event(about, { type: 'Normal', reason: 'TooLate', message: 'nobody hears this' })
    recorder.event(
      { ...about, metadata: { ...about.metadata, namespace: 'gone' } },
      {
        type: 'Normal',
        reason: 'TooLate',
        message: 'nobody hears this',
      },
    )
    await recorder.flush()
    const { items } = await client.list(events, { namespace })
    assert.equal(items.length, 2)
  })

  it('lets one of two candidates lead, and the other after the first has left', async () => {
    const namespace = await makeNamespace()
    const lease = { namespace, name: 'the-lease' }
    const order: string[] = []
    const candidate = (identity: string) => {
      const stop = new AbortController()
      const ended = runAsLeader({
        client: api.client(),
        lease,
        identity,
        log: silentLog(),
        signal: stop.signal,
        retryPeriodMs: 100,
        lead: async (signal) => {
          order.push(`${identity} begins`)
          await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
          order.push(`${identity} ends`)
        },
      })
      return { stop, ended }
    }
    const a = candidate('a')
    await eventually(() => order.length === 1)
    const b = candidate('b')
    await delay(500)
    a.stop.abort()
    await a.ended
    await eventually(() => order.includes('b begins'))
    const held = await client.get(leases, lease)
    assert.deepEqual([held?.spec.holderIdentity, held?.spec.leaseTransitions], ['b', 1])
    b.stop.abort()
    await b.ended
    assert.deepEqual(order, ['a begins', 'a ends', 'b begins', 'b ends'])
    assert.equal((await client.get(leases, lease))?.spec.holderIdentity, undefined)
  })

  it('runs a controller that makes a child for each object, over a restart of the API server', async () => {
    const namespace = await makeNamespace()
    await using parents = await runCache(configMaps, namespace)
    const stop = new AbortController()
    const childOf = (name: string): string => `child-of-${name}`
    const controller = runController(
      {
        name: 'test',
        watches: [watching(parents.cache, ({ metadata }) => (metadata.name.startsWith('parent') ? [metadata] : []))],
        async reconcile(key) {
          const parent = parents.cache.get(key)
          if (parent === undefined || parents.cache.get({ namespace, name: childOf(key.name) })) return
          await client.create(configMaps, {
            apiVersion: 'v1',
            kind: 'ConfigMap',
            metadata: { namespace, name: childOf(key.name), ownerReferences: [controllerRef(parent)] },
          })
        },
      },
      { log: silentLog(), clock: systemClock, signal: stop.signal },
    )
    await create(namespace, 'parent-1')
    await eventually(() => parents.cache.get({ namespace, name: 'child-of-parent-1' }) !== undefined)
    await api.restart()
    await create(namespace, 'parent-2')
    await eventually(() => parents.cache.get({ namespace, name: 'child-of-parent-2' }) !== undefined)
    stop.abort()
    await controller
    const names = parents.cache.list().map((object) => formatKey(keyOf(object)))
    assert.equal(names.length, 4)
  })
})
