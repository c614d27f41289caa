import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Access, User } from '../../../../src/apiserver/access.ts'
import { mutateDataVolume } from '../../../../src/apiserver/admission/datavolume-mutate.ts'
import type { Verdict } from '../../../../src/apiserver/admission/verdict.ts'
import { kinds } from '../../../../src/api/kinds.ts'
import type { KubeClient } from '../../../../src/kube/client.ts'
import { formatKey } from '../../../../src/kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../../../src/kube/object.ts'
import type { TokenClaims } from '../../../../src/tokens/token.ts'
import { patched, patchOf, request, told } from './requests.ts'
import type { RequestFacts } from './requests.ts'

const tokenKey = 'cdi.kubevirt.io/storage.clone.token'
const storage = { resources: { requests: { storage: '1Gi' } } }
const fromClaim = { storage, source: { pvc: { namespace: 'away', name: 'golden' } } }
const fromSnapshot = { storage, source: { snapshot: { namespace: 'away', name: 'snap' } } }
const fromDataSource = { storage, sourceRef: { kind: 'DataSource', name: 'fedora' } }

interface World {
  /** `plural namespace/name` → object */
  readonly objects?: Readonly<Record<string, object>>
  /** What the user may create: `datavolumes/source`, `pods`, `pvcs`. */
  readonly allowed?: readonly string[]
}

interface Outcome {
  readonly verdict: Verdict
  readonly questions: readonly { user: User; access: Access }[]
  readonly claims: readonly TokenClaims[]
}

const withNamespace = { 'namespaces away': { metadata: { name: 'away' } } }

async function mutate(facts: RequestFacts, { objects = withNamespace, allowed = [] }: World = {}): Promise<Outcome> {
  const questions: { user: User; access: Access }[] = []
  const claims: TokenClaims[] = []
  const client: Pick<KubeClient, 'get'> = {
    get: async <T extends KubeObject>(kind: Kind<T>, key: ObjectKey) =>
      objects[`${kind.plural} ${formatKey(key)}`] as T | undefined,
  }
  const verdict = await mutateDataVolume(
    request('datavolumes', facts),
    {
      client,
      askAccess: async (user, access) => {
        questions.push({ user, access })
        const what = access.subresource === undefined ? access.resource : `${access.resource}/${access.subresource}`
        return { allowed: allowed.includes(what), reason: '' }
      },
      signToken: async (wanted) => {
        claims.push(wanted)
        return 'signed'
      },
      nameSuffix: () => 'x2y4z',
    },
    new AbortController().signal,
  )
  return { verdict, questions, claims }
}

function dataVolume(spec: unknown, metadata: object = { name: 'dv' }): object {
  return { metadata, spec }
}

const denied = '422: User alice has insufficient permissions in clone source namespace away'

describe('quantities', () => {
  const message = "400:quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
  for (const amount of ['500Mo', '1.2.3Gi', '', 'Gi', '1 Gi', '--1', {}, true]) {
    it(`are refused when malformed: ${JSON.stringify(amount)}`, async () => {
      for (const claim of ['pvc', 'storage']) {
        const spec = { [claim]: { resources: { requests: { storage: amount } } }, source: { blank: {} } }
        assert.equal(told((await mutate({ object: dataVolume(spec) })).verdict), message)
      }
    })
  }

  it('are looked at among limits too', async () => {
    const spec = { storage: { resources: { limits: { storage: 'x' } } } }
    assert.equal(told((await mutate({ object: dataVolume(spec) })).verdict), message)
  })

  for (const amount of ['000500Mi', '1.5Gi', '.5Gi', '12e6', '1E3', '1E', '+5M', '1Ei', 1024, null]) {
    it(`pass when well-formed: ${JSON.stringify(amount)}`, async () => {
      const spec = { storage: { resources: { requests: { storage: amount } } }, source: { blank: {} } }
      assert.equal(told((await mutate({ object: dataVolume(spec) })).verdict), 'admitted')
    })
  }
})

