import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import { pino } from 'pino'
import { ApiError } from '../../../src/kube/api-error.ts'
import type { Answer, Call } from './serving.ts'
import { call, clientPair, dependencies, frontProxyPair, serve } from './serving.ts'

const group = '/apis/upload.cdi.kubevirt.io'
const version = `${group}/v1beta1`
const requests = `${version}/namespaces/home/uploadtokenrequests`
const json = { 'content-type': 'application/json' }
const asAlice = { ...json, 'x-remote-user': 'alice', 'x-remote-group': ['system:authenticated', 'dev'] }
const wanted = { metadata: { generateName: 'token-for-virtctl-' }, spec: { pvcName: 'disk' } }

const deps = dependencies()
const server = await serve(deps)
after(() => server[Symbol.asyncDispose]())

const ask = (path: string, more: Partial<Call> = {}): Promise<Answer> => call({ port: server.port, path, ...more })

/** As the API server asks, in the name of alice. */
const post = (body: unknown, more: Partial<Call> = {}): Promise<Answer> =>
  ask(requests, { method: 'POST', headers: asAlice, as: frontProxyPair, body: JSON.stringify(body), ...more })

function parse(answer: Answer): Record<string, unknown> {
  return JSON.parse(answer.text) as Record<string, unknown>
}

function statusOf(answer: Answer): [number, unknown] {
  const { kind, code, message } = parse(answer)
  assert.equal(kind, 'Status')
  assert.equal(code, answer.status)
  return [answer.status, message]
}

describe('discovery', () => {
  it('names the paths, sorted', async () => {
    const { paths } = parse(await ask('/')) as { paths: string[] }
    assert.deepEqual(paths, ['/apis', '/apis/', group, version, '/healthz', '/openapi/v2'])
    assert.deepEqual(paths, paths.toSorted())
  })

  it('says that the server is well', async () => {
    const { status, text } = await ask('/healthz')
    assert.deepEqual([status, text], [200, 'OK'])
  })

  it('names the one group in its one version', async () => {
    const groupVersion = { groupVersion: 'upload.cdi.kubevirt.io/v1beta1', version: 'v1beta1' }
    const itself = {
      name: 'upload.cdi.kubevirt.io',
      versions: [groupVersion],
      preferredVersion: groupVersion,
      serverAddressByClientCIDRs: [{ clientCIDR: '0.0.0.0/0', serverAddress: '' }],
    }
    for (const path of ['/apis', '/apis/']) {
      assert.deepEqual(parse(await ask(path)), { kind: 'APIGroupList', apiVersion: 'v1', groups: [itself] })
    }
    assert.deepEqual(parse(await ask(group)), { kind: 'APIGroup', apiVersion: 'v1', ...itself })
  })

  it('names the one resource', async () => {
    for (const path of [version, `${version}/`]) {
      assert.deepEqual(parse(await ask(path)), {
        kind: 'APIResourceList',
        apiVersion: 'v1',
        groupVersion: 'upload.cdi.kubevirt.io/v1beta1',
        resources: [
          {
            name: 'uploadtokenrequests',
            singularName: 'uploadtokenrequest',
            namespaced: true,
            kind: 'UploadTokenRequest',
            verbs: ['create'],
            shortNames: ['utr', 'utrs'],
          },
        ],
      })
    }
  })

  it('is JSON that no browser takes for anything else', async () => {
    for (const path of ['/', '/apis', group, version, '/openapi/v2']) {
      const { status, headers } = await ask(path)
      assert.deepEqual([path, status, headers['content-type']], [path, 200, 'application/json'])
      assert.equal(headers['x-content-type-options'], 'nosniff')
    }
  })

  it('does not know other paths and versions', async () => {
    for (const path of ['/openapi/v3', `${group}/v1alpha1`, '/api', '/metrics', `${version}/uploadtokenrequests`]) {
      assert.deepEqual(statusOf(await ask(path)), [404, 'the server could not find the requested resource'])
    }
  })
})

