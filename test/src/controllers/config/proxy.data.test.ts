/** The address of the upload proxy in CDIConfig, with Ingresses, Routes and Secrets of a real API server. */
import { after, before, describe, it } from 'node:test'
import { kinds } from '../../../../src/api/kinds.ts'
import type { Ingress } from '../../../../src/api/kinds.ts'
import { selfSigned } from '../../../../src/certs/self-signed.ts'
import { eventually, startControlPlane } from '../control-plane.ts'
import type { ControllerProcess, ControlPlane } from '../control-plane.ts'

const namespace = 'cdi'

/** A schema as it stands on the wire; client-node spells the second word in its own way. */
const anything = { type: 'object', 'x-kubernetes-preserve-unknown-fields': true }
const config = { name: 'config' }

let plane: ControlPlane
let controllers: ControllerProcess
before(async () => {
  plane = await startControlPlane()
  await createRouteApi(plane.client)
  controllers = plane.startProcess()
})
after(async () => {
  await controllers?.end()
  await plane?.[Symbol.asyncDispose]()
})

/** As OpenShift has it; elsewhere, as for all other tests, it is not there. */
async function createRouteApi(client: ControlPlane['client']): Promise<void> {
  const name = 'routes.route.openshift.io'
  await client.create(kinds.customResourceDefinition, {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name },
    spec: {
      group: 'route.openshift.io',
      scope: 'Namespaced',
      names: { plural: 'routes', singular: 'route', kind: 'Route' },
      versions: [
        {
          name: 'v1',
          served: true,
          storage: true,
          schema: { openAPIV3Schema: anything },
        },
      ],
    },
  })
  await eventually('Routes are served', async () => {
    await client.list(kinds.route, { namespace })
    return true
  })
}

async function isTold(uploadProxyURL: string | undefined, uploadProxyCA?: string): Promise<void> {
  await eventually(`${uploadProxyURL} is told`, async () => {
    const { status } = (await plane.client.get(kinds.cdiConfig, config)) ?? {}
    return status?.uploadProxyURL === uploadProxyURL && status?.uploadProxyCA === uploadProxyCA
  })
}

function makeIngress(name: string, spec: NonNullable<Ingress['spec']>): Promise<Ingress> {
  return plane.client.create(kinds.ingress, {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'Ingress',
    metadata: { name, namespace },
    spec,
  })
}

const backend = { service: { name: 'cdi-uploadproxy', port: { number: 443 } } }
const rules = (host: string): NonNullable<NonNullable<Ingress['spec']>['rules']> => [
  { host, http: { paths: [{ path: '/', pathType: 'Prefix', backend }] } },
]

describe('CDIConfig', () => {
  it('follows the Ingress of the upload proxy with its certificates, an override, and the end of both', async () => {
    const { client } = plane
    const { certPem } = await selfSigned({ commonName: 'x', hosts: ['upload.example'] })
    // Those that lead nowhere disturb nothing.
    await makeIngress('a-default-only', { defaultBackend: backend })
    await makeIngress('a-resource', { defaultBackend: { resource: { apiGroup: 'x', kind: 'Bucket', name: 'b' } } })
    await makeIngress('a-no-http', { rules: [{ host: 'nowhere.example' }] })
    await makeIngress('proxy', { rules: rules('upload.example'), tls: [{ secretName: 'proxy-tls' }] })
    await isTold('upload.example')
    const data = { 'tls.crt': Buffer.from(certPem).toString('base64'), 'tls.key': '' }
    await client.create(kinds.secret, {
      apiVersion: 'v1',
      kind: 'Secret',
      metadata: { name: 'proxy-tls', namespace },
      data,
    })
    await isTold('upload.example', certPem.trim())
    const override = (url: string | null): Promise<unknown> =>
      client.patch(kinds.cdiConfig, config, { spec: { uploadProxyURLOverride: url } }, { type: 'merge' })
    await override('https://mine.example')
    await isTold('https://mine.example', certPem.trim())
    await override(null)
    await isTold('upload.example', certPem.trim())
    await client.patch(
      kinds.ingress,
      { namespace, name: 'proxy' },
      { spec: { rules: rules('other.example'), tls: null } },
      { type: 'merge' },
    )
    await isTold('other.example')
    await client.delete(kinds.ingress, { namespace, name: 'proxy' })
    await isTold(undefined)
  })

  it('follows a Route with the certificates of the cluster, once the Route has a host', async () => {
    const { client } = plane
    const { certPem } = await selfSigned({ commonName: 'x', hosts: ['route.example'] })
    await client.create(kinds.configMap, {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: { name: 'kube-root-ca.crt', namespace },
      data: { 'ca.crt': certPem },
    })
    const key = { namespace, name: 'cdi-uploadproxy' }
    await client.create(kinds.route, {
      apiVersion: 'route.openshift.io/v1',
      kind: 'Route',
      metadata: key,
      spec: { to: { kind: 'Service', name: 'cdi-uploadproxy' } },
    })
    await client.patch(kinds.route, key, { status: { ingress: [{ host: 'route.example' }] } }, { type: 'merge' })
    await isTold('route.example', certPem.trim())
    await makeIngress('first', { rules: rules('upload.example') })
    await isTold('upload.example')
    await client.delete(kinds.ingress, { namespace, name: 'first' })
    await isTold('route.example', certPem.trim())
    await client.delete(kinds.route, key)
    await isTold(undefined)
  })

  it('ignores Ingresses of other namespaces', async () => {
    const other = await plane.newNamespace()
    await plane.client.create(kinds.ingress, {
      apiVersion: 'networking.k8s.io/v1',
      kind: 'Ingress',
      metadata: { name: 'foreign', namespace: other },
      spec: { rules: rules('foreign.example') },
    })
    await makeIngress('witness', { rules: rules('witness.example') })
    await isTold('witness.example')
    await plane.client.delete(kinds.ingress, { namespace, name: 'witness' })
    await isTold(undefined)
  })
})