describe('an object that its schema has not seen yet', () => {
  const odd: [string, unknown][] = [
    ['no object', null],
    ['no metadata', { spec: fromClaim.storage }],
    ['no spec', { metadata: { name: 'dv' } }],
    ['a spec of another type', { metadata: [], spec: 'x' }],
    ['a source that is null', dataVolume({ storage: null, source: null, sourceRef: null })],
    ['a source claim without a name', dataVolume({ source: { pvc: { namespace: 'away' } } })],
    ['a source claim that is null', dataVolume({ source: { pvc: null, http: null } })],
    ['a sourceRef without a name', dataVolume({ sourceRef: { kind: 'DataSource' } })],
    ['a sourceRef of another kind', dataVolume({ sourceRef: { kind: 'X', name: 'y' } })],
  ]
  for (const [name, object] of odd) {
    it(`is left to the schema: ${name}`, async () => {
      const { verdict, questions } = await mutate({ object })
      assert.deepEqual([told(verdict), patchOf(verdict), questions], ['admitted', [], []])
    })
  }
})

describe('a clone within a namespace', () => {
  it('gets a token without any review', async () => {
    const spec = { storage, source: { pvc: { namespace: 'home', name: 'golden' } } }
    const { verdict, questions, claims } = await mutate({ object: dataVolume(spec) })
    assert.deepEqual(patchOf(verdict), [{ op: 'add', path: '/metadata/annotations', value: { [tokenKey]: 'signed' } }])
    assert.deepEqual(questions, [])
    assert.deepEqual(claims, [
      {
        operation: 'Clone',
        name: 'golden',
        namespace: 'home',
        resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
        params: { targetNamespace: 'home', targetName: 'dv' },
      },
    ])
  })

  it('is what a source without a namespace means', async () => {
    const { claims } = await mutate({ object: dataVolume({ source: { pvc: { name: 'golden', namespace: '' } } }) })
    assert.equal(claims[0]?.namespace, 'home')
  })
})

