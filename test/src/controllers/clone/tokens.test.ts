/** Which tokens let a clone read a source in another namespace. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { describe, it } from 'node:test'
import type { Secret } from '../../../../src/api/kinds.ts'
import { annotations } from '../../../../src/api/names.ts'
import { cloneTokens } from '../../../../src/controllers/clone/tokens.ts'
import type { CloneOrder } from '../../../../src/controllers/clone/tokens.ts'
import { systemClock } from '../../../../src/kube/clock.ts'
import type { KubeObject } from '../../../../src/kube/object.ts'
import { signToken, verifyToken } from '../../../../src/tokens/token.ts'
import type { TokenClaims, TokenIssuer } from '../../../../src/tokens/token.ts'
import { claim } from '../fixtures.ts'
import { heldCaches } from '../held.ts'

const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const other = generateKeyPairSync('rsa', { modulusLength: 2048 })
const now = systemClock.now()
const order: CloneOrder = {
  source: { kind: 'pvc', namespace: 'golden', name: 'fedora' },
  target: { namespace: 'vms', name: 'dv' },
}

const base64 = (key: KeyObject, type: 'pkcs1' | 'spki'): string =>
  Buffer.from(key.export({ type, format: 'pem' })).toString('base64')
const secret: Secret = {
  apiVersion: 'v1',
  kind: 'Secret',
  metadata: { name: 'cdi-api-signing-key', namespace: 'cdi', uid: 'uid-key', resourceVersion: '1' },
  data: { id_rsa: base64(privateKey, 'pkcs1'), 'id_rsa.pub': base64(publicKey, 'spki') },
}
const tokens = cloneTokens({ caches: heldCaches({ cdiSecrets: [secret] }), cdiNamespace: 'cdi', clock: systemClock })

const claims: TokenClaims = {
  operation: 'Clone',
  name: 'fedora',
  namespace: 'golden',
  resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
  params: { targetNamespace: 'vms', targetName: 'dv' },
}

function signed(more: Partial<TokenClaims> = {}, facts: { key?: KeyObject; issuer?: TokenIssuer; at?: number } = {}) {
  const { key = privateKey, issuer = 'cdi-apiserver', at = now } = facts
  return signToken({ claims: { ...claims, ...more }, privateKey: key, issuer, lifetimeMs: 300_000, now: at })
}

function bearing(annotated: Record<string, string>): KubeObject {
  return claim({ name: 'dv', uid: 'uid-dv', annotated })
}

const short = async (...token: Parameters<typeof signed>): Promise<KubeObject> =>
  bearing({ [annotations.cloneToken]: await signed(...token) })

describe('the token of a clone', () => {
  it('allows the clone that it names, and what is made of it the same for one object', async () => {
    await tokens.assertAllowed(await short(), order)
    const extended = await tokens.extend(order, 'uid-dv')
    await tokens.assertAllowed(bearing({ [annotations.extendedCloneToken]: extended }), order)
    const verified = await verifyToken({ token: extended, publicKey, issuer: 'cdi-deployment', now })
    assert.deepEqual(verified.params, { targetNamespace: 'vms', targetName: 'dv', uid: 'uid-dv' })
    const namesake = { ...bearing({ [annotations.extendedCloneToken]: extended }) }
    namesake.metadata = { ...namesake.metadata, uid: 'uid-of-a-later-one' }
    await assert.rejects(tokens.assertAllowed(namesake, order), { message: 'token uid mismatch' })
  })

  const refused: [string, Promise<KubeObject> | KubeObject, RegExp][] = [
    ['that is not there', bearing({}), /^token missing$/],
    ['of another key', short({}, { key: other.privateKey }), /^error verifying token: /],
    ['that is over', short({}, { at: now - 3_600_000 }), /^error verifying token: /],
    ['of another issuer', short({}, { issuer: 'cdi-deployment' }), /^error verifying token: /],
    ['for an upload', short({ operation: 'Upload' }), /^invalid token$/],
    ['of another source', short({ name: 'windows' }), /^invalid token$/],
    ['of a source elsewhere', short({ namespace: 'silver' }), /^invalid token$/],
    [
      'of a snapshot of the same name',
      short({ resource: { group: 'snapshot.storage.k8s.io', version: 'v1', resource: 'volumesnapshots' } }),
      /^invalid token$/,
    ],
    ['for another target', short({ params: { targetNamespace: 'vms', targetName: 'other' } }), /^invalid token$/],
    ['for a target elsewhere', short({ params: { targetNamespace: 'x', targetName: 'dv' } }), /^invalid token$/],
    ['that names no target', short({ params: {} }), /^invalid token$/],
  ]
  for (const [which, object, message] of refused) {
    it(`${which} allows nothing`, async () => {
      await assert.rejects(tokens.assertAllowed(await object, order), { name: 'CloneTokenError', message })
    })
  }

  it('is looked at no further when there is an extended one, be it good or not', async () => {
    const both = bearing({ [annotations.cloneToken]: await signed(), [annotations.extendedCloneToken]: 'x' })
    await assert.rejects(tokens.assertAllowed(both, order), { message: /^error verifying token: / })
  })

  it('cannot be judged without a key, which is no refusal', async () => {
    const keyless = cloneTokens({ caches: heldCaches({}), cdiNamespace: 'cdi', clock: systemClock })
    await assert.rejects(keyless.assertAllowed(await short(), order), { name: 'Error' })
  })
})
