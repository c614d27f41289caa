import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { connect } from 'node:tls'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import { once } from 'node:events'
import type { Server } from 'node:https'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { ServerTls } from '../../../src/apiserver/server-tls.ts'
import { createAuthority, issueServerCertificate } from '../../../src/certs/authority.ts'
import { closable } from '../../../src/closable-server.ts'
import { silentLog } from '../../../src/log.ts'
import { tlsProfileOf } from '../../../src/tls-profile.ts'
import {
  authority,
  clientPair,
  frontProxy,
  frontProxyAuthority,
  frontProxyPair,
  hourMs,
  serverPair,
  serverTls,
} from './serving.ts'

/** A server that answers whether the connection comes from the front proxy. */
async function listen(tls: ServerTls): Promise<{ port: number } & AsyncDisposable> {
  const server: Server = createServer(tls.options, (request, response) => {
    const known = tls.frontProxyOf(request.socket as TLSSocket)
    response.end(known === undefined ? 'stranger' : 'front proxy')
  })
  tls.attach(server)
  const cut = closable(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.asyncDispose]: cut }
}

interface Talk {
  readonly said: string
  readonly commonName: string
  readonly session: Buffer | undefined
}

/** Connects and asks; rejects when the connection ends without an answer. */
async function talk(port: number, options: ConnectionOptions = {}): Promise<Talk> {
  const socket = connect({
    port,
    host: '127.0.0.1',
    ca: authority.certPem,
    checkServerIdentity: () => undefined,
    ...options,
  })
  try {
    await once(socket, 'secureConnect')
    const certificate = socket.getPeerCertificate()
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    if (text === '') throw new Error('the connection was cut')
    return {
      said: text.split('\r\n\r\n')[1] ?? '',
      commonName: String(certificate.subject?.CN),
      session: socket.getSession(),
    }
  } finally {
    socket.destroy()
  }
}

describe('client certificates', () => {
  it('are optional', async () => {
    await using server = await listen(serverTls())
    assert.match((await talk(server.port)).said, /stranger/)
  })

  it('of the front proxy are known', async () => {
    await using server = await listen(serverTls())
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { said } = await talk(server.port, { cert: frontProxyPair.certPem, key: frontProxyPair.keyPem, maxVersion })
      assert.match(said, /front proxy/)
    }
  })

  it('end the connection when another authority signed them, or nobody is to come', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    const other = await createAuthority({ commonName: 'front-proxy-ca', lifetimeMs: hourMs, now: Date.now() })
    const forged = await clientPair('front-proxy-client', other)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      await assert.rejects(talk(server.port, { cert: forged.certPem, key: forged.keyPem, maxVersion }))
    }
    tls.change({ frontProxy: undefined })
    await assert.rejects(talk(server.port, { cert: frontProxyPair.certPem, key: frontProxyPair.keyPem }))
    assert.match((await talk(server.port)).said, /stranger/)
  })

  it('end the connection when their name is not an allowed one, or they are those of a server', async () => {
    await using server = await listen(serverTls())
    const named = await clientPair('somebody')
    await assert.rejects(talk(server.port, { cert: named.certPem, key: named.keyPem }))
    const ofServer = await issueServerCertificate({
      authority: frontProxyAuthority,
      hosts: ['front-proxy-client'],
      lifetimeMs: hourMs,
      now: Date.now(),
    })
    await assert.rejects(talk(server.port, { cert: ofServer.certPem, key: ofServer.keyPem }))
  })

  it('are judged by the configuration of the moment', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    const pair = await clientPair('new-name')
    const presented = { cert: pair.certPem, key: pair.keyPem }
    await assert.rejects(talk(server.port, presented))
    tls.change({ frontProxy: { ...frontProxy, allowedNames: ['new-name'] } })
    assert.match((await talk(server.port, presented)).said, /front proxy/)
    const next = await createAuthority({ commonName: 'next-ca', lifetimeMs: hourMs, now: Date.now() })
    tls.change({ frontProxy: { ...frontProxy, caPem: `${frontProxy.caPem}${next.certPem}` } })
    const ofNext = await clientPair('front-proxy-client', next)
    assert.match((await talk(server.port, { cert: ofNext.certPem, key: ofNext.keyPem })).said, /front proxy/)
  })

  it('are never skipped by a resumed session', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
      const { session } = await talk(server.port, {
        cert: frontProxyPair.certPem,
        key: frontProxyPair.keyPem,
        maxVersion,
      })
      const { said } = await talk(server.port, { maxVersion, ...(session === undefined ? {} : { session }) })
      assert.match(said, /stranger/)
    }
  })
})

describe('the certificate of the server', () => {
  it('is replaced while it runs', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    assert.equal((await talk(server.port)).commonName, 'localhost')
    const next = await issueServerCertificate({ authority, hosts: ['next'], lifetimeMs: hourMs, now: Date.now() })
    tls.change(next)
    assert.equal((await talk(server.port)).commonName, 'next')
  })

  it('stays when what is to replace it is of no use', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    const next = await issueServerCertificate({ authority, hosts: ['next'], lifetimeMs: hourMs, now: Date.now() })
    tls.change({ certPem: next.certPem })
    tls.change({ certPem: 'nonsense', keyPem: 'nonsense' })
    assert.equal((await talk(server.port)).commonName, 'localhost')
    tls.change({ profile: tlsProfileOf({ spec: { tlsSecurityProfile: { type: 'Modern' } } }) })
    assert.equal((await talk(server.port)).commonName, 'localhost')
  })

  it('must be of use at the beginning', () => {
    const { certPem } = serverPair
    const { keyPem } = frontProxyPair
    const profile = tlsProfileOf(undefined)
    assert.throws(() => new ServerTls({ log: silentLog(), certPem, keyPem, profile, frontProxy }))
  })
})

describe('the TLS profile', () => {
  it('counts from the next handshake on', async () => {
    const tls = serverTls()
    await using server = await listen(tls)
    const old = { maxVersion: 'TLSv1.2' } as const
    assert.match((await talk(server.port, old)).said, /stranger/)
    tls.change({ profile: tlsProfileOf({ spec: { tlsSecurityProfile: { type: 'Modern' } } }) })
    await assert.rejects(talk(server.port, old), { code: 'ERR_SSL_TLSV1_ALERT_PROTOCOL_VERSION' })
    assert.match((await talk(server.port)).said, /stranger/)
    tls.change({ profile: tlsProfileOf(undefined) })
    assert.match((await talk(server.port, old)).said, /stranger/)
  })
})
