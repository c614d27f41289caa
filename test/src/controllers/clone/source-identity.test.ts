import assert from 'node:assert/strict'
import { X509Certificate } from 'node:crypto'
import { describe, it } from 'node:test'
import { createAuthority } from '../../../../src/certs/authority.ts'
import { lifetimesOf } from '../../../../src/certs/lifetimes.ts'
import { issueSourceIdentity, mayHaveOldCertificates } from '../../../../src/controllers/clone/source-identity.ts'
import { cloneClientName } from '../../../../src/controllers/shared/upload-target.ts'
import type { UploadAuthorities } from '../../../../src/controllers/upload/identity.ts'
import { receiver, sourcePod } from './copy-fixtures.ts'

const hour = 3_600_000
const now = Date.parse('2026-01-02T00:00:00Z')
const { lifetimes } = lifetimesOf(undefined)

async function authorities(born: { servers?: number; clients?: number } = {}): Promise<UploadAuthorities> {
  const make = (commonName: string, at = now - 20 * hour) =>
    createAuthority({ commonName, lifetimeMs: 48 * hour, now: at })
  const [server, client] = await Promise.all([make('servers', born.servers), make('clients', born.clients)])
  return { server, serverBundle: server.certPem, client, clientBundle: client.certPem }
}

describe('the identity of a source pod', () => {
  it('is in the one name that the upload server lets in, however long', async () => {
    const target = receiver({ name: 't'.repeat(160) })
    const commonName = cloneClientName(target)
    assert.equal(commonName, `vms/src-vms/${'t'.repeat(160)}`)
    const signers = await authorities()
    const { certPem, serverCaPem } = await issueSourceIdentity({ authorities: signers, commonName, lifetimes, now })
    const leaf = new X509Certificate(certPem)
    assert.equal(leaf.subject, `CN=${commonName}`)
    assert.ok(leaf.verify(new X509Certificate(signers.client.certPem).publicKey))
    assert.equal(leaf.validToDate.getTime(), now + 24 * hour)
    assert.equal(serverCaPem, signers.serverBundle)
  })

  it('is that of the claim, whatever somebody has written on it', () => {
    const target = receiver({
      annotated: { 'cdi.kubevirt.io/uploadClientName': 'client.upload-server.cdi.kubevirt.io' },
    })
    assert.equal(cloneClientName(target), 'vms/src-vms/tmp-pvc-1')
  })

  const cases: [string, { age: number; servers?: number; clients?: number }, boolean][] = [
    ['a pod of today', { age: 1 }, false],
    ['a pod whose certificate is due', { age: 12 }, true],
    ['a pod that is older than the authority of servers', { age: 2, servers: 1 }, true],
    ['a pod that is older than the authority of clients', { age: 2, clients: 1 }, true],
  ]
  for (const [what, { age, servers, clients }, isOld] of cases) {
    it(`${isOld ? 'may be refused' : 'is good'} in ${what}`, async () => {
      const pod = sourcePod(receiver())
      pod.metadata.creationTimestamp = new Date(now - age * hour).toISOString()
      const signers = await authorities({
        ...(servers ? { servers: now - servers * hour } : {}),
        ...(clients ? { clients: now - clients * hour } : {}),
      })
      assert.equal(mayHaveOldCertificates({ pod, authorities: signers, lifetimes, now }), isOld)
    })
  }
})
