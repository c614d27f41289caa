/** Who may clone from another namespace: rights there, and tokens that say so; nobody gets a byte without. */
import assert from 'node:assert/strict'
import { createPublicKey, generateKeyPairSync } from 'node:crypto'
import { describe } from 'node:test'
import { jwtVerify } from 'jose'
import { kinds } from '../../src/api/kinds.ts'
import type { KubeObject } from '../../src/kube/object.ts'
import type { DataVolumeBuilder } from '../fixtures/data-volume.ts'
import { forgeToken } from '../fixtures/upload-tokens.ts'
import type { ForgedToken } from '../fixtures/upload-tokens.ts'
import { assertCloned, assertFinished } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import { cloneBy, cloneSource, givenSource, handMadeClone, sourceDisk, takeSnapshot } from './support/clone.ts'
import { installNamespace } from './support/cluster.ts'
import { kubectl } from './support/kubectl.ts'
import type { KubectlOutcome } from './support/kubectl.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const shortToken = 'cdi.kubevirt.io/storage.clone.token'
const extendedToken = 'cdi.kubevirt.io/storage.extended.clone.token'

const stage = useStage(async ({ cluster: { kube } }) => {
  const { data = {} } =
    (await kube.get(kinds.secret, { namespace: installNamespace, name: 'cdi-api-signing-key' })) ?? {}
  const text = (name: string): string => Buffer.from(data[name] ?? '', 'base64').toString()
  return { privateKeyPem: text('id_rsa'), publicKey: createPublicKey(text('id_rsa.pub')) }
})

async function run(...args: string[]): Promise<void> {
  const { exitCode, stderr } = await kubectl(args)
  assert.equal(exitCode, 0, stderr)
}

interface Somebody {
  /** As the API server calls them. */
  readonly name: string
  /** Arguments of kubectl to act as they. */
  readonly as: readonly string[]
  /** Arguments of `kubectl create rolebinding`. */
  readonly subject: string
}

/** Somebody who may do with the scene's namespace what an editor may, and nothing elsewhere. */
async function editor(scene: Scene, kind: 'user' | 'account'): Promise<Somebody> {
  const { namespace } = scene
  const somebody: Somebody =
    kind === 'user'
      ? { name: `jane@${namespace}`, as: [`--as=jane@${namespace}`], subject: `--user=jane@${namespace}` }
      : {
          name: `system:serviceaccount:${namespace}:robot`,
          // As the API server would find out for its token.
          as: [
            `--as=system:serviceaccount:${namespace}:robot`,
            '--as-group=system:serviceaccounts',
            `--as-group=system:serviceaccounts:${namespace}`,
            '--as-group=system:authenticated',
          ],
          subject: `--serviceaccount=${namespace}:robot`,
        }
  if (kind === 'account') await run('-n', namespace, 'create', 'serviceaccount', 'robot')
  await run('-n', namespace, 'create', 'rolebinding', 'editor', '--clusterrole=edit', somebody.subject)
  return somebody
}

function creates(scene: Scene, { as }: Somebody, builder: DataVolumeBuilder): Promise<KubectlOutcome> {
  return kubectl([...as, 'create', '-f', '-'], builder.manifest(scene.namespace))
}

async function isDenied(scene: Scene, from: Scene, somebody: Somebody, builder: DataVolumeBuilder): Promise<void> {
  const { exitCode, stderr } = await creates(scene, somebody, builder)
  assert.notEqual(exitCode, 0)
  const words = `User ${somebody.name} has insufficient permissions in clone source namespace ${from.namespace}`
  assert.ok(stderr.includes(words), stderr)
  assert.equal(
    await scene.cluster.kube.get(kinds.dataVolume, { namespace: scene.namespace, name: builder.name }),
    undefined,
  )
}

async function isAllowed(scene: Scene, from: Scene, somebody: Somebody, builder: DataVolumeBuilder): Promise<void> {
  const { exitCode, stderr } = await creates(scene, somebody, builder)
  assert.equal(exitCode, 0, stderr)
  await assertCloned(scene, { from, strategy: 'csi-clone' })
  await assertDisk(scene, stage().images)
}