describe('a clone from another namespace', () => {
  it('is refused to a user without rights, who was asked about in that namespace', async () => {
    const { verdict, questions, claims } = await mutate({ object: dataVolume(fromClaim) })
    assert.equal(told(verdict), denied)
    assert.ok(!verdict.allowed && 'causes' in verdict)
    assert.equal(verdict.causes[0]?.field, 'spec.source.PVC.namespace')
    assert.deepEqual(claims, [])
    const user = { name: 'alice', groups: ['system:authenticated'], extra: { scope: ['a', 'b'] } }
    const common = { namespace: 'away', verb: 'create', name: 'golden' }
    assert.deepEqual(questions, [
      {
        user,
        access: {
          ...common,
          group: 'cdi.kubevirt.io',
          version: 'v1beta1',
          resource: 'datavolumes',
          subresource: 'source',
        },
      },
      { user, access: { ...common, group: '', version: 'v1', resource: 'pods' } },
    ])
  })

  const rows: [string, typeof fromClaim | typeof fromSnapshot, readonly string[], boolean][] = [
    ['of a claim by the right to sources', fromClaim, ['datavolumes/source'], true],
    ['of a claim by the right to pods', fromClaim, ['pods'], true],
    ['of a claim not by a right that does not exist', fromClaim, ['pvcs'], false],
    ['of a snapshot by the right to sources', fromSnapshot, ['datavolumes/source'], true],
    ['of a snapshot by the rights to pods and "pvcs"', fromSnapshot, ['pods', 'pvcs'], true],
    ['of a snapshot not by the right to pods alone', fromSnapshot, ['pods'], false],
    ['of a snapshot not by the right to "pvcs" alone', fromSnapshot, ['pvcs'], false],
    ['of a snapshot by the rights to pods and claims', fromSnapshot, ['pods', 'persistentvolumeclaims'], true],
    ['of a snapshot not by the right to claims alone', fromSnapshot, ['persistentvolumeclaims'], false],
    ['of a claim not by the right to claims', fromClaim, ['persistentvolumeclaims'], false],
  ]
  for (const [name, spec, allowed, isAllowed] of rows) {
    it(`is allowed ${name}`, async () => {
      const { verdict, claims, questions } = await mutate({ object: dataVolume(spec) }, { allowed })
      // Each question is about this source in its namespace.
      const { namespace: where, name: what } =
        'pvc' in spec.source ? fromClaim.source.pvc : fromSnapshot.source.snapshot
      for (const { access } of questions) assert.deepEqual([access.namespace, access.name], [where, what])
      assert.equal(told(verdict), isAllowed ? 'admitted' : denied)
      assert.equal(claims.length, isAllowed ? 1 : 0)
    })
  }

  it('names a snapshot in its token', async () => {
    const { claims } = await mutate({ object: dataVolume(fromSnapshot) }, { allowed: ['datavolumes/source'] })
    assert.deepEqual(claims[0]?.resource, {
      group: 'snapshot.storage.k8s.io',
      version: 'v1',
      resource: 'volumesnapshots',
    })
  })

  it('is refused when that namespace is not there', async () => {
    const { verdict } = await mutate({ object: dataVolume(fromClaim) }, { objects: {}, allowed: ['pods'] })
    assert.equal(told(verdict), '400:namespaces "away" not found')
  })

  it('keeps the annotations that are there', async () => {
    const object = dataVolume(fromClaim, { name: 'dv', annotations: { a: 'b', [tokenKey]: 'forged' } })
    const { verdict } = await mutate({ object }, { allowed: ['pods'] })
    assert.deepEqual(
      patched(object, patchOf(verdict)),
      dataVolume(fromClaim, { name: 'dv', annotations: { a: 'b', [tokenKey]: 'signed' } }),
    )
  })

  it('gets its generated name here, because the token must contain it', async () => {
    const object = dataVolume(fromClaim, { generateName: 'disk-' })
    const { verdict, claims } = await mutate({ object }, { allowed: ['pods'] })
    assert.deepEqual(patchOf(verdict)[0], { op: 'add', path: '/metadata/name', value: 'disk-x2y4z' })
    assert.equal(claims[0]?.params?.['targetName'], 'disk-x2y4z')
    const long = await mutate(
      { object: dataVolume(fromClaim, { generateName: 'd'.repeat(80) }) },
      { allowed: ['pods'] },
    )
    assert.equal(long.claims[0]?.params?.['targetName'], `${'d'.repeat(58)}x2y4z`)
  })

  for (const mark of ['storage.prePopulated', 'storage.checkStaticVolume']) {
    const object = dataVolume(fromClaim, { name: 'dv', annotations: { [`cdi.kubevirt.io/${mark}`]: '' } })
    it(`needs no right when ${mark} says that nothing is cloned, and then gets no token`, async () => {
      for (const objects of [withNamespace, {}]) {
        const { verdict } = await mutate({ object }, { objects })
        assert.deepEqual([told(verdict), patchOf(verdict)], ['admitted', []])
      }
      assert.equal((await mutate({ object }, { allowed: ['pods'] })).claims.length, 1)
    })
  }
})

