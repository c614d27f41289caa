import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { ApiError, ConnectionError, isConflict, isInvalid, isNamespaceTerminating } from '../../../src/kube/client.ts'
import type { JsonClient } from '../../../src/kube/client.ts'
import { httpClient } from '../../fixtures/http-client.ts'
import { thingKind } from '../../fixtures/watch-server.ts'

interface Seen {
  readonly method: string
  readonly url: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

type Answer = (response: ServerResponse, seen: Seen) => void

interface Server extends AsyncDisposable {
  readonly url: string
  readonly client: JsonClient
  readonly seen: Seen[]
  readonly renewals: () => number
}

/** A server that gives these answers one after the other; the last one stays. */
async function serve(answers: readonly Answer[], tokens: readonly string[] = []): Promise<Server> {
  const seen: Seen[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = '', url = '', headers } = request
      const one = { method, url, headers, body: Buffer.concat(chunks).toString() }
      const answer = answers[Math.min(seen.length, answers.length - 1)]
      seen.push(one)
      answer?.(response, one)
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const { client, renewals } = httpClient(url, tokens)
  return {
    url,
    client,
    seen,
    renewals,
    async [Symbol.asyncDispose]() {
      await client.close()
      server.closeAllConnections()
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
      })
    },
  }
}

function json(status: number, body: unknown, headers: Record<string, string> = {}): Answer {
  return (response) => {
    response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
  }
}

const cut: Answer = (response) => response.destroy()
const cutInside: Answer = (response) => {
  response.writeHead(200, { 'content-length': '1000' }).write('{"metadata":')
  setImmediate(() => response.destroy())
}

function status(code: number, reason: string, details: object = {}): Answer {
  return json(code, { kind: 'Status', code, reason, message: `it is ${reason}`, details })
}

const thing = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'ns' }, data: { x: 'y' } }
const stored = {
  ...thing,
  metadata: { ...thing.metadata, uid: 'u', resourceVersion: '1' },
  unknownField: { kept: true },
}
const key = { namespace: 'ns', name: 'a' }

