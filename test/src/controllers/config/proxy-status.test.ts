import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import type { ConfigMap, Ingress, Route, Secret } from '../../../../src/api/kinds.ts'
import { selfSigned } from '../../../../src/certs/self-signed.ts'
import { proxyStatusOf } from '../../../../src/controllers/config/proxy-status.ts'
import type { ProxyObservation, ProxyOutcome } from '../../../../src/controllers/config/proxy-status.ts'

const metadata = { name: 'x', namespace: 'cdi', uid: 'u', resourceVersion: '1' }
let pem = ''
before(async () => {
  pem = (await selfSigned({ commonName: 'x', hosts: ['upload.example'] })).certPem
})

function ingress(tls: NonNullable<Ingress['spec']>['tls']): Ingress {
  const backend = { service: { name: 'cdi-uploadproxy' } }
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata,
    spec: {
      rules: [{ host: 'upload.example', http: { paths: [{ pathType: 'Prefix', backend }] } }],
      ...(tls ? { tls } : {}),
    },
  }
}

const route: Route = {
  apiVersion: 'route.openshift.io/v1',
  kind: 'Route',
  metadata,
  spec: { to: { name: 'cdi-uploadproxy' } },
  status: { ingress: [{ host: 'upload.example' }] },
}

const secret = (data: Record<string, string>): Secret => ({ apiVersion: 'v1', kind: 'Secret', metadata, data })
const clusterCa = (data: Record<string, string>): ConfigMap => ({ apiVersion: 'v1', kind: 'ConfigMap', metadata, data })

function outcome(facts: Partial<ProxyObservation>): ProxyOutcome {
  return proxyStatusOf({
    spec: {},
    before: {},
    ingresses: [],
    routes: [],
    secretOf: () => undefined,
    clusterCa: undefined,
    now: Date.now(),
    ...facts,
  })
}

describe('what CDIConfig says of the upload proxy', () => {
  it('is nothing while nothing leads to it', () => {
    assert.deepEqual(outcome({ before: { uploadProxyURL: 'old', uploadProxyCA: 'old' } }).status, {})
  })

  it('keeps the certificates while the administrator says the address', () => {
    const spec = { uploadProxyURLOverride: 'https://mine' }
    assert.deepEqual(outcome({ spec }).status, { uploadProxyURL: 'https://mine' })
    assert.deepEqual(outcome({ spec, before: { uploadProxyURL: 'old', uploadProxyCA: 'ca' } }).status, {
      uploadProxyURL: 'https://mine',
      uploadProxyCA: 'ca',
    })
  })

  it('takes the certificates of an Ingress from the first Secret that it names', () => {
    const ingresses = [ingress([{ hosts: ['a'] }, { secretName: 'tls-1' }, { secretName: 'tls-2' }])]
    const secretOf = (name: string): Secret | undefined =>
      name === 'tls-1' ? secret({ 'tls.crt': Buffer.from(pem).toString('base64') }) : undefined
    assert.deepEqual(outcome({ ingresses, secretOf }), {
      status: { uploadProxyURL: 'upload.example', uploadProxyCA: pem.trim() },
      missingSecret: undefined,
    })
  })

  it('says the address of an Ingress without certificates, without a Secret or without a key in it', () => {
    const status = { uploadProxyURL: 'upload.example' }
    assert.deepEqual(outcome({ ingresses: [ingress(undefined)] }), { status, missingSecret: undefined })
    assert.deepEqual(outcome({ ingresses: [ingress([{}])] }), { status, missingSecret: undefined })
    const ingresses = [ingress([{ secretName: 'tls' }])]
    assert.deepEqual(outcome({ ingresses, secretOf: () => secret({}) }), { status, missingSecret: undefined })
    assert.deepEqual(outcome({ ingresses }), { status, missingSecret: 'tls' })
  })

  it('takes the certificates of a Route from those of the cluster', () => {
    assert.deepEqual(outcome({ routes: [route], clusterCa: clusterCa({ 'ca.crt': pem }) }).status, {
      uploadProxyURL: 'upload.example',
      uploadProxyCA: pem.trim(),
    })
    assert.deepEqual(outcome({ routes: [route] }).status, { uploadProxyURL: 'upload.example' })
    assert.deepEqual(outcome({ routes: [route], clusterCa: clusterCa({}) }).status, {
      uploadProxyURL: 'upload.example',
    })
  })
})
