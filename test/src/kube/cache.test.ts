import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { setImmediate as turn, setTimeout as delay } from 'node:timers/promises'
import * as fc from 'fast-check'
import { Cache, isNewer } from '../../../src/kube/cache.ts'
import type { Change } from '../../../src/kube/cache.ts'
import type { KubeObject } from '../../../src/kube/object.ts'
import { silentLog } from '../../../src/log.ts'
import { hastyClock, httpClient } from '../../fixtures/http-client.ts'
import { thingKind, WatchServer } from '../../fixtures/watch-server.ts'
import type { Thing } from '../../fixtures/watch-server.ts'

interface Running extends AsyncDisposable {
  readonly server: WatchServer
  readonly cache: Cache<Thing>
  readonly changes: Change<Thing>[]
}

async function runCache(prepare: (server: WatchServer) => void = () => undefined, optional = false): Promise<Running> {
  const stack = new AsyncDisposableStack()
  const server = stack.use(await WatchServer.start())
  prepare(server)
  const { client } = stack.use(httpClient(server.url))
  const cache = new Cache<Thing>({ client, kind: thingKind, log: silentLog(), clock: hastyClock, optional })
  const changes: Change<Thing>[] = []
  cache.onChange((change) => changes.push(change))
  const stop = new AbortController()
  const running = cache.start(stop.signal)
  stack.defer(async () => {
    stop.abort()
    await running
  })
  return { server, cache, changes, [Symbol.asyncDispose]: () => stack.disposeAsync() }
}

function contentOf(objects: Iterable<KubeObject>): string[] {
  return [...objects].map(({ metadata }) => `${metadata.name} ${metadata.uid} ${metadata.resourceVersion}`).sort()
}

async function eventually(what: () => boolean): Promise<void> {
  for (let tries = 0; tries < 4_000 && !what(); tries++) await delay(2)
  assert.ok(what(), `never happened: ${what.toString()}`)
}

function isCurrent({ server, cache }: Running): boolean {
  return contentOf(server.objects.values()).join() === contentOf(cache.list()).join()
}

/** What a handler knows that believed every change; fails when a change contradicts the ones before. */
function believed(changes: readonly Change<Thing>[]): Map<string, Thing> {
  const known = new Map<string, Thing>()
  for (const change of changes) {
    const name = (change.new ?? change.old)?.metadata.name as string
    assert.equal(known.get(name), change.old, 'the old state must be the one told last')
    if (change.old && change.new) assert.equal(change.old.metadata.uid, change.new.metadata.uid)
    if (change.new) known.set(name, change.new)
    else known.delete(name)
  }
  return known
}

type Step =
  | { readonly do: 'put' | 'delete'; readonly name: string }
  | { readonly do: 'repeat'; readonly stepsBack: number }
  | { readonly do: 'refuse'; readonly status: number }
  | { readonly do: 'reset' | 'end' | 'damage' | 'compact' | 'bookmark' | 'silence-then-reset' | 'pause' }

const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), name: fc.constantFrom('a', 'b', 'c', 'd') }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constant('delete' as const), name: fc.constantFrom('a', 'b', 'c', 'd') }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('repeat' as const), stepsBack: fc.nat(5) }) },
    {
      weight: 2,
      arbitrary: fc.record({ do: fc.constant('refuse' as const), status: fc.constantFrom(0, 401, 410, 429, 500, 503) }),
    },
    {
      weight: 7,
      arbitrary: fc.record({
        do: fc.constantFrom<'reset' | 'end' | 'damage' | 'compact' | 'bookmark' | 'silence-then-reset' | 'pause'>(
          'reset',
          'end',
          'damage',
          'compact',
          'bookmark',
          'silence-then-reset',
          'pause',
        ),
      }),
    },
  ),
  { minLength: 5, maxLength: 40 },
)

async function take(server: WatchServer, step: Step, at: number): Promise<void> {
  switch (step.do) {
    case 'put':
      return server.put(step.name, String(at))
    case 'delete':
      return server.delete(step.name)
    case 'repeat':
      return server.repeat(step.stepsBack)
    case 'refuse':
      server.refusals.push(step.status)
      return undefined
    case 'reset':
      return server.reset()
    case 'end':
      return server.end()
    case 'damage':
      return server.putDamaged('b', String(at))
    case 'compact':
      server.compact()
      return server.reset()
    case 'bookmark':
      return server.bookmark()
    case 'silence-then-reset': {
      // Deleted and made again while nobody looked, and the history of it forgotten.
      server.end()
      server.delete('a')
      server.put('a', String(at))
      return server.compact()
    }
    case 'pause':
      // Long enough for the cache to be back on its watch.
      await delay(10)
      return undefined
    default:
      return step satisfies never
  }
}