describe('client', () => {
  it('reads objects with all their fields, and undefined for those that are not there', async () => {
    await using server = await serve([json(200, stored), status(404, 'NotFound')])
    assert.deepEqual(await server.client.get(thingKind, key), stored)
    assert.equal(await server.client.get(thingKind, key), undefined)
    assert.equal(server.seen[0]?.url, '/api/v1/namespaces/ns/configmaps/a')
  })

  it('finds kinds of groups and of the whole cluster under their paths', async () => {
    await using server = await serve([json(200, stored)])
    const profiles = {
      group: 'cdi.kubevirt.io',
      version: 'v1beta1',
      plural: 'storageprofiles',
      kind: 'StorageProfile',
      namespaced: false,
    }
    await server.client.get(profiles, { name: 'a b' })
    assert.equal(server.seen[0]?.url, '/apis/cdi.kubevirt.io/v1beta1/storageprofiles/a%20b')
  })

  it('lets no name lead to another path', async () => {
    await using server = await serve([json(200, stored)])
    for (const wrong of [
      { namespace: '..', name: 'a' },
      { namespace: 'ns', name: '..' },
      { namespace: '.', name: 'a' },
    ]) {
      await assert.rejects(server.client.get(thingKind, wrong), RangeError)
    }
    await assert.rejects(server.client.list(thingKind, { namespace: '..' }), RangeError)
    assert.deepEqual(server.seen, [])
  })

  for (const [type, contentType] of [
    ['merge', 'application/merge-patch+json'],
    ['json', 'application/json-patch+json'],
    ['apply', 'application/apply-patch+yaml'],
  ] as const) {
    it(`sends a ${type} patch as ${contentType}`, async () => {
      await using server = await serve([json(200, stored)])
      const options = { type, subresource: 'status', fieldManager: 'me', force: true } as const
      assert.deepEqual(await server.client.patch(thingKind, key, { data: { x: null } }, options), stored)
      const [seen] = server.seen
      assert.equal(seen?.headers['content-type'], contentType)
      assert.equal(seen?.method, 'PATCH')
      assert.equal(seen?.url, '/api/v1/namespaces/ns/configmaps/a/status?fieldManager=me&force=true')
      assert.equal(seen?.body, '{"data":{"x":null}}')
    })
  }

  it('sends preconditions and policy of a deletion, and tells when there was nothing to delete', async () => {
    await using server = await serve([json(200, {}), status(404, 'NotFound')])
    assert.equal(await server.client.delete(thingKind, key, { uid: 'u', propagationPolicy: 'Foreground' }), true)
    assert.equal(await server.client.delete(thingKind, key), false)
    assert.deepEqual(JSON.parse(server.seen[0]?.body ?? ''), {
      apiVersion: 'v1',
      kind: 'DeleteOptions',
      preconditions: { uid: 'u' },
      propagationPolicy: 'Foreground',
    })
  })

  it('makes an error of what the API server says, with its text, reason and causes', async () => {
    const causes = [{ reason: 'FieldValueInvalid', field: 'spec.x', message: 'must be small' }]
    await using server = await serve([
      status(422, 'Invalid', { causes }),
      status(409, 'Conflict'),
      status(403, 'Forbidden', { causes: [{ reason: 'NamespaceTerminating' }] }),
    ])
    const invalid = await server.client.create(thingKind, thing).catch((error: unknown) => error)
    assert.ok(isInvalid(invalid))
    assert.deepEqual([invalid.message, invalid.reason, invalid.causes], ['it is Invalid', 'Invalid', causes])
    assert.equal(invalid.request, 'POST /api/v1/namespaces/ns/configmaps')
    await assert.rejects(server.client.create(thingKind, thing), isConflict)
    await assert.rejects(server.client.create(thingKind, thing), isNamespaceTerminating)
  })

  it('makes an error of a page that a proxy sent', async () => {
    await using server = await serve([(response) => response.writeHead(400).end('<h1>Bad Request</h1>')])
    await assert.rejects(server.client.get(thingKind, key), { status: 400, message: '<h1>Bad Request</h1>' })
  })

  it('repeats a read when the connection breaks, before or inside of the answer', async () => {
    await using server = await serve([cut, cutInside, json(200, stored)])
    assert.deepEqual(await server.client.get(thingKind, key), stored)
    assert.equal(server.seen.length, 3)
  })

  it('repeats a merge patch on 503, but never a creation or a JSON patch of which nobody knows what it did', async () => {
    await using merge = await serve([status(503, 'Unavailable'), json(200, stored)])
    await merge.client.patch(thingKind, key, {}, { type: 'merge' })
    assert.equal(merge.seen.length, 2)
    await using create = await serve([cut, json(201, stored)])
    await assert.rejects(create.client.create(thingKind, thing), ConnectionError)
    assert.equal(create.seen.length, 1)
    await using patch = await serve([cut, json(200, stored)])
    await assert.rejects(patch.client.patch(thingKind, key, [], { type: 'json' }), ConnectionError)
    assert.equal(patch.seen.length, 1)
  })

  it('repeats even a creation when the server says when to come back', async () => {
    await using server = await serve([
      json(429, { kind: 'Status', message: 'too many requests' }, { 'retry-after': '1' }),
      json(500, { kind: 'Status', message: 'later', details: { retryAfterSeconds: 2 } }),
      json(201, stored),
    ])
    assert.deepEqual(await server.client.create(thingKind, thing), stored)
  })

  it('does not repeat what failed by the verdict of a webhook', async () => {
    await using server = await serve([status(500, 'InternalError')])
    await assert.rejects(server.client.get(thingKind, key), { status: 500 })
    assert.equal(server.seen.length, 1)
  })

  it('gives up after some tries', async () => {
    await using server = await serve([status(503, 'Unavailable')])
    await assert.rejects(server.client.get(thingKind, key), ApiError)
    assert.equal(server.seen.length, 5)
  })

  it('reads its credentials again on 401, once', async () => {
    await using server = await serve([status(401, 'Unauthorized'), json(200, stored)], ['old', 'new'])
    assert.deepEqual(await server.client.get(thingKind, key), stored)
    assert.deepEqual(
      server.seen.map(({ headers }) => headers.authorization),
      ['Bearer old', 'Bearer new'],
    )
    await using refusing = await serve([status(401, 'Unauthorized')], ['old', 'new'])
    await assert.rejects(refusing.client.get(thingKind, key), { status: 401 })
    assert.equal(refusing.seen.length, 2)
    assert.equal(refusing.renewals(), 1)
  })

  it('says which request could not be sent where nobody listens', async () => {
    const { client } = httpClient('http://127.0.0.1:1')
    const error = await client.create(thingKind, thing).catch((error: unknown) => error)
    assert.ok(error instanceof ConnectionError && error.unsent)
    assert.match(error.message, /POST \/api\/v1\/namespaces\/ns\/configmaps: .*ECONNREFUSED/)
    await client.close()
  })

  it('stops waiting for its next try when it is told to', async () => {
    await using server = await serve([status(503, 'Unavailable')])
    const reason = new Error('enough')
    await assert.rejects(server.client.get(thingKind, key, AbortSignal.abort(reason)), reason)
  })

  it('joins pages and begins anew without pages when the list expires in between', async () => {
    const page = (names: string[], next?: string): Answer =>
      json(200, {
        metadata: { resourceVersion: '9', continue: next },
        items: names.map((name) => ({ metadata: { name } })),
      })
    await using whole = await serve([page(['a', 'b'], 'more'), page(['c'])])
    const list = await whole.client.list(thingKind, { labelSelector: 'x=y' })
    assert.deepEqual(
      list.items.map(({ metadata, kind }) => `${kind} ${metadata.name}`),
      ['ConfigMap a', 'ConfigMap b', 'ConfigMap c'],
    )
    assert.equal(list.resourceVersion, '9')
    assert.equal(whole.seen[1]?.url, '/api/v1/configmaps?labelSelector=x%3Dy&limit=500&continue=more')
    await using expired = await serve([page(['a'], 'more'), status(410, 'Expired'), page(['a', 'b', 'c'])])
    assert.equal((await expired.client.list(thingKind)).items.length, 3)
    assert.equal(expired.seen[2]?.url, '/api/v1/configmaps')
    await using single = await serve([page(['a'], 'more')])
    assert.equal((await single.client.list(thingKind, { limit: 1 })).continue, 'more')
  })

  it('sends raw requests and returns whatever comes', async () => {
    await using server = await serve([
      (response) => response.writeHead(418, { 'x-tea': 'green' }).end('short and stout'),
    ])
    const { status, body, headers } = await server.client.raw('POST', '/teapot', { tea: true })
    assert.deepEqual([status, body, headers['x-tea']], [418, 'short and stout', 'green'])
    assert.equal(server.seen[0]?.body, '{"tea":true}')
  })

  it('hands over events of a watch that arrive in pieces, and throws what the server calls an error', async () => {
    const event = (name: string): string =>
      `${JSON.stringify({ type: 'ADDED', object: { metadata: { name, uid: 'u', resourceVersion: '5' }, text: 'ü' } })}\n`
    const error = { type: 'ERROR', object: { kind: 'Status', code: 410, reason: 'Expired', message: 'too old' } }
    await using server = await serve([
      (response) => {
        const bytes = Buffer.from(`${event('a')}\n${event('b')}${JSON.stringify(error)}\n`)
        response.writeHead(200).flushHeaders()
        // Byte by byte, so that lines and characters are cut anywhere.
        let at = 0
        const next = (): void => {
          if (at === bytes.length) response.end()
          else response.write(bytes.subarray(at, ++at), () => setImmediate(next))
        }
        next()
      },
    ])
    const seen: string[] = []
    const watching = async (): Promise<void> => {
      for await (const { object } of server.client.watch(thingKind, { resourceVersion: '4' }))
        seen.push(object.metadata.name)
    }
    await assert.rejects(watching(), { status: 410, reason: 'Expired', message: 'too old' })
    assert.deepEqual(seen, ['a', 'b'])
    assert.match(server.seen[0]?.url ?? '', /watch=true&resourceVersion=4&allowWatchBookmarks=true/)
  })

  it('takes a watch that is silent for too long as broken', async () => {
    await using server = await serve([(response) => response.writeHead(200).flushHeaders()])
    const watching = async (): Promise<void> => {
      for await (const _ of server.client.watch(thingKind, { resourceVersion: '4', idleTimeoutMs: 50 })) assert.fail()
    }
    await assert.rejects(watching(), ConnectionError)
  })

  it('ends a watch with the reason of its signal', async () => {
    await using server = await serve([(response) => response.writeHead(200).flushHeaders()])
    const stop = new AbortController()
    const watching = (async () => {
      for await (const _ of server.client.watch(thingKind, { resourceVersion: '4', signal: stop.signal })) assert.fail()
    })()
    const reason = new Error('enough')
    while (server.seen.length === 0) await new Promise((resolve) => setImmediate(resolve))
    stop.abort(reason)
    await assert.rejects(watching, reason)
  })
})
