import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { createAuthority, issueServerCertificate } from '../../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../../src/certs/authority.ts'
import { selfSigned } from '../../../../src/certs/self-signed.ts'
import { certificatesFor } from '../../../../src/controllers/config/proxy-ca.ts'

const hour = 3_600_000
const now = Date.now()

/** The leaf alone, without its authority. */
const first = (pem: string): string => /-----BEGIN[\s\S]*?-----END CERTIFICATE-----/.exec(pem)?.[0] ?? ''

let authority: CertificatePair
let other: CertificatePair
const leaf = async (host: string, lifetimeMs: number, at = now, by = authority): Promise<string> =>
  first((await issueServerCertificate({ authority: by, hosts: [host], lifetimeMs, now: at })).certPem)

before(async () => {
  authority = await createAuthority({ commonName: 'ours', lifetimeMs: 1_000 * hour, now: now - 100 * hour })
  other = await createAuthority({ commonName: 'theirs', lifetimeMs: 1_000 * hour, now: now - 100 * hour })
})

/** The chosen certificates, by the letters under which they were given. */
function chosen(given: Record<string, string>, host = 'upload.example', at = now): string[] | undefined {
  const pem = Object.values(given).join('\nsome text between\n')
  const text = certificatesFor({ pem, host, now: at })
  const found = text?.match(/-----BEGIN[\s\S]*?-----END CERTIFICATE-----/g)
  return found?.map((one) => Object.entries(given).find(([, known]) => known.trim() === one)?.[0] ?? 'unknown')
}

describe('the certificates of the upload proxy', () => {
  it('are the one for its host that is valid longest, and its issuer', async () => {
    const given = {
      short: await leaf('upload.example', hour),
      ca: authority.certPem,
      long: await leaf('upload.example', 9 * hour),
      foreign: await leaf('other.example', 99 * hour),
    }
    assert.deepEqual(chosen(given), ['long', 'ca'])
  })

  it('are found for a wildcard', async () => {
    const given = { a: await leaf('*.example', hour), ca: authority.certPem }
    assert.deepEqual(chosen(given), ['a', 'ca'])
  })

  it('leave the issuer out when it is not there, and take no other one for it', async () => {
    assert.deepEqual(chosen({ a: await leaf('upload.example', hour), theirs: other.certPem }), ['a'])
  })

  it('are a certificate that signed itself alone', async () => {
    const { certPem } = await selfSigned({ commonName: 'self', hosts: ['upload.example'] })
    assert.deepEqual(chosen({ self: certPem, ca: authority.certPem }), ['self'])
  })

  it('are all valid ones when none is for the host', async () => {
    const given = {
      a: await leaf('a.example', hour),
      b: await leaf('b.example', hour),
      over: await leaf('c.example', hour, now - 50 * hour),
      ca: authority.certPem,
    }
    assert.deepEqual(chosen(given), ['a', 'b', 'ca'])
  })

  it('are none that are not valid now', async () => {
    const given = { over: await leaf('upload.example', hour, now - 50 * hour) }
    assert.equal(chosen(given), undefined)
    assert.equal(chosen({ later: await leaf('upload.example', hour, now + 50 * hour) }), undefined)
    const both = { over: given.over, valid: await leaf('upload.example', hour), ca: authority.certPem }
    assert.deepEqual(chosen(both), ['valid', 'ca'])
  })

  it('are not disturbed by what is no certificate', async () => {
    const broken = '-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----'
    assert.deepEqual(chosen({ broken, a: await leaf('upload.example', hour) }), ['a'])
    assert.equal(certificatesFor({ pem: 'hello', host: 'x', now }), undefined)
    assert.equal(certificatesFor({ pem: '', host: 'x', now }), undefined)
  })

  it('are PEM without blanks around it', async () => {
    const text = certificatesFor({
      pem: `\n\n${await leaf('upload.example', hour)}\n\n${authority.certPem}\n`,
      host: 'upload.example',
      now,
    })
    assert.equal(text, text?.trim())
    assert.equal(text?.split('\n\n').length, 1)
  })
})
