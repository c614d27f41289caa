import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseReview, renderReview, ReviewError } from '../../../../src/apiserver/admission/review.ts'
import { duplicate, invalid } from '../../../../src/apiserver/admission/verdict.ts'
import { review } from './requests.ts'

describe('a review', () => {
  it('is read with the user and both objects', () => {
    const object = { metadata: { name: 'a', namespace: 'b' }, spec: {} }
    const user = { username: 'u', uid: 'i', groups: ['g', 5], extra: { k: ['v'] } }
    const { apiVersion, uid, request } = parseReview(review('datavolumes', { object, oldObject: object, user }))
    assert.equal(apiVersion, 'admission.k8s.io/v1')
    assert.equal(uid, '705ab4f5-6393-11e8-b7cc-42010a800002')
    assert.deepEqual(request, {
      operation: 'UPDATE',
      namespace: 'home',
      name: 'a',
      resource: 'datavolumes',
      user: { name: 'u', uid: 'i', groups: ['g'], extra: { k: ['v'] } },
      object,
      oldObject: object,
    })
  })

  it('is answered in its own version', () => {
    for (const apiVersion of ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1']) {
      const parsed = parseReview({ ...review('cdis', {}), apiVersion })
      assert.deepEqual(renderReview(parsed, { allowed: true }), {
        apiVersion,
        kind: 'AdmissionReview',
        response: { uid: '705ab4f5-6393-11e8-b7cc-42010a800002', allowed: true },
      })
    }
  })

  for (const [name, body] of [
    ['nothing', undefined],
    ['a list', []],
    ['another kind', { apiVersion: 'admission.k8s.io/v1', kind: 'Pod' }],
    ['another version', { ...review('cdis', {}), apiVersion: 'admission.k8s.io/v9' }],
    ['no request', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: null }],
    ['no uid', { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: {} }],
  ] as const) {
    it(`is not: ${name}`, () => assert.throws(() => parseReview(body), ReviewError))
  }
})

describe('the answer to a review', () => {
  const respond = (verdict: Parameters<typeof renderReview>[1]): unknown =>
    (renderReview({ apiVersion: 'admission.k8s.io/v1', uid: 'x' }, verdict) as { response: unknown }).response

  it('carries a patch in base64', () => {
    const patch = [{ op: 'add', path: '/metadata/annotations', value: { 'ä/b': '1' } }] as const
    const response = respond({ allowed: true, patch }) as { patch: string; patchType: string }
    assert.equal(response.patchType, 'JSONPatch')
    assert.deepEqual(JSON.parse(Buffer.from(response.patch, 'base64').toString()), patch)
  })

  it('carries warnings', () => {
    assert.deepEqual(respond({ allowed: true, warnings: ['old'] }), { uid: 'x', allowed: true, warnings: ['old'] })
  })

  it('of a rejection joins the messages of all causes, each behind a blank, and has no reason', () => {
    const causes = [invalid('spec.a', 'one'), duplicate('spec.b', 'two')]
    assert.deepEqual(respond({ allowed: false, causes }), {
      uid: 'x',
      allowed: false,
      status: { message: ' one two', code: 422, details: { causes } },
    })
  })

  it('of an error is its message with code 400', () => {
    assert.deepEqual(respond({ allowed: false, error: 'gone' }), {
      uid: 'x',
      allowed: false,
      status: { message: 'gone', code: 400 },
    })
  })
})
