import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, it } from 'node:test'
import { connect } from 'node:tls'
import { Agent, request } from 'undici'
import { ApiError } from '../../../src/kube/api-error.ts'
import type { KubeClient } from '../../../src/kube/client.ts'
import { TestClock } from '../../../src/kube/clock.ts'
import { clusterAuthorizer } from '../../../src/kube/metrics-access.ts'
import { serveMetrics } from '../../../src/kube/metrics-server.ts'
import type { MetricsServerOptions } from '../../../src/kube/metrics-server.ts'
import { silentLog } from '../../../src/log.ts'
import { counter, createRegistry, gauge } from '../../../src/metrics.ts'
import { tlsProfileOf } from '../../../src/tls-profile.ts'

async function ask(options: Partial<MetricsServerOptions>, path: string, headers: Record<string, string> = {}) {
  const metrics = createRegistry()
  counter(metrics, { name: 'things_total', help: 'Things', labels: ['kind'] }).inc({ kind: 'odd' })
  await using server = await serveMetrics({
    metrics,
    log: silentLog(),
    port: 0,
    host: '127.0.0.1',
    commonName: 'cdi-deployment',
    ...options,
  })
  const dispatcher = new Agent({ connect: { rejectUnauthorized: false } })
  try {
    const response = await request(`https://127.0.0.1:${server.port}${path}`, { dispatcher, headers })
    return { status: response.statusCode, body: await response.body.text(), headers: response.headers }
  } finally {
    await dispatcher.close()
  }
}

/** A cluster that knows one scraper and one stranger. */
function reviews(): Pick<KubeClient, 'create'> & { asked: string[] } {
  const asked: string[] = []
  return {
    asked,
    create: async (kind, object) => {
      asked.push(kind.kind)
      const { spec } = object as unknown as { spec: { token?: string; user?: string; nonResourceAttributes?: object } }
      if (spec.token === 'broken') throw new ApiError({ status: 500, message: 'no' })
      const isKnown = spec.token === 'scraper' || spec.token === 'stranger'
      const status =
        kind.kind === 'TokenReview'
          ? { authenticated: isKnown, user: { username: spec.token, groups: ['all'] } }
          : { allowed: spec.user === 'scraper' }
      if (kind.kind === 'SubjectAccessReview') {
        assert.deepEqual(spec.nonResourceAttributes, { path: '/metrics', verb: 'get' })
      }
      return { ...object, status } as never
    },
  }
}

describe('metrics server', () => {
  it('shows metrics and health', async () => {
    const metrics = await ask({}, '/metrics?x=y')
    assert.equal(metrics.status, 200)
    assert.match(metrics.body, /things_total\{kind="odd"\} 1/)
    assert.match(String(metrics.headers['content-type']), /^text\/plain/)
    assert.deepEqual((await ask({}, '/healthz')).body, 'OK')
    assert.equal((await ask({ isHealthy: () => false }, '/healthz')).status, 503)
    assert.equal((await ask({}, '/else')).status, 404)
  })

  it('shows metrics only to those whom the cluster allows it, and health to all', async () => {
    const authorize = clusterAuthorizer({ client: reviews() })
    const status = async (token: string | undefined, path = '/metrics'): Promise<number> =>
      (await ask({ authorize }, path, token === undefined ? {} : { authorization: `Bearer ${token}` })).status
    assert.equal(await status(undefined), 401)
    assert.equal(await status('unknown'), 401)
    assert.equal(await status('stranger'), 403)
    assert.equal(await status('scraper'), 200)
    assert.equal(await status('broken'), 500)
    assert.equal(await status(undefined, '/healthz'), 200)
  })

  it('asks the cluster about the same caller once in half a minute', async () => {
    const client = reviews()
    const clock = new TestClock()
    const authorize = clusterAuthorizer({ client, clock })
    await authorize('Bearer scraper', '/metrics')
    await authorize('Bearer scraper', '/metrics')
    assert.deepEqual(client.asked, ['TokenReview', 'SubjectAccessReview'])
    await clock.advance(30_000)
    await authorize('Bearer scraper', '/metrics')
    assert.equal(client.asked.length, 4)
  })
})

describe('metrics registry', () => {
  it('gives the same metric to all who ask for its name', async () => {
    const metrics = createRegistry()
    gauge(metrics, { name: 'depth', help: 'Depth', labels: ['queue'] }).set({ queue: 'a' }, 1)
    gauge(metrics, { name: 'depth', help: 'Depth', labels: ['queue'] }).set({ queue: 'b' }, 2)
    const text = await metrics.metrics()
    assert.match(text, /depth\{queue="a"\} 1\ndepth\{queue="b"\} 2/)
  })

  it('follows the TLS profile of the cluster, for every handshake from then on', async () => {
    await using server = await serveMetrics({
      metrics: createRegistry(),
      log: silentLog(),
      port: 0,
      host: '127.0.0.1',
      commonName: 'cdi-deployment',
    })
    const protocolOf = async (maxVersion: 'TLSv1.2' | 'TLSv1.3'): Promise<string | null> => {
      const socket = connect({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion })
      try {
        await once(socket, 'secureConnect')
        return socket.getProtocol()
      } finally {
        socket.destroy()
      }
    }
    assert.equal(await protocolOf('TLSv1.2'), 'TLSv1.2')
    server.setTlsProfile(tlsProfileOf({ spec: { tlsSecurityProfile: { type: 'Modern', modern: {} } } }))
    await assert.rejects(protocolOf('TLSv1.2'), /protocol version/)
    assert.equal(await protocolOf('TLSv1.3'), 'TLSv1.3')
    server.setTlsProfile(tlsProfileOf(undefined))
    assert.equal(await protocolOf('TLSv1.2'), 'TLSv1.2')
  })
})
