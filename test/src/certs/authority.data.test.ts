import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { writeFile } from 'node:fs/promises'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { connect, createServer } from 'node:tls'
import type { TLSSocket } from 'node:tls'
import { execa } from 'execa'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../../src/certs/authority.ts'
import type { CertificatePair } from '../../../src/certs/authority.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const hourMs = 3_600_000

/** A host name of exactly this length, of labels as long as labels may be. */
function hostOf(length: number): string {
  const name = `${'a'.repeat(63)}.`.repeat(Math.ceil(length / 64)).slice(0, length)
  return name.endsWith('.') ? `${name.slice(0, -2)}bb` : name
}

/** What `openssl verify` says about the first certificate of a PEM text. */
async function verify(authorities: string, certPem: string, ...args: string[]) {
  await using dir = await tempDir('verify')
  await writeFile(join(dir.path, 'ca.pem'), authorities)
  await writeFile(join(dir.path, 'leaf.pem'), certPem)
  const files = ['-CAfile', join(dir.path, 'ca.pem'), '-x509_strict', ...args, join(dir.path, 'leaf.pem')]
  return await execa('openssl', ['verify', ...files], { reject: false })
}

async function passes(authorities: string, certPem: string, ...args: string[]): Promise<void> {
  const { exitCode, stderr } = await verify(authorities, certPem, ...args)
  assert.equal(exitCode, 0, stderr)
}

describe('openssl verify -x509_strict', () => {
  it('accepts server certificates for every name in them, up to 253 characters', async () => {
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'cdi_ca@1', lifetimeMs: 48 * hourMs, now })
    for (const length of [1, 63, 64, 65, 128, 253]) {
      const hosts = [hostOf(length), 'short.ns.svc']
      assert.equal(hosts[0]?.length, length)
      const { certPem } = await issueServerCertificate({ authority, hosts, lifetimeMs: hourMs, now })
      for (const host of hosts) {
        await passes(authority.certPem, certPem, '-purpose', 'sslserver', '-verify_hostname', host)
      }
      const elsewhere = await verify(authority.certPem, certPem, '-verify_hostname', 'elsewhere')
      assert.match(elsewhere.stderr, /hostname mismatch/i)
      const asClient = await verify(authority.certPem, certPem, '-purpose', 'sslclient')
      assert.notEqual(asClient.exitCode, 0)
    }
  })

  it('accepts client certificates with common names longer than 64 characters', async () => {
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'cdi_ca@1', lifetimeMs: 48 * hourMs, now })
    for (const length of [10, 64, 65, 200, 636]) {
      const commonName = `ns/${'s'.repeat(length - 3)}`
      const { certPem } = await issueClientCertificate({ authority, commonName, lifetimeMs: hourMs, now })
      await passes(authority.certPem, certPem, '-purpose', 'sslclient')
      const subject = await execa('openssl', ['x509', '-noout', '-subject', '-nameopt', 'multiline'], {
        input: certPem,
      })
      assert.match(subject.stdout, new RegExp(`commonName += ${commonName}$`, 'm'))
    }
  })

  it('tells two authorities of the same name apart, in either order', async () => {
    const now = Date.now()
    const made = [1, 2].map(() => createAuthority({ commonName: 'cdi_ca@1', lifetimeMs: 48 * hourMs, now }))
    const [one, two] = await Promise.all(made)
    assert.ok(one && two)
    for (const authority of [one, two]) {
      const { certPem } = await issueServerCertificate({ authority, hosts: ['x'], lifetimeMs: hourMs, now })
      await passes(one.certPem + two.certPem, certPem)
      await passes(two.certPem + one.certPem, certPem)
      const other = authority === one ? two : one
      assert.notEqual((await verify(other.certPem, certPem)).exitCode, 0)
    }
  })

  it('accepts what an RSA authority of an earlier version signs', async () => {
    const now = Date.now()
    await using dir = await tempDir('rsa')
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const keyPem = privateKey.export({ type: 'pkcs1', format: 'pem' }).toString()
    await writeFile(join(dir.path, 'ca.key'), keyPem)
    const args = ['-subj', '/CN=cdi_cdi-apiserver-signer@1795244450', '-days', '2', '-key', join(dir.path, 'ca.key')]
    const usage = 'keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign'
    const { stdout: certPem } = await execa('openssl', ['req', '-x509', ...args, '-addext', usage])
    const authority = { certPem, keyPem }
    const leaf = await issueServerCertificate({ authority, hosts: ['x'], lifetimeMs: hourMs, now })
    await passes(certPem, leaf.certPem, '-verify_hostname', 'x')
  })

  it('accepts no certificate that was signed by a leaf', async () => {
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'ca', lifetimeMs: 48 * hourMs, now })
    const leaf = await issueServerCertificate({ authority, hosts: ['x'], lifetimeMs: 24 * hourMs, now })
    const forged = await issueServerCertificate({ authority: leaf, hosts: ['y'], lifetimeMs: hourMs, now })
    await using dir = await tempDir('forged')
    const untrusted = join(dir.path, 'untrusted.pem')
    await writeFile(untrusted, leaf.certPem)
    const { exitCode, stderr } = await verify(authority.certPem, forged.certPem, '-untrusted', untrusted)
    assert.notEqual(exitCode, 0)
    assert.match(stderr, /invalid CA certificate/i)
  })
})

describe('mutual TLS', () => {
  it('stands between both kinds of leaves, with a host of 253 and a client name of 200 characters', async () => {
    const now = Date.now()
    const [servers, clients] = await Promise.all(
      ['servers', 'clients'].map((commonName) => createAuthority({ commonName, lifetimeMs: hourMs, now })),
    )
    assert.ok(servers && clients)
    const host = hostOf(253)
    const commonName = 'c'.repeat(200)
    const serverPair = await issueServerCertificate({ authority: servers, hosts: [host], lifetimeMs: hourMs, now })
    const clientPair = await issueClientCertificate({ authority: clients, commonName, lifetimeMs: hourMs, now })
    const server = createServer({ ...keysOf(serverPair), ca: clients.certPem, requestCert: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    const seen = once(server, 'secureConnection') as Promise<[TLSSocket]>
    const client = connect({ host: '127.0.0.1', port, servername: host, ca: servers.certPem, ...keysOf(clientPair) })
    try {
      await once(client, 'secureConnect')
      const [socket] = await seen
      assert.ok(client.authorized && socket.authorized)
      assert.equal(socket.getPeerCertificate().subject.CN, commonName)
      socket.destroy()
    } finally {
      client.destroy()
      server.close()
    }
  })
})

function keysOf({ certPem, keyPem }: CertificatePair): { cert: string; key: string } {
  return { cert: certPem, key: keyPem }
}
