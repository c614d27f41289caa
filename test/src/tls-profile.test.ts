import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer as createPlainServer, connect as connectPlain } from 'node:net'
import type { AddressInfo, Socket } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { connect, createServer, DEFAULT_CIPHERS, getCiphers } from 'node:tls'
import type { ConnectionOptions, SecureVersion, Server } from 'node:tls'
import * as fc from 'fast-check'
import { selfSigned } from '../../src/certs/self-signed.ts'
import { parseTlsProfile, renderTlsProfile, tlsProfileOf } from '../../src/tls-profile.ts'
import type { TlsProfile } from '../../src/tls-profile.ts'

function profile(tlsSecurityProfile: unknown): TlsProfile {
  return tlsProfileOf({ spec: { tlsSecurityProfile } })
}

const intermediateCiphers =
  'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,ECDHE-ECDSA-AES128-GCM-SHA256,ECDHE-RSA-AES128-GCM-SHA256,ECDHE-ECDSA-AES256-GCM-SHA384,ECDHE-RSA-AES256-GCM-SHA384,ECDHE-ECDSA-CHACHA20-POLY1305,ECDHE-RSA-CHACHA20-POLY1305,DHE-RSA-AES128-GCM-SHA256,DHE-RSA-AES256-GCM-SHA384'

describe('TLS profile', () => {
  it('is Intermediate without a configuration, and rendered as pods see it today', () => {
    const rendered = { ciphers: intermediateCiphers, minVersion: 'VersionTLS12' }
    assert.deepEqual(renderTlsProfile(tlsProfileOf(undefined)), rendered)
    for (const nothing of [undefined, null, {}, { type: '' }, { type: 'Future' }, { type: 'Custom' }, 'Old', 7]) {
      assert.deepEqual(renderTlsProfile(profile(nothing)), rendered)
    }
    assert.deepEqual(renderTlsProfile(profile({ type: 'Intermediate', intermediate: {} })), rendered)
  })

  it('is TLS 1.3 alone for Modern', () => {
    assert.deepEqual(renderTlsProfile(profile({ type: 'Modern', modern: null })), {
      ciphers: 'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256',
      minVersion: 'VersionTLS13',
    })
  })

  it('is TLS 1.0 with more suites for Old, but for those that OpenSSL lacks', () => {
    const { ciphers, minVersion } = renderTlsProfile(profile({ type: 'Old' }))
    assert.equal(minVersion, 'VersionTLS10')
    assert.ok(ciphers.startsWith(`${intermediateCiphers},`))
    assert.ok(ciphers.endsWith(',AES128-SHA,AES256-SHA'))
    assert.ok(!ciphers.includes('DES-CBC3-SHA'))
  })

  it('takes the suites and the version of Custom, and drops what is unknown', () => {
    const ciphers = [
      'ECDHE-RSA-AES128-GCM-SHA256',
      'ROT13',
      'aes128-sha',
      '!aNULL',
      'ALL:@SECLEVEL=0',
      '',
      7,
      'AES256-SHA',
    ]
    const custom = { ciphers, minTLSVersion: 'VersionTLS12' }
    assert.deepEqual(renderTlsProfile(profile({ type: 'Custom', custom })), {
      ciphers:
        'TLS_AES_128_GCM_SHA256,TLS_AES_256_GCM_SHA384,TLS_CHACHA20_POLY1305_SHA256,ECDHE-RSA-AES128-GCM-SHA256,AES256-SHA',
      minVersion: 'VersionTLS12',
    })
  })

  it('falls back to the suites of Intermediate when no suite of Custom is known', () => {
    const custom = { ciphers: ['ROT13'], minTLSVersion: 'VersionTLS11' }
    assert.deepEqual(renderTlsProfile(profile({ type: 'Custom', custom })), {
      ciphers: intermediateCiphers,
      minVersion: 'VersionTLS11',
    })
  })

  it('comes back from the environment of a pod as it went in, Intermediate from an empty one', () => {
    const anyCipher = fc.constantFrom('ROT13', 'x:y', ...getCiphers().map((name) => name.toUpperCase()))
    const custom = fc.record({
      ciphers: fc.array(anyCipher),
      minTLSVersion: fc.constantFrom('VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13', 'x'),
    })
    const type = fc.constantFrom('Old', 'Intermediate', 'Modern', 'Custom')
    fc.assert(
      fc.property(fc.record({ type, custom }), (asked) => {
        const found = profile(asked)
        assert.deepEqual(parseTlsProfile(renderTlsProfile(found)), found)
      }),
    )
    assert.deepEqual(parseTlsProfile({ ciphers: '', minVersion: '' }), tlsProfileOf(undefined))
  })
})

