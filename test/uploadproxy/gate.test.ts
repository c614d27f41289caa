import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { annotations } from '../../src/api/annotations.ts'
import type { PersistentVolumeClaim } from '../../src/api/kinds.ts'
import type { TokenClaims } from '../../src/tokens/token.ts'
import { bearerToken, claimOfToken, decide, mayExist } from '../../uploadproxy/gate.ts'
import type { Decision } from '../../uploadproxy/gate.ts'

const key = { namespace: 'team', name: 'disk' }

interface ClaimOptions {
  readonly name?: string
  readonly populated?: boolean
  readonly notes?: Readonly<Record<string, string | undefined>>
}

/** A claim that takes an upload now, except for what is said otherwise; undefined takes an annotation away. */
function claim({ name = 'disk', populated = false, notes = {} }: ClaimOptions = {}): PersistentVolumeClaim {
  const all = {
    [annotations.uploadTarget]: '',
    [annotations.podReady]: 'true',
    [annotations.podPhase]: 'Running',
    ...notes,
  }
  const set = Object.entries(all).filter(([, value]) => value !== undefined)
  return {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, namespace: 'team', uid: 'u', resourceVersion: '1', annotations: Object.fromEntries(set) },
    spec: populated
      ? { dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 'source' } }
      : {},
  }
}

const populatedTarget = (notes: Record<string, string | undefined> = {}): PersistentVolumeClaim =>
  claim({
    populated: true,
    notes: { [annotations.uploadTarget]: undefined, [annotations.populatorPvcPrime]: 'prime-u', ...notes },
  })

const cases: readonly {
  readonly name: string
  readonly target?: PersistentVolumeClaim
  readonly prime?: PersistentVolumeClaim
  readonly decision: Decision
}[] = [
  {
    name: 'refuses a claim that is not there',
    decision: {
      verdict: 'refuse',
      status: 404,
      message: "rejecting Upload Request for PVC disk that doesn't exist",
    },
  },
  {
    name: 'forwards to a ready target',
    target: claim(),
    decision: { verdict: 'forward', claim: key, isArchive: false },
  },
  {
    name: 'tells archives',
    target: claim({ notes: { [annotations.contentType]: 'archive' } }),
    decision: { verdict: 'forward', claim: key, isArchive: true },
  },
  {
    name: 'takes the content type kubevirt for a disk',
    target: claim({ notes: { [annotations.contentType]: 'kubevirt' } }),
    decision: { verdict: 'forward', claim: key, isArchive: false },
  },
  {
    name: 'refuses any other content type',
    target: claim({ notes: { [annotations.contentType]: 'tar' } }),
    decision: {
      verdict: 'refuse',
      status: 503,
      message: 'rejecting upload request for PVC disk - upload content-type tar is invalid',
    },
  },
  {
    name: 'refuses what is no upload target',
    target: claim({ notes: { [annotations.uploadTarget]: undefined } }),
    decision: { verdict: 'refuse', status: 409, message: 'PVC disk is not an upload target' },
  },
  {
    name: 'refuses a finished claim with 503',
    target: claim({ notes: { [annotations.podPhase]: 'Succeeded', [annotations.podReady]: 'false' } }),
    decision: {
      verdict: 'refuse',
      status: 503,
      message: 'rejecting Upload Request for PVC disk that already finished uploading',
    },
  },
  {
    name: 'waits for a server that is not ready',
    target: claim({ notes: { [annotations.podReady]: 'false' } }),
    decision: {
      verdict: 'wait',
      message: 'rejecting Upload Request for PVC disk, its upload server is not ready: context deadline exceeded',
    },
  },
  {
    name: 'waits for a server of which nothing is known',
    target: claim({ notes: { [annotations.podReady]: undefined, [annotations.podPhase]: undefined } }),
    decision: {
      verdict: 'wait',
      message: 'rejecting Upload Request for PVC disk, its upload server is not ready: context deadline exceeded',
    },
  },
  {
    name: 'waits for the name of the prime',
    target: populatedTarget({ [annotations.populatorPvcPrime]: undefined, [annotations.podPhase]: undefined }),
    decision: {
      verdict: 'wait',
      message: "rejecting Upload Request for PVC disk, PVC' wasn't created yet: context deadline exceeded",
    },
  },
  {
    name: 'waits for the prime itself',
    target: populatedTarget(),
    decision: {
      verdict: 'wait',
      message: "rejecting Upload Request for PVC disk, PVC' wasn't created yet: context deadline exceeded",
    },
  },
  {
    name: 'forwards to the prime of a populated target',
    target: populatedTarget(),
    prime: claim({ name: 'prime-u' }),
    decision: { verdict: 'forward', claim: { namespace: 'team', name: 'prime-u' }, isArchive: false },
  },
  {
    name: 'looks at the content type of the prime',
    target: populatedTarget(),
    prime: claim({ name: 'prime-u', notes: { [annotations.contentType]: 'archive' } }),
    decision: { verdict: 'forward', claim: { namespace: 'team', name: 'prime-u' }, isArchive: true },
  },
  {
    name: 'waits for the server of the prime, whatever the target says',
    target: populatedTarget({ [annotations.podReady]: 'true' }),
    prime: claim({ name: 'prime-u', notes: { [annotations.podReady]: 'false' } }),
    decision: {
      verdict: 'wait',
      message: 'rejecting Upload Request for PVC disk, its upload server is not ready: context deadline exceeded',
    },
  },
  {
    name: 'refuses a prime that is no upload target, naming the target',
    target: populatedTarget(),
    prime: claim({ name: 'prime-u', notes: { [annotations.uploadTarget]: undefined } }),
    decision: { verdict: 'refuse', status: 409, message: 'PVC disk is not an upload target' },
  },
  {
    name: 'refuses a finished prime, naming the target',
    target: populatedTarget(),
    prime: claim({ name: 'prime-u', notes: { [annotations.podPhase]: 'Succeeded' } }),
    decision: {
      verdict: 'refuse',
      status: 503,
      message: 'rejecting Upload Request for PVC disk that already finished uploading',
    },
  },
  {
    name: 'refuses at once a populated target whose prime has done its work and is gone',
    target: populatedTarget({
      [annotations.populatorPvcPrime]: undefined,
      [annotations.podPhase]: 'Succeeded',
    }),
    decision: {
      verdict: 'refuse',
      status: 503,
      message: 'rejecting Upload Request for PVC disk that already finished uploading',
    },
  },
]