describe('cache', () => {
  it('holds what the server holds and tells changes without contradiction, whatever happens on the way', async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (steps) => {
        await using running = await runCache((server) => server.put('a', 'first'))
        const { server, cache, changes } = running
        await cache.synced
        for (const [at, step] of steps.entries()) {
          await take(server, step, at)
          await turn()
        }
        await eventually(() => isCurrent(running))
        assert.deepEqual(contentOf(believed(changes).values()), contentOf(cache.list()))
      }),
      { numRuns: 60 },
    )
  })

  it('is synced only after the first list succeeded', async () => {
    await using running = await runCache((server) => {
      server.put('a', 'x')
      server.refusals.push(500, 500)
    })
    assert.equal(running.cache.hasSynced, false)
    await running.cache.synced
    assert.equal(running.cache.size, 1)
  })

  it('tells of an object that was deleted and made again unseen as gone and added', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    const { server, cache, changes } = running
    await cache.synced
    await eventually(() => server.watchers === 1)
    server.end()
    server.delete('a')
    server.put('a', 'y')
    server.compact()
    await eventually(() => isCurrent(running))
    assert.deepEqual(
      changes.map((change) => [change.old?.metadata.uid, change.new?.metadata.uid]),
      [
        [undefined, 'uid-1'],
        ['uid-1', undefined],
        [undefined, 'uid-2'],
      ],
    )
  })

  it('takes a broken watch up again without listing', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    const { server, cache } = running
    await cache.synced
    for (let round = 0; round < 3; round++) {
      await eventually(() => server.watchers === 1)
      server.put('b', String(round))
      await eventually(() => isCurrent(running))
      server.reset()
      await eventually(() => server.watchers === 0)
    }
    await eventually(() => server.watchers === 1)
    assert.equal(server.requests.filter((request) => !request.includes('watch=true')).length, 1)
  })

  it('lists anew after 410', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    const { server, cache } = running
    await cache.synced
    await eventually(() => server.watchers === 1)
    server.end()
    server.put('b', 'unseen')
    server.compact()
    await eventually(() => isCurrent(running))
    assert.deepEqual(
      server.requests.slice(0, 5).map((request) => (request.includes('watch=true') ? 'watch' : 'list')),
      ['list', 'watch', 'watch', 'list', 'watch'].slice(0, server.requests.length),
    )
  })

  it('drops events that come late or twice', async () => {
    await using running = await runCache((server) => server.put('a', 'old'))
    const { server, cache, changes } = running
    await cache.synced
    await eventually(() => server.watchers === 1)
    server.put('a', 'new')
    server.delete('a')
    server.repeat(2)
    server.repeat(1)
    server.repeat(0)
    server.put('b', 'last')
    await eventually(() => cache.get({ namespace: 'default', name: 'b' }) !== undefined)
    assert.ok(isCurrent(running))
    assert.equal(changes.length, 4)
  })

  it('lists anew when an event came damaged', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    const { server, cache } = running
    await cache.synced
    await eventually(() => server.watchers === 1)
    server.putDamaged('a', 'y')
    await eventually(() => isCurrent(running))
  })

  it('asks for bookmarks and resumes after them', async () => {
    await using running = await runCache()
    const { server, cache } = running
    await cache.synced
    await eventually(() => server.watchers === 1)
    server.compact()
    server.bookmark()
    await delay(20)
    server.end()
    await eventually(() => server.watchers === 1)
    assert.match(server.requests[1] ?? '', /allowWatchBookmarks=true/)
    // The version of the bookmark is one that the server still knows, the list's is not.
    assert.equal(server.requests.filter((request) => !request.includes('watch=true')).length, 1)
  })

  it('joins the pages of a long list', async () => {
    await using running = await runCache((server) => {
      for (let made = 0; made < 1_203; made++) server.put(`thing-${made}`, 'x')
    })
    await running.cache.synced
    assert.equal(running.cache.size, 1_203)
    assert.equal(running.server.requests.filter((request) => request.includes('limit=500')).length, 3)
  })

  it('counts a kind that is not installed as empty when it is optional, and finds it later', async () => {
    await using running = await runCache((server) => {
      server.put('a', 'x')
      server.refusals.push(404)
    }, true)
    await running.cache.synced
    assert.equal(running.cache.size, 0)
    await eventually(() => running.cache.size === 1)
  })

  it('answers by index and by namespace, and follows objects from one value to another', async () => {
    await using running = await runCache((server) => {
      server.put('a', 'red')
      server.put('b', 'red')
    })
    const { server, cache } = running
    cache.addIndex('colour', ({ data }) => [data['value'] ?? ''])
    await cache.synced
    assert.deepEqual(
      cache.byIndex('colour', 'red').map(({ metadata }) => metadata.name),
      ['a', 'b'],
    )
    server.put('a', 'blue')
    server.delete('b')
    await eventually(() => isCurrent(running))
    assert.deepEqual(cache.byIndex('colour', 'red'), [])
    assert.deepEqual(
      cache.byIndex('colour', 'blue').map(({ metadata }) => metadata.name),
      ['a'],
    )
    assert.equal(cache.list('default').length, 1)
    assert.equal(cache.list('elsewhere').length, 0)
  })

  it('goes on when a handler fails, and tells a late handler of what is there', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    const { server, cache, changes } = running
    await cache.synced
    const late: string[] = []
    cache.onChange((change) => {
      late.push(change.new?.metadata.name ?? 'gone')
      throw new Error('a fault in a handler')
    })
    assert.deepEqual(late, ['a'])
    server.put('b', 'y')
    await eventually(() => isCurrent(running))
    assert.deepEqual(late, ['a', 'b'])
    assert.equal(changes.length, 2)
  })

  it('fills in apiVersion and kind, which lists leave out', async () => {
    await using running = await runCache((server) => server.put('a', 'x'))
    await running.cache.synced
    const { apiVersion, kind } = running.cache.get({ namespace: 'default', name: 'a' }) as Thing
    assert.deepEqual({ apiVersion, kind }, { apiVersion: 'v1', kind: 'ConfigMap' })
  })
})

describe('isNewer', () => {
  it('compares as numbers of any size', () => {
    assert.ok(isNewer('10', '9'))
    assert.ok(!isNewer('9', '10'))
    assert.ok(!isNewer('10', '10'))
    assert.ok(isNewer('9223372036854775807', '9223372036854775806'))
  })
})