describe('a clone by way of a DataSource', () => {
  const dataSource = (spec: unknown, status?: unknown, where = 'home'): Record<string, object> => ({
    ...withNamespace,
    [`${kinds.dataSource.plural} ${where}/fedora`]: { metadata: { name: 'fedora', namespace: where }, spec, status },
  })
  const golden = { namespace: 'away', name: 'golden' }

  it('is refused when the DataSource is not there', async () => {
    const { verdict } = await mutate({ object: dataVolume(fromDataSource) })
    assert.equal(told(verdict), '400:datasources.cdi.kubevirt.io "fedora" not found')
    const waived = dataVolume(fromDataSource, {
      name: 'd',
      annotations: { 'cdi.kubevirt.io/storage.prePopulated': '' },
    })
    assert.equal(told((await mutate({ object: waived })).verdict), 'admitted')
  })

  it('is admitted without a token while the DataSource has no source', async () => {
    const objects = dataSource({ source: {} })
    const { verdict, claims } = await mutate({ object: dataVolume(fromDataSource) }, { objects })
    assert.deepEqual([told(verdict), claims], ['admitted', []])
  })

  it('is judged by the source of the DataSource', async () => {
    for (const source of [{ pvc: golden }, { snapshot: golden }]) {
      const world = { objects: dataSource({ source }) }
      assert.equal(told((await mutate({ object: dataVolume(fromDataSource) }, world)).verdict), denied)
      const { claims } = await mutate(
        { object: dataVolume(fromDataSource) },
        { ...world, allowed: ['datavolumes/source'] },
      )
      assert.deepEqual([claims[0]?.namespace, claims[0]?.name], ['away', 'golden'])
    }
  })

  it('is judged by the status of a DataSource that points to another one', async () => {
    const pointer = {
      source: { dataSource: { name: 'other', namespace: 'away' }, pvc: { namespace: 'home', name: 'decoy' } },
    }
    const world = { objects: dataSource(pointer, { source: { pvc: golden } }) }
    assert.equal(told((await mutate({ object: dataVolume(fromDataSource) }, world)).verdict), denied)
    const unresolved = await mutate({ object: dataVolume(fromDataSource) }, { objects: dataSource(pointer) })
    assert.deepEqual([told(unresolved.verdict), unresolved.claims], ['admitted', []])
  })

  it('looks for the DataSource in the namespace that the reference names', async () => {
    const spec = { storage, sourceRef: { kind: 'DataSource', name: 'fedora', namespace: 'images' } }
    const objects = dataSource({ source: { pvc: { name: 'golden', namespace: 'home' } } }, undefined, 'images')
    assert.equal((await mutate({ object: dataVolume(spec) }, { objects })).claims.length, 1)
  })

  it('looks beside the DataSource for a source that names no namespace', async () => {
    const spec = { storage, sourceRef: { kind: 'DataSource', name: 'fedora', namespace: 'away' } }
    const world = { objects: dataSource({ source: { pvc: { name: 'golden', namespace: '' } } }, undefined, 'away') }
    assert.equal(told((await mutate({ object: dataVolume(spec) }, world)).verdict), denied)
  })
})

describe('an update', () => {
  it('of metadata needs no rights on the source', async () => {
    const { verdict, questions } = await mutate({
      object: dataVolume(fromClaim, { name: 'dv', labels: { a: 'b' } }),
      oldObject: dataVolume(fromClaim),
    })
    assert.deepEqual([told(verdict), questions], ['admitted', []])
  })

  it('of the source is reviewed, and gets no token', async () => {
    for (const source of [fromClaim.source, fromSnapshot.source]) {
      const facts = {
        object: dataVolume({ storage, source }),
        oldObject: dataVolume({ storage, source: { pvc: { namespace: 'home', name: 'golden' } } }),
      }
      assert.equal(told((await mutate(facts)).verdict), denied)
      const { verdict, claims } = await mutate(facts, { allowed: ['datavolumes/source'] })
      assert.deepEqual([told(verdict), patchOf(verdict), claims], ['admitted', [], []])
    }
  })

  it('of the reference to a DataSource is reviewed', async () => {
    const objects = {
      ...withNamespace,
      'datasources home/fedora': {
        metadata: { name: 'fedora', namespace: 'home' },
        spec: { source: fromClaim.source },
      },
    }
    const oldObject = dataVolume({ storage, source: { blank: {} } })
    const { verdict } = await mutate({ object: dataVolume(fromDataSource), oldObject }, { objects })
    assert.equal(told(verdict), denied)
  })

  it('of anything else in the spec is left to those who refuse it', async () => {
    const facts = { object: dataVolume({ ...fromClaim, preallocation: true }), oldObject: dataVolume(fromClaim) }
    const { verdict, questions } = await mutate(facts)
    assert.deepEqual([told(verdict), questions], ['admitted', []])
  })

  it('of an object that is being deleted passes', async () => {
    const object = dataVolume(fromClaim, { name: 'dv', deletionTimestamp: '2026-01-01T00:00:00Z' })
    const { verdict, questions } = await mutate({ object, oldObject: dataVolume({}) })
    assert.deepEqual([told(verdict), questions], ['admitted', []])
  })
})
