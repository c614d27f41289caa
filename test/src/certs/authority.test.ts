import assert from 'node:assert/strict'
import { createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../src/certs/authority.ts'
import { certificatesIn, commonNameOf, isKeyPair } from '../../../src/certs/pem.ts'
import { importSigningKey, randomSerial } from '../../../src/certs/x509.ts'

const hourMs = 3_600_000
const now = Date.parse('2026-03-01T12:00:00.789Z')
const second = Date.parse('2026-03-01T12:00:00Z')

describe('certificate authority', () => {
  it('is a P-256 authority that signs leaves only, dated back by a second', async () => {
    const { certPem, keyPem } = await createAuthority({ commonName: 'cdi_x@1', lifetimeMs: 48 * hourMs, now })
    const certificate = new X509Certificate(certPem)
    assert.equal(certificate.subject, 'CN=cdi_x@1')
    assert.ok(certificate.ca && certificate.verify(certificate.publicKey) && isKeyPair(certPem, keyPem))
    assert.equal(createPrivateKey(keyPem).asymmetricKeyDetails?.namedCurve, 'prime256v1')
    assert.equal(certificate.validFromDate.getTime(), second - 1000)
    assert.equal(certificate.validToDate.getTime(), second + 48 * hourMs)
  })

  it('issues a server certificate followed by its own', async () => {
    const authority = await createAuthority({ commonName: 'ca', lifetimeMs: 48 * hourMs, now })
    const hosts = ['cdi-api', 'cdi-api.cdi', 'cdi-api.cdi.svc', '127.0.0.1', '::1']
    const { certPem, keyPem } = await issueServerCertificate({ authority, hosts, lifetimeMs: 24 * hourMs, now })
    const [leaf, issuer, ...rest] = certificatesIn(certPem)
    assert.ok(leaf && issuer && rest.length === 0)
    assert.equal(issuer.toString(), new X509Certificate(authority.certPem).toString())
    assert.equal(leaf.subject, 'CN=cdi-api')
    for (const host of hosts.slice(0, 3)) assert.equal(leaf.checkHost(host), host)
    for (const address of hosts.slice(3)) assert.equal(leaf.checkIP(address), address)
    assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1'])
    assert.ok(!leaf.ca && leaf.checkIssued(issuer) && leaf.verify(issuer.publicKey) && isKeyPair(certPem, keyPem))
    assert.equal(leaf.validToDate.getTime() - leaf.validFromDate.getTime(), 24 * hourMs + 1000)
  })

  it('issues a client certificate alone, for a common name of any length and any letters', async () => {
    const authority = await createAuthority({ commonName: 'ca', lifetimeMs: 48 * hourMs, now })
    const label = fc.stringMatching(/^[a-z0-9][a-z0-9.-]{0,252}$/)
    const clone = fc.tuple(label, label, label, label).map(([a, b, c, d]) => `${a}/${b}-${c}/${d}`)
    const strange = fc.string({ unit: 'binary', minLength: 1, maxLength: 300 }).filter((text) => text.isWellFormed())
    await fc.assert(
      fc.asyncProperty(fc.oneof(clone, strange), async (commonName) => {
        const lifetimeMs = hourMs
        const { certPem, keyPem } = await issueClientCertificate({ authority, commonName, lifetimeMs, now })
        const [leaf, ...rest] = certificatesIn(certPem)
        assert.ok(leaf && rest.length === 0 && isKeyPair(certPem, keyPem))
        assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.2'])
        if (!commonName.includes('\0')) assert.equal(commonNameOf(leaf), commonName)
      }),
      { numRuns: 60 },
    )
  })

  it('issues nothing that outlives it, and nothing at all when it has expired', async () => {
    const authority = await createAuthority({ commonName: 'ca', lifetimeMs: hourMs, now })
    const end = new X509Certificate(authority.certPem).validToDate.getTime()
    const order = { authority, hosts: ['x'], commonName: 'x', lifetimeMs: 24 * hourMs }
    for (const issue of [issueServerCertificate, issueClientCertificate]) {
      const { certPem } = await issue({ ...order, now: now + 0.5 * hourMs })
      assert.equal(new X509Certificate(certPem).validToDate.getTime(), end)
      await assert.rejects(issue({ ...order, now: now + 2 * hourMs }), { name: 'RangeError', message: /has expired/ })
    }
  })

  it('signs with an RSA key in PKCS #1 too, as earlier versions have left it', () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const { algorithm } = importSigningKey(privateKey.export({ type: 'pkcs1', format: 'pem' }).toString())
    assert.deepEqual(algorithm, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' })
    const edwards = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString()
    assert.throws(() => importSigningKey(edwards), TypeError)
  })

  it('gives serial numbers that are positive, 16 octets long, and all different', () => {
    const serials = Array.from({ length: 1000 }, randomSerial)
    for (const serial of serials) assert.match(serial, /^[4-7][0-9a-f]{31}$/)
    assert.equal(new Set(serials).size, serials.length)
  })
})
