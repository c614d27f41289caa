import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { RequestListener } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { HttpClient } from '../../../../importer/sources/http/client.ts'
import type { ClientResponse } from '../../../../importer/sources/http/client.ts'
import { createTrust } from '../../../../importer/sources/http/trust.ts'
import { silentLog } from '../../../../src/log.ts'

const never = new AbortController().signal
const log = silentLog()

async function startServer(answer: RequestListener) {
  const server = createServer(answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const origin = `http://127.0.0.1:${port}`
  const client = new HttpClient({
    url: new URL(origin),
    credentials: undefined,
    headers: [],
    secureContext: () => createTrust({ ca: [], log }),
    insecureSkipVerify: false,
    proxy: {},
    idleTimeoutMs: 10_000,
    connectTimeoutMs: 10_000,
    userAgent: 'test',
    keepIdle: 8,
    log,
  })
  return {
    client,
    origin,
    async [Symbol.asyncDispose]() {
      await client[Symbol.asyncDispose]()
      server.closeAllConnections()
      server.close()
    },
  }
}

async function textOf(answer: ClientResponse): Promise<string> {
  const chunks: Buffer[] = []
  await answer.body((chunk) => void chunks.push(Buffer.from(chunk)))
  return Buffer.concat(chunks).toString()
}

describe('an answer without a body', () => {
  const answer: RequestListener = (request, response) => {
    if (request.url === '/empty') response.writeHead(401, { 'content-length': '0' }).end()
    else response.end('the disk')
  }

  it('does no harm to the next one on its connection when it is discarded late', async () => {
    await using server = await startServer(answer)
    const { client, origin } = server
    const empty = await client.send({ method: 'GET', url: new URL('/empty', origin) }, never)
    const next = await client.send({ method: 'GET' }, never)
    empty.discard()
    assert.equal(await textOf(next), 'the disk')
  })

  it('does not take the bytes of the next one on its connection when it is read late', async () => {
    await using server = await startServer(answer)
    const { client, origin } = server
    const empty = await client.send({ method: 'GET', url: new URL('/empty', origin) }, never)
    const next = await client.send({ method: 'GET' }, never)
    assert.equal(await textOf(empty), '')
    assert.equal(await textOf(next), 'the disk')
  })
})

describe('an answer that was read', () => {
  it('does no harm to the next one on its connection when it is discarded afterwards', async () => {
    await using server = await startServer((_, response) => response.end('the disk'))
    const { client } = server
    const first = await client.send({ method: 'GET' }, never)
    assert.equal(await textOf(first), 'the disk')
    const next = await client.send({ method: 'GET' }, never)
    first.discard()
    assert.equal(await textOf(next), 'the disk')
  })
})

describe('an answer that was discarded', () => {
  it('cannot be mistaken for an empty one', async () => {
    await using server = await startServer((_, response) => response.end('the disk'))
    const answer = await server.client.send({ method: 'GET' }, never)
    answer.discard()
    await assert.rejects(textOf(answer), { code: 'CDI_SOURCE_INTERRUPTED' })
  })
})
