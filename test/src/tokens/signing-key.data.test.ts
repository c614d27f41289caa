import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { execa } from 'execa'
import { kinds } from '../../../src/api/kinds.ts'
import type { ConnectedClient } from '../../../src/kube/client.ts'
import { silentLog } from '../../../src/log.ts'
import { ensureSigningKey, signingKeySecretName, SigningKeyError } from '../../../src/tokens/signing-key.ts'
import { startApiServer } from '../../fixtures/apiserver.ts'
import type { ApiServer } from '../../fixtures/apiserver.ts'

describe('signing key in a real API server', () => {
  let api: ApiServer
  let client: ConnectedClient
  let serial = 0

  before(async () => {
    api = await startApiServer()
    client = api.client()
  })
  after(() => api[Symbol.asyncDispose]())

  async function newNamespace(): Promise<string> {
    const name = `keys-${serial++}`
    await client.create(kinds.namespace, { apiVersion: 'v1', kind: 'Namespace', metadata: { name } })
    return name
  }

  it('is made as the contract has it: Opaque, PKCS #1 and PKIX, RSA 2048, with its labels and owner', async () => {
    const namespace = await newNamespace()
    const owner = { apiVersion: 'cdi.kubevirt.io/v1beta1', kind: 'CDI', name: 'cdi', uid: 'u-1', controller: true }
    const key = await ensureSigningKey({ client, namespace, log: silentLog(), ownerReferences: [owner] })
    const secret = await client.get(kinds.secret, { namespace, name: signingKeySecretName })
    assert.equal(secret?.type, 'Opaque')
    assert.deepEqual(Object.keys(secret.data ?? {}).sort(), ['id_rsa', 'id_rsa.pub'])
    assert.deepEqual(secret.metadata.labels, {
      'cdi.kubevirt.io': 'keystore',
      'app.kubernetes.io/component': 'storage',
      'app.kubernetes.io/managed-by': 'cdi-apiserver',
    })
    assert.deepEqual(secret.metadata.ownerReferences, [owner])
    const text = (name: string): string => Buffer.from(secret.data?.[name] ?? '', 'base64').toString()
    assert.match(text('id_rsa'), /^-----BEGIN RSA PRIVATE KEY-----\n[^-]+-----END RSA PRIVATE KEY-----\n$/)
    assert.match(text('id_rsa.pub'), /^-----BEGIN PUBLIC KEY-----\n[^-]+-----END PUBLIC KEY-----\n$/)
    assert.equal(key.publicPem, text('id_rsa.pub'))
    const { stdout } = await execa('openssl', ['rsa', '-noout', '-text', '-check'], { input: text('id_rsa') })
    assert.match(stdout, /\(2048 bit/)
    const derived = await execa('openssl', ['rsa', '-pubout'], { input: text('id_rsa') })
    assert.equal(`${derived.stdout}\n`, text('id_rsa.pub'))
  })

  it('is the same for all who ask at the same time, and made once', async () => {
    const namespace = await newNamespace()
    const clients = Array.from({ length: 8 }, () => api.client())
    const keys = await Promise.all(clients.map((one) => ensureSigningKey({ client: one, namespace, log: silentLog() })))
    assert.equal(new Set(keys.map(({ publicPem }) => publicPem)).size, 1)
    const before = await client.get(kinds.secret, { namespace, name: signingKeySecretName })
    const again = await ensureSigningKey({ client, namespace, log: silentLog() })
    assert.equal(again.publicPem, keys[0]?.publicPem)
    const after = await client.get(kinds.secret, { namespace, name: signingKeySecretName })
    assert.equal(after?.metadata.resourceVersion, before?.metadata.resourceVersion)
  })

  it('is left alone when it cannot be used, and that is said', async () => {
    const namespace = await newNamespace()
    const made = await client.create(kinds.secret, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { namespace, name: signingKeySecretName },
      data: { id_rsa: 'eA==' },
    })
    await assert.rejects(ensureSigningKey({ client, namespace, log: silentLog() }), SigningKeyError)
    const found = await client.get(kinds.secret, { namespace, name: signingKeySecretName })
    assert.equal(found?.metadata.resourceVersion, made.metadata.resourceVersion)
  })
})