describe('the OpenAPI document', () => {
  it('describes the request, the parameters and the version of the program', async () => {
    const document = parse(await ask('/openapi/v2')) as {
      swagger: string
      info: { title: string; version: string }
      paths: Record<string, { post?: { 'x-kubernetes-group-version-kind': object } }>
      definitions: Record<string, { 'x-kubernetes-group-version-kind'?: object[]; properties: object }>
      securityDefinitions: object
    }
    assert.equal(document.swagger, '2.0')
    assert.deepEqual(
      [document.info.title, document.info.version],
      ['KubeVirt Containerized Data Importer API', '1.2.3'],
    )
    const gvk = { group: 'upload.cdi.kubevirt.io', version: 'v1beta1', kind: 'UploadTokenRequest' }
    const path = `${version}/namespaces/{namespace}/uploadtokenrequests`
    assert.deepEqual(document.paths[path]?.post?.['x-kubernetes-group-version-kind'], gvk)
    const described = Object.values(document.definitions).find((one) => one['x-kubernetes-group-version-kind'])
    assert.deepEqual(described?.['x-kubernetes-group-version-kind'], [gvk])
    assert.ok('BearerToken' in document.securityDefinitions)
  })

  it('refers to definitions that are there', async () => {
    const { text } = await ask('/openapi/v2')
    const { definitions } = JSON.parse(text) as { definitions: object }
    const references = [...text.matchAll(/"#\/definitions\/([^"]+)"/g)].map(([, name = '']) => name)
    assert.ok(references.length > 3)
    for (const name of references) assert.ok(name in definitions, name)
  })

  it('is not sent twice to whoever has it', async () => {
    const { headers } = await ask('/openapi/v2')
    const again = await ask('/openapi/v2', { headers: { 'if-none-match': String(headers['etag']) } })
    assert.deepEqual([again.status, again.text], [304, ''])
  })
})

