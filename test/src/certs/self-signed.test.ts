import assert from 'node:assert/strict'
import { X509Certificate, createPrivateKey } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import { describe, it } from 'node:test'
import { selfSigned } from '../../../src/certs/self-signed.ts'

describe('selfSigned', () => {
  it('makes a P-256 certificate for the names and addresses that it was given', async () => {
    const { certPem, keyPem } = await selfSigned({ commonName: 'cdi-importer', hosts: ['localhost', '127.0.0.1'] })
    const certificate = new X509Certificate(certPem)
    assert.equal(certificate.subject, 'CN=cdi-importer')
    assert.equal(certificate.checkHost('localhost'), 'localhost')
    assert.equal(certificate.checkIP('127.0.0.1'), '127.0.0.1')
    assert.equal(certificate.checkHost('example.org'), undefined)
    assert.equal(certificate.ca, false)
    assert.equal(certificate.publicKey.asymmetricKeyDetails?.namedCurve, 'prime256v1')
    assert.ok(certificate.checkPrivateKey(createPrivateKey(keyPem)))
    assert.ok(certificate.verify(certificate.publicKey))
  })

  it('serves TLS to a client that trusts it', async () => {
    const { certPem, keyPem } = await selfSigned({ commonName: 'here', hosts: ['localhost'] })
    const server = createServer({ cert: certPem, key: keyPem }, (_, response) => response.end('OK')).listen(
      0,
      '127.0.0.1',
    )
    await once(server, 'listening')
    try {
      const { port } = server.address() as AddressInfo
      const call = request({ host: '127.0.0.1', port, ca: certPem, servername: 'localhost', agent: false }).end()
      const [response] = await once(call, 'response')
      assert.equal(response.statusCode, 200)
      response.resume()
    } finally {
      server.close()
      server.closeAllConnections()
    }
  })

  it('never gives the same serial number twice', async () => {
    const serials = new Set<string>()
    for (let made = 0; made < 4; made++) {
      serials.add(new X509Certificate((await selfSigned({ commonName: 'x', hosts: ['x'] })).certPem).serialNumber)
    }
    assert.equal(serials.size, 4)
  })
})
