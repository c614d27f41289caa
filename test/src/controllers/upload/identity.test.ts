import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import { assert as check, integer, property } from 'fast-check'
import { kinds } from '../../../../src/api/kinds.ts'
import { createAuthority } from '../../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../../src/certs/authority.ts'
import { lifetimesOf } from '../../../../src/certs/lifetimes.ts'
import { certificateNames } from '../../../../src/certs/names.ts'
import {
  deadlineOf,
  issueServerIdentity,
  ownIdentity,
  uploadAuthorities,
} from '../../../../src/controllers/upload/identity.ts'
import type { AuthorityCaches, UploadAuthorities } from '../../../../src/controllers/upload/identity.ts'
import type { ObjectKey } from '../../../../src/kube/object.ts'

const hour = 3_600_000
const now = Date.parse('2026-01-01T00:00:00Z')
const { lifetimes } = lifetimesOf(undefined)

/** Hours from now. */
function deadline(facts: Partial<Parameters<typeof deadlineOf>[0]> = {}): number {
  const until = deadlineOf({ lifetimes, leafEnds: now + 24 * hour, clientCaBegan: now, now, ...facts })
  return (until - now) / hour
}

describe('the deadline of an upload server', () => {
  it('is twelve hours by default', () => assert.equal(deadline(), 12))

  it('follows the certificate that is renewed sooner, of servers or of clients', () => {
    const server = { duration: '10h', renewBefore: '7h' }
    assert.equal(deadline({ lifetimes: lifetimesOf({ server }).lifetimes }), 3)
    const client = { duration: '10h', renewBefore: '8h' }
    assert.equal(deadline({ lifetimes: lifetimesOf({ server, client }).lifetimes }), 2)
  })

  it('comes before a leaf that its authority cut short', () => assert.equal(deadline({ leafEnds: now + 10 * hour }), 8))

  it('comes before the proxy may show a certificate of an authority that the server was not told of', () => {
    // Renewed in an hour, and used by clients a tenth of their refresh later.
    assert.equal(deadline({ clientCaBegan: now - 23 * hour }), 2.2)
    // An authority is renewed after 80 % of its life at the latest: here after 38.4 hours, and not after 46.
    const late = { ...lifetimes, ...lifetimesOf({ ca: { duration: '48h', renewBefore: '2h' } }).lifetimes }
    assert.ok(Math.abs(deadline({ lifetimes: late, clientCaBegan: now - 30 * hour }) - (38.4 - 30 + 1.2)) < 0.01)
    assert.equal(deadline({ clientCaBegan: now - 30 * hour }), 12, 'one that is overdue may be renewed at any time')
  })

  it('leaves a server a minute at least, or what its certificate is worth, and never more than its refresh', () => {
    check(
      property(integer({ min: -3_000, max: 3_000 }), integer({ min: 1, max: 3_000 }), (beganMin, leafMin) => {
        const hours = deadline({ clientCaBegan: now + beganMin * 60_000, leafEnds: now + leafMin * 60_000 })
        assert.ok(hours >= 1 / 60 && hours <= 12, String(hours))
      }),
    )
  })
})

async function authorities(): Promise<UploadAuthorities> {
  const make = (commonName: string) => createAuthority({ commonName, lifetimeMs: 48 * hour, now })
  const [server, client] = await Promise.all([make('servers'), make('clients')])
  return { server, serverBundle: server.certPem, client, clientBundle: client.certPem }
}

describe('the authorities of upload servers', () => {
  it('are not there while a bundle does not know its signer yet', async () => {
    const [first, next] = [await authorities(), await authorities()]
    const found = (seen: UploadAuthorities): UploadAuthorities | undefined => uploadAuthorities(cachesOf(seen), 'cdi')
    assert.deepEqual(found(first), first)
    const both = { ...next, clientBundle: `# two\r\n${first.clientBundle}${next.clientBundle}` }
    assert.deepEqual(found(both), both)
    assert.equal(found({ ...first, client: next.client }), undefined)
    assert.equal(found({ ...first, server: next.server }), undefined)
    assert.equal(found({ ...first, clientBundle: '' }), undefined)
  })
})

function cachesOf(seen: UploadAuthorities): AuthorityCaches {
  const { uploadServer, uploadClient } = certificateNames
  const base64 = (text: string): string => Buffer.from(text).toString('base64')
  const pair = ({ certPem, keyPem }: CertificatePair): Record<string, string> => ({
    'tls.crt': base64(certPem),
    'tls.key': base64(keyPem),
  })
  const data: Readonly<Record<string, Record<string, string>>> = {
    [uploadServer.signer]: pair(seen.server),
    [uploadClient.signer]: pair(seen.client),
    [uploadServer.bundle]: { 'ca-bundle.crt': seen.serverBundle },
    [uploadClient.bundle]: { 'ca-bundle.crt': seen.clientBundle },
  }
  const found = (kind: typeof kinds.secret | typeof kinds.configMap, { name }: ObjectKey) => ({
    apiVersion: 'v1',
    kind: kind.kind,
    metadata: { name, uid: name, resourceVersion: '1' },
    data: data[name] ?? {},
  })
  return {
    cdiSecrets: { get: (key) => found(kinds.secret, key) },
    cdiConfigMaps: { get: (key) => found(kinds.configMap, key) },
  }
}

describe('the identity of an upload server', () => {
  it('is for its Service under all names, signed by the authority that the proxy trusts', async () => {
    const signers = await authorities()
    const identity = await issueServerIdentity({
      authorities: signers,
      service: 'cdi-upload-dv',
      namespace: 'vms',
      lifetimes,
      now,
    })
    const leaf = new X509Certificate(identity.certPem)
    assert.ok(leaf.verify(new X509Certificate(signers.serverBundle).publicKey))
    for (const host of ['cdi-upload-dv', 'cdi-upload-dv.vms', 'cdi-upload-dv.vms.svc']) {
      assert.equal(leaf.checkHost(host), host)
    }
    assert.equal(leaf.checkHost('cdi-upload-other.vms.svc'), undefined)
    assert.equal(identity.clientCaPem, signers.clientBundle)
    assert.equal(identity.deadline, now + 12 * hour)
    assert.ok(leaf.validToDate.getTime() >= identity.deadline)
  })
})

describe("the controller's own identity towards upload servers", () => {
  it('is made once, and anew when it is old or its authority is another', async () => {
    let [time, present] = [now, await authorities()]
    const identity = ownIdentity({ authorities: () => present, now: () => time })
    const [first, same] = await Promise.all([identity(), identity()])
    assert.equal(first.certPem, same.certPem)
    const certificate = new X509Certificate(first.certPem)
    assert.match(certificate.subject, /CN=client\.upload-server\.cdi\.kubevirt\.io/)
    assert.ok(certificate.verify(new X509Certificate(present.client.certPem).publicKey))
    assert.equal(first.serverCaPem, present.serverBundle)
    time += 31 * 60_000
    const renewed = await identity()
    assert.notEqual(renewed.certPem, first.certPem)
    present = await authorities()
    assert.ok(
      new X509Certificate((await identity()).certPem).verify(new X509Certificate(present.client.certPem).publicKey),
    )
  })

  it('is not there while there is no authority, and comes with it', async () => {
    let present: UploadAuthorities | undefined
    const identity = ownIdentity({ authorities: () => present, now: () => now })
    await assert.rejects(identity(), /no authority/)
    present = { ...(await authorities()), client: { certPem: 'broken', keyPem: 'broken' } }
    await assert.rejects(identity())
    const sound = await authorities()
    present = { ...sound, client: { ...sound.client } }
    assert.ok((await identity()).certPem)
  })
})
