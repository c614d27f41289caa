import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parseTokenRequest, withToken } from '../../../src/apiserver/token-request.ts'
import type { TokenRequest } from '../../../src/apiserver/token-request.ts'

const apiVersion = 'upload.cdi.kubevirt.io/v1beta1'
const kind = 'UploadTokenRequest'

function parse(body: unknown): TokenRequest {
  const parsed = parseTokenRequest(body)
  assert.ok(!('problem' in parsed), JSON.stringify(parsed))
  return parsed
}

function problem(body: unknown): string {
  const parsed = parseTokenRequest(body)
  assert.ok('problem' in parsed)
  return `${parsed.problem.code} ${(parsed.problem.status as { message: string }).message}`
}

describe('a request for a token', () => {
  it('comes back as it was sent, with the token', () => {
    const metadata = { generateName: 'token-for-virtctl-', labels: { a: 'b' } }
    const request = parse({ apiVersion, kind, metadata, spec: { pvcName: 'disk' } })
    assert.deepEqual(withToken(request, 'secret'), {
      kind,
      apiVersion,
      metadata,
      spec: { pvcName: 'disk' },
      status: { token: 'secret' },
    })
    assert.deepEqual((withToken(request, undefined) as { status: unknown }).status, {})
  })

  it('need not say what it is', () => {
    const answer = withToken(parse({ spec: { pvcName: 'disk' } }), 't') as Record<string, unknown>
    assert.deepEqual([answer['apiVersion'], answer['kind'], answer['metadata']], [apiVersion, kind, {}])
  })

  it('tells which members nobody knows', () => {
    const { unknownFields } = parse({ a: 1, metadata: { nane: 'x' }, spec: { pvcName: 'disk', pvcname: 'disk' } })
    assert.deepEqual(unknownFields, ['a', 'metadata.nane', 'spec.pvcname'])
  })

  it('must name a claim', () => {
    for (const spec of [undefined, null, {}, { pvcName: '' }, { pvcName: null }]) {
      assert.match(
        problem({ metadata: { name: 'x' }, spec }),
        /^422 UploadTokenRequest\S+ "x" is invalid: spec\.pvcName: Required/,
      )
    }
  })

  for (const [name, body] of [
    ['nothing', undefined],
    ['a list', [1]],
    ['another kind', { kind: 'Pod', spec: { pvcName: 'a' } }],
    ['another version', { apiVersion: 'upload.cdi.kubevirt.io/v1', spec: { pvcName: 'a' } }],
    ['a name that is a number', { spec: { pvcName: 5 } }],
    ['a spec that is a text', { spec: 'disk' }],
    ['metadata that is a list', { metadata: [], spec: { pvcName: 'a' } }],
  ] as const) {
    it(`is not: ${name}`, () => assert.match(problem(body), /^400 /))
  }

  it('is told from anything else', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (body) => {
        const parsed = parseTokenRequest(body)
        assert.ok('problem' in parsed || parsed.pvcName !== '')
      }),
    )
  })
})
