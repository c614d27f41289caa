/** What the proxy serves besides uploads: the files of the page, and the two requests that it makes for a user. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import { connect } from 'node:tls'
import * as fc from 'fast-check'
import { issueServerCertificate } from '../../src/certs/authority.ts'
import { loadPage } from '../../uploadproxy/page-files.ts'
import { UserApi } from '../../uploadproxy/user-api.ts'
import { tempDir } from '../fixtures/server-process.ts'
import { curl } from './curl.ts'
import type { CurlAnswer } from './curl.ts'
import { FakeKubernetes, sendJson } from './fake-kubernetes.ts'
import { hourMs, makeAuthorities, ProxyUnderTest } from './proxy-under-test.ts'

const user = 'Bearer user.token-of_Kubernetes'

describe('the page of the upload proxy', () => {
  let proxy: ProxyUnderTest
  before(async () => {
    await using dir = await tempDir('page')
    await writeFile(join(dir.path, 'index.html'), '<!doctype html><title>t</title>')
    await writeFile(join(dir.path, 'app.js'), 'start()')
    await writeFile(join(dir.path, 'app.js.map'), '{}')
    await writeFile(join(dir.path, '.hidden'), 'secret')
    await mkdir(join(dir.path, 'sub.js'))
    proxy = await ProxyUnderTest.start({ page: await loadPage(dir.path) })
  })
  after(() => proxy[Symbol.asyncDispose]())

  it('is where one is sent from the root', async () => {
    for (const path of ['/', '/page']) {
      const { status, headers } = await curl(proxy, path, [])
      assert.deepEqual([status, headers['location']], [302, '/page/'])
    }
  })

  it('consists of its files, with their types', async () => {
    const index = await curl(proxy, '/page/', [])
    assert.deepEqual([index.status, index.headers['content-type']], [200, 'text/html; charset=utf-8'])
    assert.equal(index.body, '<!doctype html><title>t</title>')
    assert.equal((await curl(proxy, '/page/index.html', [])).body, index.body)
    const script = await curl(proxy, '/page/app.js', [])
    assert.deepEqual([script.body, script.headers['content-type']], ['start()', 'text/javascript; charset=utf-8'])
  })

  it('has nothing else, however it is asked for', async () => {
    for (const path of [
      '/page/app.js.map',
      '/page/.hidden',
      '/page/sub.js',
      '/page/..%2fapp.ts',
      '/page/%2e%2e/app.ts',
      '/page/a/b',
      '/page/app.js/',
    ]) {
      assert.equal((await curl(proxy, path, ['--path-as-is'])).status, 404, path)
    }
    assert.equal((await curl(proxy, '/page/', ['-X', 'POST', '-d', 'x'])).status, 404)
  })

  it('may load and run nothing but its own files, and nobody may frame it', async () => {
    for (const path of ['/page/', '/page/app.js', '/page/none', '/page']) {
      const { headers } = await curl(proxy, path, ['-H', 'Origin: https://evil.example'])
      const policy = headers['content-security-policy'] ?? ''
      assert.match(policy, /default-src 'none'/)
      assert.match(policy, /frame-ancestors 'none'/)
      assert.match(policy, /form-action 'none'/)
      assert.doesNotMatch(policy, /unsafe|\*|http:|https:|data:/)
      assert.equal(headers['x-content-type-options'], 'nosniff')
      assert.equal(headers['x-frame-options'], 'DENY')
      assert.equal(headers['referrer-policy'], 'no-referrer')
      assert.equal(headers['cross-origin-resource-policy'], 'same-origin')
      assert.equal(headers['access-control-allow-origin'], undefined)
    }
  })

  it('is not sent again to whoever has it', async () => {
    const { headers } = await curl(proxy, '/page/app.js', [])
    assert.equal(headers['cache-control'], 'no-cache')
    for (const known of [headers['etag'], `W/${headers['etag']}`, `"x", ${headers['etag']}`, '*']) {
      const again = await curl(proxy, '/page/app.js', ['-H', `If-None-Match: ${known}`])
      assert.deepEqual([again.status, again.body], [304, ''])
      assert.equal(again.headers['etag'], headers['etag'])
    }
    assert.equal((await curl(proxy, '/page/app.js', ['-H', 'If-None-Match: "x"'])).status, 200)
  })

  it('answers HEAD without a body', async () => {
    const { status, headers } = await curl(proxy, '/page/app.js', ['-I'])
    assert.deepEqual([status, headers['content-length']], [200, '7'])
  })

  it('has no API where no cluster is known', async () => {
    assert.equal(
      (await curl(proxy, '/page/api/namespaces/a/datavolumes', ['-H', `Authorization: ${user}`])).status,
      404,
    )
  })
})

describe('the API of the page', () => {
  let proxy: ProxyUnderTest
  let kubernetes: FakeKubernetes
  let userApi: UserApi
  let apiOptions: ConstructorParameters<typeof UserApi>[0]
  const now = Date.parse('2026-01-01T00:01:00Z')
  const list = '/apis/cdi.kubevirt.io/v1beta1/namespaces/team/datavolumes'

  before(async () => {
    const { proxy: authority } = await makeAuthorities()
    const pair = await issueServerCertificate({ authority, hosts: ['localhost'], lifetimeMs: hourMs, now: Date.now() })
    kubernetes = await FakeKubernetes.start(pair)
    // Longer than a busy machine needs.
    apiOptions = { server: kubernetes.url, ca: () => authority.certPem, now: () => now, timeoutMs: 20_000 }
    userApi = new UserApi(apiOptions)
    proxy = await ProxyUnderTest.start({ userApi })
  })
  beforeEach(() => {
    kubernetes.requests.length = 0
    kubernetes.override = () => false
    kubernetes.objects.clear()
  })
  after(async () => {
    await proxy[Symbol.asyncDispose]()
    await userApi[Symbol.asyncDispose]()
    await kubernetes[Symbol.asyncDispose]()
  })

  const get = (path = '/page/api/namespaces/team/datavolumes', authorization: string | undefined = user) =>
    curl(proxy, path, authorization === '' ? [] : ['-H', `Authorization: ${authorization}`])
  /** The same from a proxy that waits for half a second only. */
  const getSoon = async (): Promise<CurlAnswer> => {
    await using hasty = new UserApi({ ...apiOptions, timeoutMs: 500 })
    await using other = await ProxyUnderTest.start({ userApi: hasty })
    return await curl(other, '/page/api/namespaces/team/datavolumes', ['-H', `Authorization: ${user}`])
  }
  const post = (body: string, { path = '/page/api/namespaces/team/uploadtokens', args = [] as string[] } = {}) =>
    curl(proxy, path, ['-H', `Authorization: ${user}`, '-H', 'Content-Type: application/json', ...args, '-d', body])

  it('lists DataVolumes in short, asked for with the token of the user', async () => {
    kubernetes.objects.set(list, {
      metadata: {},
      items: [
        {
          metadata: {
            name: 'b',
            creationTimestamp: '2026-01-01T00:00:30Z',
            managedFields: [1],
            annotations: { a: 'b' },
          },
          spec: { source: { upload: {} }, storage: { resources: { requests: { storage: '1Gi' } } } },
          status: {
            phase: 'UploadReady',
            progress: 'N/A',
            restartCount: 2,
            conditions: [
              { type: 'Running', status: 'True', reason: 'Pod is running', message: 'm', lastHeartbeatTime: 'x' },
            ],
          },
        },
        {
          metadata: { name: 'a' },
          spec: { sourceRef: { kind: 'DataSource', name: 's' }, pvc: { resources: { requests: { storage: '5M' } } } },
        },
      ],
    })
    const { status, body, headers } = await get()
    assert.equal(status, 200)
    assert.deepEqual(JSON.parse(body), {
      items: [
        {
          name: 'a',
          phase: '',
          progress: 'N/A',
          restarts: 0,
          size: '5M',
          source: 'DataSource',
          conditions: [],
          age: 0,
        },
        {
          name: 'b',
          phase: 'UploadReady',
          progress: 'N/A',
          restarts: 2,
          size: '1Gi',
          source: 'upload',
          conditions: [{ type: 'Running', status: 'True', reason: 'Pod is running', message: 'm' }],
          age: 30,
        },
      ],
      truncated: false,
    })
    assert.equal(headers['cache-control'], 'no-store')
    assert.match(headers['content-security-policy'] ?? '', /default-src 'none'/)
    assert.deepEqual(kubernetes.requests, [{ method: 'GET', url: `${list}?limit=500`, authorization: user, body: '' }])
  })

  it('says when there are more DataVolumes than it shows', async () => {
    kubernetes.objects.set(list, { metadata: { continue: 'x' }, items: [] })
    assert.deepEqual(JSON.parse((await get()).body), { items: [], truncated: true })
  })

  it('makes an upload token as the user', async () => {
    const claims = Buffer.from(JSON.stringify({ exp: Date.parse('2026-01-01T00:06:00Z') / 1000 })).toString('base64url')
    const token = `h.${claims}.s`
    kubernetes.override = ({ method }, response) => {
      if (method === 'POST') sendJson(response, 200, { status: { token } })
      return method === 'POST'
    }
    const { status, body } = await post('{"pvcName":"disk"}')
    assert.equal(status, 200)
    assert.deepEqual(JSON.parse(body), { token, expires: '2026-01-01T00:06:00Z' })
    const [asked] = kubernetes.requests
    assert.equal(asked?.url, '/apis/upload.cdi.kubevirt.io/v1beta1/namespaces/team/uploadtokenrequests')
    assert.equal(asked?.authorization, user)
    assert.equal((JSON.parse(asked?.body ?? '') as { spec: { pvcName: string } }).spec.pvcName, 'disk')
  })

  it('passes on what the API server says about it', async () => {
    kubernetes.override = (_, response) => {
      sendJson(response, 403, { kind: 'Status', message: 'datavolumes is forbidden: User "u" cannot list', code: 403 })
      return true
    }
    const { status, body } = await get()
    assert.equal(status, 403)
    assert.deepEqual(JSON.parse(body), { status: 403, message: 'datavolumes is forbidden: User "u" cannot list' })
  })

  it('passes on a plain text answer in short', async () => {
    kubernetes.override = (_, response) => {
      response.writeHead(401).end(`not you ${'x'.repeat(2000)}`)
      return true
    }
    const { status, body } = await get()
    assert.equal(status, 401)
    assert.equal((JSON.parse(body) as { message: string }).message.length, 500)
  })

  it('wants a token, and asks nothing without one', async () => {
    for (const authorization of ['', 'Basic x', 'Bearer']) {
      const { status, body } = await get(undefined, authorization)
      assert.equal(status, 401)
      assert.equal((JSON.parse(body) as { status: number }).status, 401)
    }
    assert.deepEqual(kubernetes.requests, [])
  })

  it('takes names only, and asks nothing for anything else', async () => {
    for (const namespace of ['..', '%2e%2e', 'a%2fb', 'A', 'a.b', 'a%3fb', 'a%23b', 'x'.repeat(64)]) {
      const { status } = await curl(proxy, `/page/api/namespaces/${namespace}/datavolumes`, [
        '--path-as-is',
        '-H',
        `Authorization: ${user}`,
      ])
      assert.ok([400, 404].includes(status), `${namespace}: ${status}`)
    }
    for (const body of ['{"pvcName":"../x"}', '{"pvcName":""}', '{"pvcName":5}', '{}', '[]', 'null', '"x"', '{', '']) {
      const { status, body: text } = await post(body)
      assert.equal(status, 400, body)
      assert.equal((JSON.parse(text) as { status: number }).status, 400)
    }
    assert.deepEqual(kubernetes.requests, [])
  })

  it('leads nowhere else, whatever path is asked for', async () => {
    kubernetes.override = (_, response) => {
      sendJson(response, 200, { items: [] })
      return true
    }
    const path = fc.array(
      fc.constantFrom(
        'namespaces',
        'datavolumes',
        'uploadtokens',
        'team',
        '..',
        '.',
        '%2e%2e',
        '%2f',
        'secrets',
        '',
        'a?b',
        'a%23',
        '%00',
        '\\',
      ),
      { maxLength: 6 },
    )
    await fc.assert(
      fc.asyncProperty(path, async (parts) => {
        await curl(proxy, `/page/api/${parts.join('/')}`, ['--path-as-is', '-g', '-H', `Authorization: ${user}`])
        for (const { url } of kubernetes.requests) {
          assert.match(url, /^\/apis\/cdi\.kubevirt\.io\/v1beta1\/namespaces\/[a-z0-9-]+\/datavolumes\?limit=500$/)
        }
      }),
      { numRuns: 60 },
    )
  })

  it('reads no more of a request than a name needs', async () => {
    const { status } = await post(JSON.stringify({ pvcName: 'x'.repeat(10_000) }))
    assert.equal(status, 413)
    assert.deepEqual(kubernetes.requests, [])
  })

  it('wants JSON', async () => {
    const { status, body } = await curl(proxy, '/page/api/namespaces/team/uploadtokens', [
      '-H',
      `Authorization: ${user}`,
      '-d',
      'pvcName=x',
    ])
    assert.equal(status, 415)
    assert.equal((JSON.parse(body) as { status: number }).status, 415)
  })

  it('cuts a question that is not asked to its end', async () => {
    const socket = connect({ port: proxy.port, host: '127.0.0.1', rejectUnauthorized: false })
    await once(socket, 'secureConnect')
    const head = ['POST /page/api/namespaces/team/uploadtokens HTTP/1.1', 'Host: proxy', `Authorization: ${user}`]
    socket.write([...head, 'Content-Type: application/json', 'Content-Length: 100', '', '{'].join('\r\n'))
    socket.resume()
    await once(socket, 'close', { signal: AbortSignal.timeout(60_000) })
    assert.deepEqual(kubernetes.requests, [])
  })

  it('does not wait for ever', async () => {
    kubernetes.override = () => true
    const { status, body } = await getSoon()
    assert.equal(status, 504)
    assert.deepEqual(JSON.parse(body), { status: 504, message: 'the API server did not answer in time' })
  })

  it('does not read for ever', async () => {
    kubernetes.override = (_, response) => {
      response.writeHead(200)
      const piece = Buffer.alloc(1 << 20, 0x20)
      const fill = (): void => {
        while (!response.destroyed && response.write(piece));
      }
      response.on('drain', fill)
      fill()
      return true
    }
    const { status } = await getSoon()
    assert.ok([502, 504].includes(status), String(status))
  })

  it('tells nothing of its insides when the API server is away', async () => {
    await using away = new UserApi({ server: 'https://localhost:1', now: () => now })
    await using other = await ProxyUnderTest.start({ userApi: away })
    const { status, body } = await curl(other, '/page/api/namespaces/team/datavolumes', [
      '-H',
      `Authorization: ${user}`,
    ])
    assert.equal(status, 502)
    assert.deepEqual(JSON.parse(body), { status: 502, message: 'the API server cannot be reached' })
  })
})