describe('a token', () => {
  it('is issued to whoever may create one', async () => {
    const answer = await post(wanted)
    assert.equal(answer.status, 200)
    assert.deepEqual(parse(answer), {
      kind: 'UploadTokenRequest',
      apiVersion: 'upload.cdi.kubevirt.io/v1beta1',
      metadata: { generateName: 'token-for-virtctl-' },
      spec: { pvcName: 'disk' },
      status: { token: 'a.signed.token' },
    })
    assert.deepEqual(deps.signed.at(-1), {
      operation: 'Upload',
      name: 'disk',
      namespace: 'home',
      resource: { group: '', version: 'v1', resource: 'persistentvolumeclaims' },
    })
    assert.deepEqual(deps.asked.at(-1), {
      user: { name: 'alice', groups: ['system:authenticated', 'dev'], extra: {} },
      access: {
        namespace: 'home',
        verb: 'create',
        group: 'upload.cdi.kubevirt.io',
        version: 'v1beta1',
        resource: 'uploadtokenrequests',
      },
    })
  })

  it('is written into the log without itself', async () => {
    const lines: string[] = []
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
    await using audited = await serve(dependencies({ log }))
    await post(wanted, { port: audited.port })
    const line = lines.find((text) => text.includes('upload token issued')) ?? '{}'
    const { user, namespace, pvc } = JSON.parse(line) as Record<string, unknown>
    assert.deepEqual([user, namespace, pvc], ['alice', 'home', 'disk'])
    assert.ok(!lines.join('').includes('a.signed.token'))
  })

  it('is not issued without the certificate of the front proxy', async () => {
    for (const headers of [asAlice, { ...json, authorization: 'Bearer x' }]) {
      const answer = await ask(requests, { method: 'POST', headers, body: JSON.stringify(wanted) })
      assert.deepEqual([answer.status, answer.text], [401, 'request is not authenticated'])
    }
  })

  it('is not issued to a stranger: the connection of another certificate is cut', async () => {
    await assert.rejects(post(wanted, { as: await clientPair('admin') }))
  })

  it('is not issued to nobody', async () => {
    const answer = await post(wanted, { headers: { ...json, 'x-remote-group': 'system:masters' } })
    const text = 'one of these headers required for authorization: [X-Remote-User]'
    assert.deepEqual([answer.status, answer.text], [401, text])
  })

  it('is issued to a user who is in no group', async () => {
    assert.equal((await post(wanted, { headers: { ...json, 'x-remote-user': 'bob' } })).status, 200)
    assert.deepEqual(deps.asked.at(-1)?.user, { name: 'bob', groups: [], extra: {} })
  })

  it('is refused with the reason of the cluster', async () => {
    const askAccess = async (): Promise<{ allowed: boolean; reason: string }> => ({ allowed: false, reason: 'no role' })
    const closed = dependencies({ askAccess })
    await using refusing = await serve(closed)
    const answer = await post(wanted, { port: refusing.port })
    assert.deepEqual(statusOf(answer), [
      403,
      'uploadtokenrequests.upload.cdi.kubevirt.io is forbidden: User "alice" cannot create resource "uploadtokenrequests" in API group "upload.cdi.kubevirt.io" in the namespace "home": no role',
    ])
    assert.deepEqual(closed.signed, [])
  })

  it('is not issued while the cluster cannot be asked, and nothing of the fault is told', async () => {
    const askAccess = async (): Promise<never> => {
      throw new ApiError({ status: 500, message: 'internal secret' })
    }
    await using broken = await serve(dependencies({ askAccess }))
    assert.deepEqual(statusOf(await post(wanted, { port: broken.port })), [500, 'the server has met a fault'])
  })

  it('is not issued when it cannot be signed', async () => {
    const signToken = async (): Promise<never> => {
      throw new Error('no key')
    }
    await using broken = await serve(dependencies({ signToken }))
    assert.equal((await post(wanted, { port: broken.port })).status, 500)
  })

  it('needs the name of a claim, but not the claim', async () => {
    const [code, message] = statusOf(await post({ spec: { pvcName: '' } }))
    assert.equal(code, 422)
    assert.match(String(message), /spec\.pvcName: Required value/)
  })

  it('needs a body that can be read', async () => {
    for (const body of ['{', '', '[]', '"x"', 'null', '{"spec":{"pvcName":[]}}']) {
      const [code, message] = statusOf(await post(undefined, { body }))
      assert.equal(code, 400, body)
      assert.notEqual(message, '')
    }
  })

  it('of a dry run is none', async () => {
    const before = deps.signed.length
    const answer = await post(wanted, { path: `${requests}?dryRun=All` })
    assert.deepEqual([answer.status, parse(answer)['status'], deps.signed.length], [200, {}, before])
    assert.equal((await post(wanted, { path: `${requests}?dryRun=Some` })).status, 400)
  })

  it('is refused to misspelt requests when that is asked for, and warned of when that is', async () => {
    const misspelt = { spec: { pvcName: 'disk', pvcname: 'disk' } }
    assert.deepEqual(statusOf(await post(misspelt, { path: `${requests}?fieldValidation=Strict` })), [
      400,
      'strict decoding error: unknown field "spec.pvcname"',
    ])
    const warned = await post(misspelt, { path: `${requests}?fieldValidation=Warn` })
    assert.deepEqual([warned.status, warned.headers['warning']], [200, '299 - "unknown field \\"spec.pvcname\\""'])
    const ignored = await post(misspelt, { path: `${requests}?fieldValidation=Ignore` })
    assert.deepEqual([ignored.status, ignored.headers['warning']], [200, undefined])
  })

  it('is only asked for in JSON, and only given in JSON', async () => {
    for (const type of ['application/yaml', 'application/vnd.kubernetes.protobuf', 'text/plain']) {
      assert.equal((await post(wanted, { headers: { ...asAlice, 'content-type': type } })).status, 415)
    }
    const { 'content-type': _, ...withoutType } = asAlice
    assert.equal((await post(wanted, { headers: withoutType })).status, 415)
    assert.equal((await post(wanted, { headers: { ...asAlice, accept: 'application/yaml' } })).status, 406)
    assert.equal(
      (await post(wanted, { headers: { ...asAlice, 'content-type': 'application/json; charset=utf-8' } })).status,
      200,
    )
  })

  it('is not asked for with an endless body', async () => {
    const body = JSON.stringify({ ...wanted, metadata: { annotations: { a: 'x'.repeat(1024 * 1024) } } })
    assert.equal(statusOf(await post(undefined, { body }))[0], 413)
  })
})

describe('other requests about tokens', () => {
  it('are not allowed on the collection', async () => {
    for (const method of ['GET', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']) {
      const answer = await ask(requests, { method, as: frontProxyPair, headers: asAlice })
      assert.deepEqual([method, answer.status, answer.headers['allow']], [method, 405, 'POST'])
    }
  })

  it('find no object, so that kubectl apply makes one', async () => {
    const name = 'n'.repeat(253)
    for (const method of ['GET', 'DELETE', 'PATCH']) {
      assert.deepEqual(statusOf(await ask(`${requests}/${name}`, { method })), [
        404,
        `uploadtokenrequests.upload.cdi.kubevirt.io "${name}" not found`,
      ])
    }
  })

  it('find nothing in what cannot be a namespace', async () => {
    for (const namespace of ['-a', 'A', 'a_b', '']) {
      const path = `${version}/namespaces/${namespace}/uploadtokenrequests`
      assert.equal((await post(wanted, { path })).status, 404, namespace)
    }
  })
})
