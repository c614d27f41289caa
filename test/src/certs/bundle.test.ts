import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import type { X509Certificate } from 'node:crypto'
import * as fc from 'fast-check'
import { createAuthority, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import { bundleChangesAt, bundleOf, formatBundle } from '../../../src/certs/bundle.ts'
import { certificatesIn } from '../../../src/certs/pem.ts'
import { newSigner } from '../../../src/certs/rotation.ts'

const hourMs = 3_600_000
const start = Date.parse('2026-03-01T12:00:00Z')

describe('bundle of authorities', () => {
  /** Made an hour apart, each lasts for ten hours. */
  let authorities: CertificatePair[]
  let leaf: CertificatePair

  before(async () => {
    authorities = []
    for (let made = 0; made < 4; made++) {
      const now = start + made * hourMs
      authorities.push(await createAuthority({ commonName: `ca@${made}`, lifetimeMs: 10 * hourMs, now }))
    }
    const [authority] = authorities
    assert.ok(authority)
    leaf = await issueServerCertificate({ authority, hosts: ['x'], lifetimeMs: hourMs, now: start })
  })

  function certificate(index: number): X509Certificate {
    return newSigner(authorities[index] as CertificatePair).certificate
  }

  function text(...indexes: number[]): string {
    return indexes.map((index) => authorities[index]?.certPem).join('')
  }

  function bundle(present: string, signer: number, hours: number): string {
    return formatBundle(bundleOf({ present, signer: certificate(signer), now: start + hours * hourMs }))
  }

  it('holds the signer alone at first', () => assert.equal(bundle('', 0, 0), text(0)))

  it('keeps the authorities before it while they last, newest first', () => {
    assert.equal(bundle(text(0), 1, 1), text(1, 0))
    assert.equal(bundle(text(1, 0), 2, 2), text(2, 1, 0))
    assert.equal(bundle(text(2, 1, 0), 3, 10.5), text(3, 2, 1))
  })

  it('drops what has expired, is no authority, is doubled, or is no certificate', () => {
    const broken = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n'
    assert.equal(bundle(`# mine\n${broken}${leaf.certPem}${text(1, 1, 2)}`, 2, 3), text(2, 1, 0))
    assert.equal(bundle(`# mine\n${broken}${leaf.certPem}${text(1, 1, 2)}`, 2, 10.5), text(2, 1))
  })

  it('is the same text for the same authorities in any order, with any junk in between', () => {
    const pieces = fc.shuffledSubarray([0, 1, 2, 3], { minLength: 4 })
    fc.assert(
      fc.property(pieces, fc.string({ maxLength: 20 }), fc.constantFrom(0, 1, 2, 3), (order, junk, signer) => {
        const present = order.map((index) => text(index)).join(`${junk.replaceAll('-', '')}\n`)
        assert.equal(bundle(present, signer, 3), text(3, 2, 1, 0))
      }),
    )
  })

  it('changes when the first of them expires', () => {
    const all = certificatesIn(text(3, 2, 1, 0))
    assert.equal(bundleChangesAt(all, start), start + 10 * hourMs)
    assert.equal(bundleChangesAt(all, start + 10.5 * hourMs), start + 11 * hourMs)
  })

  it('keeps the newest fifty, and the signer in any case, so that it fits into a ConfigMap', async () => {
    const many: CertificatePair[] = []
    for (let made = 0; made < 60; made++) {
      many.push(await createAuthority({ commonName: `m@${made}`, lifetimeMs: 20 * hourMs, now: start + made * 1000 }))
    }
    const present = many.map(({ certPem }) => certPem).join('')
    const kept = bundleOf({ present, signer: certificate(0), now: start })
    assert.equal(kept.length, 50)
    assert.equal(kept.at(-1)?.fingerprint256, certificate(0).fingerprint256)
    assert.equal(kept[0]?.fingerprint256, newSigner(many.at(-1) as CertificatePair).certificate.fingerprint256)
  })
})