describe('who has no rights where the source is', { concurrency: 3 }, () => {
  for (const kind of ['user', 'account'] as const) {
    scenario(
      `cannot clone from there, be it that they may look (${kind})`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        await takeSnapshot(from)
        const somebody = await editor(scene, kind)
        const wanted = cloneBy('csi-clone', from)
        await isDenied(scene, from, somebody, wanted)
        await run('-n', from.namespace, 'create', 'rolebinding', 'viewer', '--clusterrole=view', somebody.subject)
        await isDenied(scene, from, somebody, wanted)
        await isDenied(scene, from, somebody, wanted.cloneSnapshot(from.namespace))
        // In their own namespace nobody asks them.
        await givenSource(scene, sourceDisk(stage()))
        await isAllowed(scene, scene, somebody, cloneBy('csi-clone', scene))
      },
    )
  }

  scenario(
    'gets no further by way of a DataSource',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      const dataSource = {
        apiVersion: 'cdi.kubevirt.io/v1beta1',
        kind: 'DataSource',
        metadata: { name: 'golden' },
        spec: { source: { pvc: { namespace: from.namespace, name: 'src' } } },
      }
      const somebody = await editor(scene, 'account')
      // One of their own that points there as well as one that is there.
      for (const each of [scene, from]) {
        await each.create(kinds.dataSource, dataSource)
        await isDenied(scene, from, somebody, cloneBy('csi-clone', from).sourceRef('golden', each.namespace))
      }
    },
  )
})

describe('who has rights where the source is', { concurrency: 3 }, () => {
  const grants: readonly (readonly [what: string, role: string, kind: 'user' | 'account'])[] = [
    ['the right to clone', 'cdi.kubevirt.io:clone-sourcer', 'user'],
    ['the right to clone', 'cdi.kubevirt.io:clone-sourcer', 'account'],
    ['the rights of an editor', 'edit', 'account'],
    ['the rights of an administrator', 'admin', 'user'],
  ]
  for (const [what, role, kind] of grants) {
    scenario(
      `may clone from there with ${what} (${kind})`,
      () => stage().cluster,
      async (scene) => {
        const from = await scene.another()
        await givenSource(from, sourceDisk(stage()))
        const somebody = await editor(scene, kind)
        await run('-n', from.namespace, 'create', 'rolebinding', 'there', `--clusterrole=${role}`, somebody.subject)
        await isAllowed(scene, from, somebody, cloneBy('csi-clone', from))
      },
    )
  }

  scenario(
    'may have them as one of the service accounts of a namespace',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      const somebody = await editor(scene, 'account')
      const group = `--group=system:serviceaccounts:${scene.namespace}`
      const role = '--clusterrole=cdi.kubevirt.io:clone-sourcer'
      await run('-n', from.namespace, 'create', 'rolebinding', 'there', role, group)
      await isAllowed(scene, from, somebody, cloneBy('csi-clone', from))
    },
  )

  scenario(
    'needs to be able to make pods for a claim, and claims besides for a snapshot',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await takeSnapshot(from)
      const somebody = await editor(scene, 'account')
      const grant = async (name: string, resource: string): Promise<void> => {
        const { exitCode, stderr } = await kubectl(['-n', from.namespace, 'create', '-f', '-'], {
          apiVersion: 'rbac.authorization.k8s.io/v1',
          kind: 'Role',
          metadata: { name },
          rules: [{ apiGroups: [''], resources: [resource], verbs: ['create'] }],
        })
        assert.equal(exitCode, 0, stderr)
        await run('-n', from.namespace, 'create', 'rolebinding', name, `--role=${name}`, somebody.subject)
      }
      await grant('pods', 'pods')
      const ofSnapshot = cloneBy('csi-clone', from, 'of-snapshot').cloneSnapshot(from.namespace)
      await isDenied(scene, from, somebody, ofSnapshot)
      await isAllowed(scene, from, somebody, cloneBy('csi-clone', from))
      // There is no such resource, but this is what bindings name.
      await grant('claims', 'pvcs')
      const { exitCode, stderr } = await creates(scene, somebody, ofSnapshot)
      assert.equal(exitCode, 0, stderr)
    },
  )
})