describe('a server with a TLS profile', () => {
  let server: Server
  let keys: { cert: string; key: string }

  before(async () => {
    const { certPem, keyPem } = await selfSigned({ commonName: 'localhost', hosts: ['localhost'] })
    keys = { cert: certPem, key: keyPem }
    server = createServer({ ...keys, ...tlsProfileOf(undefined) }, (socket) => socket.end())
    server.on('tlsClientError', () => undefined)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
  })
  after(() => server.close())

  /** The version that a client of exactly this version gets, or the alert that it is sent. */
  async function shake(version: SecureVersion, options: ConnectionOptions = {}): Promise<string> {
    const { port } = server.address() as AddressInfo
    const socket = connect({
      host: '127.0.0.1',
      port,
      ca: keys.cert,
      servername: 'localhost',
      minVersion: version,
      maxVersion: version,
      // A client that is as lenient as it can be: what fails, fails because of the server.
      ciphers: `${DEFAULT_CIPHERS}:@SECLEVEL=0`,
      ...options,
    })
    try {
      await once(socket, 'secureConnect')
      return socket.getProtocol() ?? ''
    } catch (error) {
      return (error as { reason?: string; code?: string }).reason ?? String(error)
    } finally {
      socket.destroy()
    }
  }

  function use(asked: unknown): void {
    server.setSecureContext({ ...keys, ...profile(asked) })
  }

  const protocolVersion = 'tlsv1 alert protocol version'
  const rows: [string, unknown, [SecureVersion, string][]][] = [
    [
      'Old',
      { type: 'Old' },
      [
        ['TLSv1', 'TLSv1'],
        ['TLSv1.1', 'TLSv1.1'],
        ['TLSv1.2', 'TLSv1.2'],
        ['TLSv1.3', 'TLSv1.3'],
      ],
    ],
    [
      'Intermediate',
      { type: 'Intermediate' },
      [
        ['TLSv1', protocolVersion],
        ['TLSv1.1', protocolVersion],
        ['TLSv1.2', 'TLSv1.2'],
        ['TLSv1.3', 'TLSv1.3'],
      ],
    ],
    [
      'Modern',
      { type: 'Modern' },
      [
        ['TLSv1', protocolVersion],
        ['TLSv1.1', protocolVersion],
        ['TLSv1.2', protocolVersion],
        ['TLSv1.3', 'TLSv1.3'],
      ],
    ],
    [
      'Custom from TLS 1.1',
      { type: 'Custom', custom: { ciphers: ['ECDHE-ECDSA-AES128-SHA'], minTLSVersion: 'VersionTLS11' } },
      [
        ['TLSv1', protocolVersion],
        ['TLSv1.1', 'TLSv1.1'],
        ['TLSv1.2', 'TLSv1.2'],
        ['TLSv1.3', 'TLSv1.3'],
      ],
    ],
  ]
  for (const [name, asked, versions] of rows) {
    for (const [version, answer] of versions) {
      it(`answers a client of ${version} alone with '${answer}' under ${name}`, async () => {
        use(asked)
        assert.equal(await shake(version), answer)
      })
    }
  }

  it('sends alert 70, protocol_version, to a client of TLS 1.2 alone under Modern', async () => {
    use({ type: 'Modern' })
    await using wire = await eavesdropped(() => (server.address() as AddressInfo).port)
    assert.equal(await shake('TLSv1.2', { port: wire.port }), protocolVersion)
    // Record type 21 (alert), version, length 2, level 2 (fatal), description 70: RFC 8446 §6.2.
    assert.equal(
      wire
        .answer()
        .subarray(0, 7)
        .toString('hex')
        .replace(/^(..)..../, '$1----'),
      '15----00020246',
    )
  })

  it('changes its profile while it runs, and changes it back', async () => {
    use({ type: 'Modern' })
    assert.equal(await shake('TLSv1.2'), protocolVersion)
    use(undefined)
    assert.equal(await shake('TLSv1.2'), 'TLSv1.2')
  })

  it('offers exactly the suites of Custom', async () => {
    use({ type: 'Custom', custom: { ciphers: ['ECDHE-ECDSA-AES256-GCM-SHA384'], minTLSVersion: 'VersionTLS12' } })
    assert.equal(await shake('TLSv1.2', { ciphers: 'ECDHE-ECDSA-AES256-GCM-SHA384' }), 'TLSv1.2')
    assert.match(await shake('TLSv1.2', { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' }), /handshake failure/)
  })

  it('takes no weak signature under Intermediate and higher', () => {
    for (const type of ['Intermediate', 'Modern']) assert.ok(!profile({ type }).ciphers.includes('SECLEVEL'))
  })
})

/** A way to a port on which the server's bytes are written down. */
async function eavesdropped(portOf: () => number): Promise<AsyncDisposable & { port: number; answer(): Buffer }> {
  const chunks: Buffer[] = []
  const sockets: Socket[] = []
  const wire = createPlainServer((client) => {
    const upstream = connectPlain(portOf(), '127.0.0.1')
    sockets.push(client, upstream)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
    upstream.on('data', (chunk) => chunks.push(chunk))
    client.pipe(upstream).pipe(client)
  })
  wire.listen(0, '127.0.0.1')
  await once(wire, 'listening')
  return {
    port: (wire.address() as AddressInfo).port,
    answer: () => Buffer.concat(chunks),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      wire.close()
      await once(wire, 'close')
    },
  }
}
