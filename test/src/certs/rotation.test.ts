import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { before, describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { Secret } from '../../../src/api/kinds.ts'
import { createAuthority, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import { bundleOf } from '../../../src/certs/bundle.ts'
import { lifetimesOf } from '../../../src/certs/lifetimes.ts'
import type { Lifetime } from '../../../src/certs/lifetimes.ts'
import { certificateAnnotations } from '../../../src/certs/names.ts'
import { certificatesIn } from '../../../src/certs/pem.ts'
import { decideLeaf, decideSigner, newSigner } from '../../../src/certs/rotation.ts'
import type { LeafDecision, Purpose, Signer, SignerDecision } from '../../../src/certs/rotation.ts'
import { formatTime } from '../../../src/kube/clock.ts'
import {
  annotated,
  clientName,
  clientSecret,
  holding,
  hosts,
  hourMs,
  lifetimes,
  secretOf,
  serverSecret,
  signerSecret,
} from './fixtures.ts'

const { notBefore, notAfter, issuer, hosts: hostsKey, config } = certificateAnnotations
const start = Date.parse('2026-03-01T12:00:00Z')
const at = (hours: number): number => start + hours * hourMs
const time = (hours: number): string => formatTime(at(hours))

function shown(decision: SignerDecision | LeafDecision): string {
  return decision.kind === 'renew' ? decision.trouble : decision.kind
}

describe('decision about a signer', () => {
  let pair: CertificatePair
  let fresh: Secret
  let foreignKey: string
  let weakKeyPair: CertificatePair

  before(async () => {
    const made = await signerSecret(start)
    pair = made.pair
    fresh = made.secret
    foreignKey = (await createAuthority({ commonName: 'other', lifetimeMs: hourMs, now: start })).keyPem
    weakKeyPair = await edwardsAuthority()
  })

  const rows: [string, (fresh: Secret) => Secret | undefined, number, string][] = [
    ['a fresh one', (secret) => secret, 0, 'keep'],
    ['one just before its refresh', (secret) => secret, 23.99, 'keep'],
    ['one past its refresh', (secret) => secret, 24, 'dueForRefresh'],
    ['none', () => undefined, 0, 'missing'],
    ['one of another type', (secret) => ({ ...secret, type: 'Opaque' }), 0, 'wrongType'],
    ['one without data', (secret) => ({ ...secret, data: {} }), 0, 'unreadable'],
    ['one with garbage for a certificate', (secret) => holding(secret, { 'tls.crt': 'garbage' }), 0, 'unreadable'],
    ['one with garbage for a key', (secret) => holding(secret, { 'tls.key': 'garbage' }), 0, 'unreadable'],
    ['one with the key of another', (secret) => holding(secret, { 'tls.key': foreignKey }), 0, 'unreadable'],
    ['one without annotations', (secret) => unannotated(secret), 0, 'validityUnknown'],
    ['one without not-before', (secret) => annotated(secret, { [notBefore]: undefined }), 0, 'validityUnknown'],
    ['one without not-after', (secret) => annotated(secret, { [notAfter]: undefined }), 0, 'validityUnknown'],
    ['one with a bad not-before', (secret) => annotated(secret, { [notBefore]: 'soon' }), 0, 'validityUnknown'],
    ['one with a bad not-after', (secret) => annotated(secret, { [notAfter]: '2026' }), 0, 'validityUnknown'],
    [
      'one with an impossible date',
      (secret) => annotated(secret, { [notAfter]: '2026-13-01T00:00:00Z' }),
      0,
      'validityUnknown',
    ],
    [
      'one that ends before it begins',
      (secret) => annotated(secret, { [notBefore]: time(2), [notAfter]: time(1) }),
      0,
      'validityUnknown',
    ],
    ['one edited to have expired', (secret) => annotated(secret, { [notAfter]: time(-1) }), 0, 'expired'],
    [
      'one edited to never expire, which has',
      (secret) => annotated(secret, { [notAfter]: '2099-01-01T00:00:00Z' }),
      49,
      'expired',
    ],
    ['one that has expired', (secret) => secret, 48.1, 'expired'],
    ['one edited to be mostly over', (secret) => annotated(secret, { [notAfter]: time(1) }), 0.9, 'mostlyUsed'],
    [
      'one with nine seconds left',
      (secret) => annotated(secret, { [notAfter]: formatTime(start + 9_000) }),
      0,
      'mostlyUsed',
    ],
    ['one edited to be old', (secret) => annotated(secret, { [notBefore]: time(-25) }), 0, 'dueForRefresh'],
    ['one from the far future', (secret) => annotated(secret, { [notBefore]: time(1) }), 0, 'notYetValid'],
    ['one made when the clock was ahead', (secret) => secret, -1, 'notYetValid'],
    ['one whose maker is four minutes ahead', (secret) => secret, -4 / 60, 'keep'],
    [
      'one for other lifetimes',
      (secret) => annotated(secret, { [config]: '{"lifetime":"20m0s","refresh":"15m0s"}' }),
      0,
      'configChanged',
    ],
    [
      'one that does not tell its lifetimes',
      (secret) => annotated(secret, { [config]: undefined }),
      0,
      'configChanged',
    ],
    ['one with a key that cannot sign', () => secretOf(weakKeyPair, lifetimes.ca), 0, 'notAuthority'],
  ]
  for (const [name, change, hours, expected] of rows) {
    it(`is ${expected} for ${name}`, () => {
      const secret = change(fresh)
      assert.equal(shown(decideSigner({ secret, lifetime: lifetimes.ca, now: at(hours) })), expected)
    })
  }

  it('is notAuthority for a leaf', async () => {
    const secret = await serverSecret(pair, start)
    const annotatedAsSigner = annotated(secret, { [config]: fresh.metadata.annotations?.[config] })
    assert.equal(shown(decideSigner({ secret: annotatedAsSigner, lifetime: lifetimes.ca, now: start })), 'notAuthority')
  })

  it('is mostlyUsed after 80 % of the validity when the refresh would come later', async () => {
    const lifetime: Lifetime = { lifetimeMs: 10 * hourMs, refreshMs: 9.9 * hourMs }
    const { secret } = await signerSecret(start, { lifetime })
    assert.equal(shown(decideSigner({ secret, lifetime, now: at(7.99) })), 'keep')
    assert.equal(shown(decideSigner({ secret, lifetime, now: at(8.01) })), 'mostlyUsed')
  })

  it('takes an authority of an earlier version, RSA in PKCS #1', async () => {
    const rsa = await rsaAuthority()
    const decision = decideSigner({ secret: secretOf(rsa, lifetimes.ca), lifetime: lifetimes.ca, now: start })
    assert.equal(decision.kind, 'keep')
  })

  it('tells when to look again, which is when it changes', () => {
    const decision = decideSigner({ secret: fresh, lifetime: lifetimes.ca, now: start })
    assert.ok(decision.kind === 'keep')
    const { lookAgainAt } = decision
    assert.equal(shown(decideSigner({ secret: fresh, lifetime: lifetimes.ca, now: lookAgainAt - 1 })), 'keep')
    assert.equal(shown(decideSigner({ secret: fresh, lifetime: lifetimes.ca, now: lookAgainAt })), 'dueForRefresh')
  })
})

describe('decision about a leaf', () => {
  let authority: CertificatePair
  let signer: Signer
  let fresh: Secret
  let otherAuthority: CertificatePair

  before(async () => {
    const made = await signerSecret(start, { commonName: 'cdi_signer@1' })
    authority = made.pair
    signer = newSigner(authority)
    fresh = await serverSecret(authority, start)
    otherAuthority = (await signerSecret(start, { commonName: 'cdi_signer@1' })).pair
  })

  function decide(
    secret: Secret | undefined,
    hours: number,
    facts: {
      signer?: Signer
      lifetime?: Lifetime
      caLifetime?: Lifetime
      purpose?: Purpose
      mayBeForeign?: boolean
    } & {
      bundle?: readonly CertificatePair[]
    } = {},
  ): LeafDecision {
    return decideLeaf({
      secret,
      lifetime: lifetimes.server,
      caLifetime: lifetimes.ca,
      purpose: { hosts },
      signer,
      now: at(hours),
      ...facts,
      bundle: (facts.bundle ?? [authority]).flatMap(({ certPem }) => certificatesIn(certPem)),
    })
  }

  const rows: [string, (fresh: Secret) => Secret | undefined, number, string][] = [
    ['a fresh one', (secret) => secret, 0, 'keep'],
    ['one just before its refresh', (secret) => secret, 11.99, 'keep'],
    ['one past its refresh', (secret) => secret, 12, 'dueForRefresh'],
    ['none', () => undefined, 0, 'missing'],
    ['one of another type', (secret) => ({ ...secret, type: 'Opaque' }), 0, 'wrongType'],
    ['one with garbage', (secret) => holding(secret, { 'tls.crt': 'garbage' }), 0, 'unreadable'],
    ['one without annotations', (secret) => unannotated(secret), 0, 'validityUnknown'],
    ['one edited to have expired', (secret) => annotated(secret, { [notAfter]: time(-1) }), 0, 'expired'],
    ['one edited to be mostly over', (secret) => annotated(secret, { [notAfter]: time(1) }), 0.9, 'mostlyUsed'],
    ['one for other lifetimes', (secret) => annotated(secret, { [config]: '{}' }), 0, 'configChanged'],
    [
      'one that names another issuer',
      (secret) => annotated(secret, { [issuer]: 'cdi_signer@2' }),
      0,
      'issuerUntrusted',
    ],
    ['one that names no issuer', (secret) => annotated(secret, { [issuer]: undefined }), 0, 'issuerUntrusted'],
    ['one said to be for other hosts', (secret) => annotated(secret, { [hostsKey]: 'example.org' }), 0, 'hostsDiffer'],
    ['one that does not tell its hosts', (secret) => annotated(secret, { [hostsKey]: undefined }), 0, 'hostsDiffer'],
  ]
  for (const [name, change, hours, expected] of rows) {
    it(`is ${expected} for ${name}`, () => assert.equal(shown(decide(change(fresh), hours)), expected))
  }

  it('is issuerUntrusted when the authority is no longer in the bundle', () => {
    assert.equal(shown(decide(fresh, 0, { bundle: [otherAuthority] })), 'issuerUntrusted')
  })

  it('is not deceived by another authority of the same name', async () => {
    const secret = await serverSecret(otherAuthority, start)
    assert.equal(secret.metadata.annotations?.[issuer], fresh.metadata.annotations?.[issuer])
    assert.equal(shown(decide(secret, 0)), 'issuerUntrusted')
  })

  it('stays when its authority was replaced and is still in the bundle', async () => {
    const next = newSigner((await signerSecret(at(1))).pair)
    assert.equal(shown(decide(fresh, 1, { signer: next, bundle: [authority, next.pair] })), 'keep')
  })

  it('is issuerOutdated when its authority was replaced because of other lifetimes', async () => {
    const caLifetime: Lifetime = { lifetimeMs: 96 * hourMs, refreshMs: 24 * hourMs }
    const next = newSigner((await signerSecret(at(1), { lifetime: caLifetime })).pair)
    const bundle = [authority, next.pair]
    assert.equal(shown(decide(fresh, 1, { signer: next, bundle, caLifetime })), 'issuerOutdated')
    const renewed = await serverSecret(next.pair, at(1))
    assert.equal(shown(decide(renewed, 1, { signer: next, bundle, caLifetime })), 'keep')
  })

  it('is hostsDiffer when other hosts are wanted, or the certificate lacks one of them', async () => {
    assert.equal(shown(decide(fresh, 0, { purpose: { hosts: [...hosts, 'cdi.example'] } })), 'hostsDiffer')
    const lacking = annotated(await serverSecret(authority, start, { names: hosts.slice(1) }), {
      [hostsKey]: fresh.metadata.annotations?.[hostsKey],
    })
    assert.equal(shown(decide(lacking, 0)), 'hostsDiffer')
  })

  it('is nameDiffers for a client by another name', async () => {
    const secret = await clientSecret(authority, start)
    assert.equal(shown(decide(secret, 0, { purpose: { commonName: clientName } })), 'keep')
    assert.equal(shown(decide(secret, 0, { purpose: { commonName: 'another' } })), 'nameDiffers')
  })

  it('does not count the refresh while the signer is younger than a tenth of the refresh time', async () => {
    const next = newSigner((await signerSecret(at(11.9))).pair)
    const facts = { signer: next, bundle: [authority, next.pair] }
    const resting = decide(fresh, 13, facts)
    assert.ok(resting.kind === 'keep')
    assert.equal(resting.lookAgainAt, next.notBefore + 1.2 * hourMs + 1)
    assert.equal(shown(decide(fresh, 13.2, facts)), 'dueForRefresh')
    // What is mostly used up cannot wait.
    const late = newSigner((await signerSecret(at(19))).pair)
    assert.equal(shown(decide(fresh, 19.3, { signer: late, bundle: [authority, late.pair] })), 'mostlyUsed')
  })

  it('tells when to look again, which is when it changes', () => {
    const decision = decide(fresh, 0)
    assert.ok(decision.kind === 'keep')
    const hours = (decision.lookAgainAt - start) / hourMs
    assert.equal(shown(decide(fresh, hours)), 'dueForRefresh')
    assert.equal(shown(decide(fresh, hours - 1 / hourMs)), 'keep')
  })

  describe('where a user may put a certificate of his own', () => {
    let own: Secret

    before(async () => {
      const pair = await issueServerCertificate({
        authority: await createAuthority({ commonName: 'Example CA', lifetimeMs: 1000 * hourMs, now: start }),
        hosts: ['upload.example.org'],
        lifetimeMs: 100 * hourMs,
        now: start,
      })
      own = { ...unannotated(secretOf(pair, lifetimes.server)), type: 'Opaque' }
    })

    it('honours it while it is valid', () => {
      const decision = decide(own, 0, { mayBeForeign: true })
      assert.ok(decision.kind === 'honour')
      assert.equal(decision.certificate.subject, 'CN=upload.example.org')
      assert.equal(shown(decide(own, 99, { mayBeForeign: true })), 'honour')
      assert.equal(decision.lookAgainAt, at(100) + 1)
    })

    it('renews it once it has expired or while it is not yet valid', () => {
      assert.equal(shown(decide(own, 100.1, { mayBeForeign: true })), 'expired')
      assert.equal(shown(decide(own, -1, { mayBeForeign: true })), 'notYetValid')
    })

    it('renews it when it is no pair', () => {
      assert.notEqual(shown(decide(holding(own, { 'tls.key': 'x' }), 0, { mayBeForeign: true })), 'honour')
    })

    it('takes one of ours whose annotations were removed for ours', () => {
      assert.equal(shown(decide(unannotated(fresh), 0, { mayBeForeign: true })), 'validityUnknown')
    })

    it('takes one with any annotation of ours for ours', () => {
      for (const key of Object.values(certificateAnnotations)) {
        assert.notEqual(shown(decide(annotated(own, { [key]: 'x' }), 0, { mayBeForeign: true })), 'honour')
      }
    })

    it('honours none elsewhere', () => assert.equal(shown(decide(own, 0)), 'wrongType'))
  })
})

describe('renewing', () => {
  const anyTime = fc.oneof(
    fc.integer({ min: -100, max: 100 }).map(time),
    fc.integer({ min: -600, max: 600 }).map((seconds) => formatTime(start + seconds * 1000)),
    fc.string(),
    fc.constant(undefined),
  )
  const anyAnnotations = fc.record({
    [notBefore]: anyTime,
    [notAfter]: anyTime,
    [issuer]: fc.constantFrom('cdi_signer@1', 'x', undefined),
    [config]: fc.constantFrom('{"lifetime":"24h0m0s","refresh":"12h0m0s"}', '', undefined),
    [hostsKey]: fc.constantFrom(hosts.join(','), 'x', undefined),
  })
  const anyLifetime = fc
    .record({
      seconds: fc.integer({ min: 60, max: 1_000_000 }),
      share: fc.double({ min: 0.001, max: 0.999, noNaN: true }),
    })
    .map(({ seconds, share }) => ({
      duration: `${seconds}s`,
      renewBefore: `${Math.max(1, Math.floor(seconds * 1000 * share))}ms`,
    }))

  it('converges: what was made anew is kept, whatever was there, is configured, and the time is', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyAnnotations,
        anyAnnotations,
        fc.record({ ca: anyLifetime, server: anyLifetime, client: anyLifetime }),
        fc.integer({ min: 0, max: 60_000 }),
        async (signerNotes, leafNotes, certConfig, offsetMs) => {
          const { lifetimes: configured } = lifetimesOf(certConfig)
          const now = start + offsetMs
          const before = await signerSecret(start, { lifetime: configured.ca, commonName: 'cdi_signer@1' })
          const oldLeaf = annotated(await serverSecret(before.pair, start, { lifetime: configured.server }), leafNotes)
          let signerNow = decideSigner({ secret: annotated(before.secret, signerNotes), lifetime: configured.ca, now })
          if (signerNow.kind === 'renew') {
            const { secret } = await signerSecret(now, { lifetime: configured.ca, commonName: 'cdi_signer@2' })
            signerNow = decideSigner({ secret, lifetime: configured.ca, now })
          }
          assert.ok(signerNow.kind === 'keep')
          const { signer } = signerNow
          const input = {
            lifetime: configured.server,
            caLifetime: configured.ca,
            purpose: { hosts },
            signer,
            bundle: bundleOf({ present: before.pair.certPem, signer: signer.certificate, now }),
            now,
          }
          if (decideLeaf({ secret: oldLeaf, ...input }).kind === 'keep') return
          const lifetime = { ...configured.server, lifetimeMs: signer.notAfter - now }
          const pair = await issueServerCertificate({
            authority: signer.pair,
            hosts,
            lifetimeMs: Math.min(configured.server.lifetimeMs, lifetime.lifetimeMs),
            now,
          })
          const secret = secretOf(pair, configured.server, {
            issuer: signer.certificate.subject.replace(/^CN=/, ''),
            hosts,
          })
          const again = decideLeaf({ secret, ...input })
          assert.equal(again.kind, 'keep', `${shown(again)}: ${JSON.stringify(secret.metadata.annotations)}`)
          assert.ok(again.lookAgainAt > now)
          const [leaf] = certificatesIn(pair.certPem)
          assert.ok(leaf && leaf.validToDate.getTime() <= signer.notAfter)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('never throws about what stands in a Secret', async () => {
    const { pair, secret } = await signerSecret(start)
    const text = fc.oneof(fc.string(), fc.constant(pair.certPem), fc.constant(pair.keyPem), fc.base64String())
    fc.assert(
      fc.property(text, text, fc.dictionary(fc.string(), fc.string()), (certificate, key, annotations) => {
        const data = { 'tls.crt': certificate, 'tls.key': key }
        const strange: Secret = holding({ ...secret, metadata: { ...secret.metadata, annotations } }, data)
        const signer = newSigner(pair)
        const bundle = [signer.certificate]
        const server = { lifetime: lifetimes.server, caLifetime: lifetimes.ca, purpose: { hosts }, signer, bundle }
        decideSigner({ secret: strange, lifetime: lifetimes.ca, now: start })
        decideLeaf({ secret: strange, ...server, mayBeForeign: true, now: start })
      }),
    )
  })
})

function unannotated(secret: Secret): Secret {
  const { annotations: _, ...metadata } = secret.metadata
  return { ...secret, metadata }
}

/** An authority with an Ed25519 key, with which this project does not sign. */
async function edwardsAuthority(): Promise<CertificatePair> {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  return selfSignedAuthority(privateKey, publicKey, { name: 'Ed25519' })
}

async function rsaAuthority(): Promise<CertificatePair> {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const { certPem } = await selfSignedAuthority(privateKey, publicKey, { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' })
  return { certPem, keyPem: privateKey.export({ type: 'pkcs1', format: 'pem' }).toString() }
}

async function selfSignedAuthority(
  privateKey: ReturnType<typeof generateKeyPairSync>['privateKey'],
  publicKey: ReturnType<typeof generateKeyPairSync>['publicKey'],
  algorithm: { name: string; hash?: string },
): Promise<CertificatePair> {
  await import('reflect-metadata')
  const x509 = await import('@peculiar/x509')
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: 'CN=cdi_signer@0',
    notBefore: new Date(start - 1000),
    notAfter: new Date(at(48)),
    signingAlgorithm: algorithm,
    keys: {
      privateKey: privateKey.toCryptoKey(algorithm, true, ['sign']),
      publicKey: publicKey.toCryptoKey(algorithm, true, ['verify']),
    },
    extensions: [new x509.BasicConstraintsExtension(true, 0, true)],
  })
  return {
    certPem: certificate.toString('pem'),
    keyPem: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  }
}