describe('the token of a clone', { concurrency: 3 }, () => {
  const claimsOf = async (object: KubeObject | undefined, annotation: string): Promise<Record<string, unknown>> => {
    const token = object?.metadata.annotations?.[annotation] ?? ''
    const { payload, protectedHeader } = await jwtVerify(token, stage().publicKey)
    assert.deepEqual(protectedHeader, { alg: 'PS256' })
    const { iat = 0, nbf, exp = 0, ...claims } = payload
    assert.equal(nbf, iat)
    return { ...claims, lifeSeconds: exp - iat }
  }

  scenario(
    'says what may be cloned whereto, for a while; what is made of it holds for one object only',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await scene.apply(cloneBy('copy', from))
      await assertCloned(scene, { from, strategy: 'copy' })
      const [dv, target] = [scene.dataVolume('dv'), scene.pvc('dv')]
      const allowed = {
        operation: 'Clone',
        namespace: from.namespace,
        name: 'src',
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
      }
      const params = { targetNamespace: scene.namespace, targetName: 'dv' }
      const short = { ...allowed, iss: 'cdi-apiserver', lifeSeconds: 300, params }
      assert.deepEqual(await claimsOf(dv, shortToken), short)
      assert.deepEqual(await claimsOf(target, shortToken), short)
      for (const object of [dv, target]) {
        assert.deepEqual(await claimsOf(object, extendedToken), {
          ...allowed,
          iss: 'cdi-deployment',
          lifeSeconds: 10 * 365 * 24 * 3600,
          params: { ...params, uid: object?.metadata.uid },
        })
      }
    },
  )

  scenario(
    'cannot be brought along: those of the DataVolume are dropped in its own namespace',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(
        cloneBy('csi-clone', scene).annotate(shortToken, 'smuggled').annotate(extendedToken, 'smuggled'),
      )
      await assertCloned(scene, { from: scene, strategy: 'csi-clone' })
      const { [shortToken]: short, [extendedToken]: extended } = scene.pvc('dv')?.metadata.annotations ?? {}
      assert.deepEqual([short, extended], [undefined, undefined])
      assert.equal((await claimsOf(scene.dataVolume('dv'), shortToken))['name'], 'src')
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'is needed by a claim that was made by hand, and must be the right one',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await cloneSource(from)
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
      const tokenFor = (targetName: string, changes: Partial<ForgedToken> = {}): Promise<string> =>
        forgeToken({
          privateKeyPem: stage().privateKeyPem,
          operation: 'Clone',
          namespace: from.namespace,
          name: 'src',
          params: { targetNamespace: scene.namespace, targetName },
          ...changes,
        })
      const foreignKey = privateKey.export({ type: 'pkcs1', format: 'pem' }) as string
      const elsewhere = { 'cdi.kubevirt.io/dataSourceNamespace': from.namespace }
      const wrong: Readonly<Record<string, Readonly<Record<string, string>>>> = {
        'no-token': {},
        'foreign-key': { [shortToken]: await tokenFor('foreign-key', { privateKeyPem: foreignKey }) },
        expired: { [shortToken]: await tokenFor('expired', { issuedAt: new Date(Date.now() - 320_000) }) },
        'other-issuer': { [shortToken]: await tokenFor('other-issuer', { issuer: 'somebody' }) },
        'other-source': { [shortToken]: await tokenFor('other-source', { name: 'other' }) },
        'other-namespace': { [shortToken]: await tokenFor('other-namespace', { namespace: 'other' }) },
        'other-target': { [shortToken]: await tokenFor('mine') },
        'for-an-upload': { [shortToken]: await tokenFor('for-an-upload', { operation: 'Upload' }) },
        garbage: { [shortToken]: 'garbage' },
        // The long one counts, and is not good although the short one is.
        'long-one': { [shortToken]: await tokenFor('long-one'), [extendedToken]: await tokenFor('long-one') },
      }
      for (const [name, annotations] of Object.entries(wrong)) {
        await handMadeClone(scene, { name, annotations: { ...elsewhere, ...annotations } })
      }
      await handMadeClone(scene, { name: 'mine', annotations: { ...elsewhere, [shortToken]: await tokenFor('mine') } })

      await scene.until('the right one', () => scene.pvc('mine')?.status?.phase === 'Bound')
      for (const name of Object.keys(wrong)) {
        const refused = await scene.until(`${name} to be refused`, () => {
          const found = scene.pvc(name)
          return found?.metadata.annotations?.['cdi.kubevirt.io/clonePhase'] === 'Error' ? found : undefined
        })
        assert.match(
          refused.metadata.annotations?.['cdi.kubevirt.io/cloneError'] ?? '',
          /token|cross-namespace with resource grants is not supported yet/,
          name,
        )
        assert.equal(refused.status?.phase, 'Pending')
        assert.deepEqual(from.seen.pvcs.named(`tmp-pvc-${refused.metadata.uid}`), [], name)
        assert.deepEqual(from.seen.snapshots.named(`tmp-snapshot-${refused.metadata.uid}`), [], name)
      }
      await assertDisk(scene, stage().images, 'mine')
      for (const name of Object.keys(wrong)) {
        await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name })
      }
      await scene.until('the wrong ones to be gone', () => scene.seen.pvcs.cache.size === 1)
      await assertFinished(scene, { name: 'mine', strategy: 'snapshot' })
    },
  )
})
