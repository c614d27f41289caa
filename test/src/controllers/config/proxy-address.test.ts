import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { anything, assert as check, array, constantFrom, option, property, record } from 'fast-check'
import type { Ingress, Route } from '../../../../src/api/kinds.ts'
import { uploadProxyAddress } from '../../../../src/controllers/config/proxy-address.ts'

function ingress(name: string, spec: Ingress['spec']): Ingress {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name, namespace: 'cdi', uid: name, resourceVersion: '1' },
    spec,
  }
}

function route(name: string, host: string | undefined, to = 'cdi-uploadproxy'): Route {
  return {
    apiVersion: 'route.openshift.io/v1',
    kind: 'Route',
    metadata: { name, namespace: 'cdi', uid: name, resourceVersion: '1' },
    spec: { to: { kind: 'Service', name: to } },
    ...(host === undefined ? {} : { status: { ingress: [{ host }] } }),
  }
}

const to = (name: string): { service: { name: string } } => ({ service: { name } })
const path = (name: string): object => ({ path: '/', pathType: 'Prefix', backend: to(name) })
/** A rule for a host that leads to a Service. */
const rule = (host: string | undefined, name = 'cdi-uploadproxy'): never =>
  ({ ...(host === undefined ? {} : { host }), http: { paths: [path(name)] } }) as never

const urlOf = (facts: Partial<Parameters<typeof uploadProxyAddress>[0]>): string | undefined =>
  uploadProxyAddress({ spec: {}, ingresses: [], routes: [], ...facts })?.url

describe('the address of the upload proxy', () => {
  it('is unknown when nobody says anything', () => assert.equal(urlOf({}), undefined))

  it('is what the administrator says, verbatim', () => {
    const spec = { uploadProxyURLOverride: 'https://upload.example:8443/x' }
    assert.equal(urlOf({ spec, ingresses: [ingress('a', { rules: [rule('h')] })] }), 'https://upload.example:8443/x')
  })

  it('is derived again when the administrator says nothing any longer', () => {
    const ingresses = [ingress('a', { rules: [rule('h')] })]
    assert.equal(urlOf({ spec: { uploadProxyURLOverride: '' }, ingresses }), 'h')
  })

  const ingresses: [string, Ingress['spec'], string | undefined][] = [
    ['a rule that leads to it', { rules: [rule('h')] }, 'h'],
    ['the first rule that leads to it', { rules: [rule('x', 'other'), rule('y'), rule('z')] }, 'y'],
    ['the first such rule with a host', { rules: [rule(undefined), rule(''), rule('z')] }, 'z'],
    ['a default backend that is it', { defaultBackend: to('cdi-uploadproxy'), rules: [rule('h', 'other')] }, 'h'],
    ['another default backend, whatever the rules', { defaultBackend: to('other'), rules: [rule('h')] }, undefined],
    ['a default backend and no rules', { defaultBackend: to('cdi-uploadproxy') }, undefined],
    ['a default backend and a rule without a host', { defaultBackend: to('cdi-uploadproxy'), rules: [{}] }, undefined],
    [
      'a default backend that is no Service, and a rule that leads to it',
      { defaultBackend: { resource: { kind: 'Bucket', name: 'b' } }, rules: [rule('h')] },
      'h',
    ],
    [
      'a path to something that is no Service',
      {
        rules: [
          { host: 'h', http: { paths: [{ pathType: 'Prefix', backend: { resource: { kind: 'B', name: 'b' } } }] } },
        ],
      },
      undefined,
    ],
    ['a rule without http', { rules: [{ host: 'h' }] }, undefined],
    ['a rule with an empty http', { rules: [{ host: 'h', http: {} as never }] }, undefined],
    ['no rules', { rules: [] }, undefined],
    ['an empty spec', {}, undefined],
    ['no spec', undefined, undefined],
  ]
  for (const [what, spec, expected] of ingresses) {
    it(`is ${expected ?? 'not'} derived from an Ingress with ${what}`, () => {
      assert.equal(urlOf({ ingresses: [ingress('a', spec)] }), expected)
    })
  }

  it('is that of the first Ingress by name, in whatever order they come', () => {
    const both = [ingress('b', { rules: [rule('second')] }), ingress('a', { rules: [rule('first')] })]
    assert.equal(urlOf({ ingresses: both }), 'first')
    assert.equal(urlOf({ ingresses: both.toReversed() }), 'first')
    const useless = ingress('0', { defaultBackend: to('other') })
    assert.equal(urlOf({ ingresses: [useless, ...both] }), 'first')
  })

  it('is that of a Route only without an Ingress, and only once the Route has a host', () => {
    assert.equal(urlOf({ routes: [route('r', 'r.example')] }), 'r.example')
    assert.equal(urlOf({ routes: [route('r', undefined)] }), undefined)
    assert.equal(urlOf({ routes: [route('r', 'r.example', 'other')] }), undefined)
    assert.equal(urlOf({ routes: [route('a', undefined), route('b', 'b.example')] }), 'b.example')
    const ingresses = [ingress('a', { rules: [rule('h')] })]
    assert.equal(urlOf({ ingresses, routes: [route('r', 'r.example')] }), 'h')
  })

  it('comes through whatever an Ingress looks like', () => {
    const backend = option(record({ service: option(record({ name: constantFrom('cdi-uploadproxy', 'other') })) }))
    const rules = array(
      record({
        host: option(constantFrom('h', '')),
        http: option(record({ paths: option(array(record({ backend, path: anything() }))) })),
      }),
    )
    check(
      property(record({ rules: option(rules), defaultBackend: backend }), (spec) => {
        const url = urlOf({ ingresses: [ingress('a', spec as never)] })
        assert.ok(url === undefined || url === 'h', url)
      }),
    )
  })
})
