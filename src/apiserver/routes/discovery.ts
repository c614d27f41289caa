/** What is served here, for the API server and kubectl; open to everybody (contract/upload.md §2.2). */
import type { FastifyInstance } from 'fastify'
import {
  groupPath,
  uploadGroup,
  uploadGroupVersion,
  uploadTokenRequest,
  uploadVersion,
  versionPath,
} from '../resource.ts'

const groupVersion = { groupVersion: uploadGroupVersion, version: uploadVersion }

const group = {
  name: uploadGroup,
  versions: [groupVersion],
  preferredVersion: groupVersion,
  serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: '' }],
}

const documents: Readonly<Record<string, object>> = {
  '/': { paths: ['/apis', '/apis/', groupPath, versionPath, '/healthz', '/openapi/v2'] },
  '/apis': { kind: 'APIGroupList', apiVersion: 'v1', groups: [group] },
  [groupPath]: { kind: 'APIGroup', apiVersion: 'v1', ...group },
  [versionPath]: {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: uploadGroupVersion,
    resources: [
      {
        name: uploadTokenRequest.plural,
        singularName: uploadTokenRequest.kind.toLowerCase(),
        namespaced: true,
        kind: uploadTokenRequest.kind,
        verbs: ['create'],
        shortNames: ['utr', 'utrs'],
      },
    ],
  },
}

export function addDiscovery(app: FastifyInstance): void {
  for (const [path, document] of Object.entries(documents)) {
    const text = `${JSON.stringify(document)}\n`
    for (const url of path === '/' ? [path] : [path, `${path}/`]) {
      app.get(url, (_, reply) => reply.type('application/json').send(text))
    }
  }
  app.get('/healthz', (_, reply) => reply.type('text/plain').send('OK'))
}