describe('the gate of uploads', () => {
  for (const { name, target, prime, decision } of cases) {
    it(name, () => assert.deepEqual(decide(key, { target, prime }), decision))
  }

  it('takes the claim of another group with that kind of source for an ordinary one', () => {
    const foreign = claim()
    foreign.spec = { dataSourceRef: { apiGroup: 'example.com', kind: 'VolumeUploadSource', name: 's' } }
    assert.equal(decide(key, { target: foreign, prime: undefined }).verdict, 'forward')
  })

  it('forwards only to what is ready, an upload target, not finished and of a known content type', () => {
    const note = fc.option(fc.constantFrom('', 'true', 'false', 'Succeeded', 'Running', 'archive', 'kubevirt', '<b>'), {
      nil: undefined,
    })
    const notes = fc.record({
      [annotations.uploadTarget]: note,
      [annotations.podReady]: note,
      [annotations.podPhase]: note,
      [annotations.contentType]: note,
    })
    fc.assert(
      fc.property(notes, (given) => {
        const decision = decide(key, { target: claim({ notes: given }), prime: undefined })
        const may =
          given[annotations.uploadTarget] !== undefined &&
          given[annotations.podReady] === 'true' &&
          given[annotations.podPhase] !== 'Succeeded' &&
          [undefined, '', 'kubevirt', 'archive'].includes(given[annotations.contentType])
        assert.equal(decision.verdict === 'forward', may)
      }),
    )
  })
})

describe('the credential of a request', () => {
  const found: readonly [string | undefined, string | undefined][] = [
    ['Bearer abc.def-ghi_~+/==', 'abc.def-ghi_~+/=='],
    ['bearer abc', 'abc'],
    ['BEARER  abc', 'abc'],
    [undefined, undefined],
    ['', undefined],
    ['Bearer', undefined],
    ['Bearer ', undefined],
    ['Bearer a b', undefined],
    ['Bearer =', undefined],
    ['Basic abc', undefined],
    ['xBearer abc', undefined],
    ['Bearer a<b', undefined],
  ]
  for (const [header, token] of found) {
    it(`is ${token ?? 'none'} in ${JSON.stringify(header)}`, () => assert.equal(bearerToken(header), token))
  }
})

describe('the claim of a token', () => {
  const claims: TokenClaims = {
    operation: 'Upload',
    name: 'disk',
    namespace: 'team',
    resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
  }

  it('is that of an upload token', () => assert.deepEqual(claimOfToken(claims), key))

  it('is none in tokens for something else', () => {
    assert.equal(claimOfToken({ ...claims, operation: 'Clone' }), undefined)
    assert.equal(claimOfToken({ ...claims, name: '' }), undefined)
    assert.equal(claimOfToken({ ...claims, namespace: '' }), undefined)
    assert.equal(claimOfToken({ ...claims, resource: { group: '', version: 'v1', resource: 'pods' } }), undefined)
  })
})

describe('names that can be those of a claim', () => {
  it('are Kubernetes names', () => {
    assert.ok(mayExist({ namespace: 'a', name: 'b' }))
    assert.ok(mayExist({ namespace: 'a-1', name: `a.b-c.${'x'.repeat(245)}` }))
  })

  for (const name of [
    '',
    '.',
    '..',
    'a/b',
    '../secrets/x',
    'A',
    '-a',
    'a-',
    'a..b',
    'a%2fb',
    'a'.repeat(254),
    '<b>',
    'a\n',
  ]) {
    it(`are not ${JSON.stringify(name.slice(0, 20))}`, () => {
      assert.ok(!mayExist({ namespace: 'a', name }))
      assert.ok(!mayExist({ namespace: name, name: 'a' }))
    })
  }

  it('never lead out of the collection of the API server', () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (namespace, name) => {
        if (!mayExist({ namespace, name })) return
        const { pathname } = new URL(`https://x/api/v1/namespaces/${namespace}/persistentvolumeclaims/${name}?a`)
        assert.equal(pathname, `/api/v1/namespaces/${namespace}/persistentvolumeclaims/${name}`)
      }),
    )
  })
})
