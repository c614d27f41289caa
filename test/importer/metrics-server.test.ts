import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { describe, it } from 'node:test'
import { connect as connectTls } from 'node:tls'
import { Progress } from '../../importer/progress.ts'
import { serveWorkerMetrics } from '../../importer/metrics-server.ts'

const options = { progress: new Progress(), ownerUid: 'uid', port: 0, host: '127.0.0.1' }

describe("the worker's metrics server", () => {
  it('ends although a reader is in the middle of connecting', async () => {
    const server = await serveWorkerMetrics(options)
    const reader = connect({ port: server.port, host: '127.0.0.1' })
    await once(reader, 'connect')
    const gone = once(reader, 'close')
    reader.resume()
    await server[Symbol.asyncDispose]()
    await gone
    assert.ok(reader.destroyed)
  })

  it('ends although a reader keeps its connection', async () => {
    const server = await serveWorkerMetrics(options)
    const reader = connectTls({ port: server.port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(reader, 'secureConnect')
    reader.on('error', () => {})
    const gone = once(reader, 'close')
    reader.write('GET /metrics HTTP/1.1\r\nHost: worker\r\nConnection: keep-alive\r\n\r\n')
    const [answer] = (await once(reader, 'data')) as [Buffer]
    assert.match(answer.toString(), /^HTTP\/1\.1 200 OK/)
    reader.resume()
    await server[Symbol.asyncDispose]()
    await gone
    assert.ok(reader.destroyed)
  })
})
