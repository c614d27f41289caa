/** What clients of the proxy see: each row of contract/upload.md §5.3, with curl over TLS. */
import assert from 'node:assert/strict'
import { generateKeyPairSync } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { annotations } from '../../src/api/annotations.ts'
import { systemClock } from '../../src/kube/clock.ts'
import type { Clock } from '../../src/kube/clock.ts'
import { curl } from './curl.ts'
import { countBytes, ProxyUnderTest } from './proxy-under-test.ts'

/** The time that the proxy waits with goes by ten times as fast. */
const fastClock: Clock = {
  ...systemClock,
  monotonicMs: () => systemClock.monotonicMs() * 10,
  after: (delayMs, run) => systemClock.after(delayMs / 10, run),
  sleep: (delayMs, signal) => systemClock.sleep(delayMs / 10, signal),
}

const populated = { dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeUploadSource', name: 's' } }

describe('the upload proxy', () => {
  let proxy: ProxyUnderTest
  before(async () => {
    proxy = await ProxyUnderTest.start({ clock: fastClock })
  })
  after(() => proxy[Symbol.asyncDispose]())

  const post = async (claim: string, options: { path?: string; args?: string[]; authorization?: string } = {}) =>
    curl(proxy, options.path ?? '/v1beta1/upload', ['--data-binary', 'data', ...(options.args ?? [])], {
      authorization: options.authorization ?? (await proxy.authorization(claim)),
    })

  it('is healthy for everybody', async () => {
    const { status, body } = await curl(proxy, '/healthz', [])
    assert.deepEqual([status, body], [200, 'OK'])
  })

  for (const path of [
    '/v1beta1/upload/',
    '/v1beta1/uploads',
    '/v2/upload',
    '/healthz/',
    '/metrics',
    '/v1beta1/upload-archive',
    '/v1beta1/upload-resumption',
    '/v1alpha1/upload-tus',
    '/v1beta1/upload-tus/a/b',
    '/v1beta1/upload-tus/%2e%2e%2fupload',
  ]) {
    it(`answers ${path} with 404, whatever comes with it`, async () => {
      assert.equal((await post('d', { path })).status, 404)
      assert.equal((await post('d', { path, args: ['-X', 'PUT', '-H', 'Content-Type: application/json'] })).status, 404)
    })
  }

  describe('credentials', () => {
    for (const [name, header] of [
      ['none', undefined],
      ['one of another scheme', 'Basic dXNlcjpwYXNz'],
      ['a bearer without a token', 'Bearer '],
      ['what is no token68', 'Bearer a b'],
    ] as const) {
      it(`answers ${name} with 400 and nothing`, async () => {
        const args = header === undefined ? [] : ['-H', `Authorization: ${header}`]
        const { status, body } = await curl(proxy, '/v1beta1/upload', ['--data-binary', 'data', ...args])
        assert.deepEqual([status, body], [400, ''])
      })
    }

    it('answers what is no token with 401 and nothing', async () => {
      const { status, body } = await post('d', { authorization: 'Bearer garbage' })
      assert.deepEqual([status, body], [401, ''])
    })

    it('answers a token of somebody else with 401', async () => {
      const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
      const { status, body } = await post('d', {
        authorization: `Bearer ${await proxy.token('d', {}, { privateKey })}`,
      })
      assert.deepEqual([status, body], [401, ''])
    })

    it('answers an expired token with 401', async () => {
      const token = await proxy.token('d', {}, { lifetimeMs: -20_000 })
      const { status, body } = await post('d', { authorization: `Bearer ${token}` })
      assert.deepEqual([status, body], [401, ''])
    })

    it('answers tokens for something else with 400 and nothing', async () => {
      const pods = { group: '', version: 'v1', resource: 'pods' }
      const others = [
        { operation: 'Clone' as const },
        { operation: 'Delete' as unknown as 'Upload' },
        { name: '' },
        { name: 7 as unknown as string },
        { namespace: '' },
        { resource: pods },
      ]
      for (const claims of others) {
        const { status, body } = await post('d', { authorization: `Bearer ${await proxy.token('d', claims)}` })
        assert.deepEqual([status, body], [400, ''])
      }
    })

    it('takes any spelling of the scheme', async () => {
      proxy.putClaim('spelling')
      await using _server = await proxy.serve('spelling', countBytes)
      const { status } = await post('spelling', { authorization: `bEARER ${await proxy.token('spelling')}` })
      assert.equal(status, 200)
    })
  })

  describe('claims', () => {
    it('are refused when they do not exist, in HTML that is safe', async () => {
      const { status, body, headers } = await post('nowhere')
      assert.deepEqual([status, body], [404, 'rejecting Upload Request for PVC nowhere that doesn&#39;t exist'])
      assert.equal(headers['x-content-type-options'], 'nosniff')
    })

    it('that no object can be named like are refused without asking for them', async () => {
      const before = proxy.line.requests.length
      const { status, body } = await post('<script>')
      assert.equal(status, 404)
      assert.equal(body, 'rejecting Upload Request for PVC &lt;script&gt; that doesn&#39;t exist')
      assert.equal((await post('..')).status, 404)
      assert.equal(proxy.line.requests.length, before)
    })

    it('are refused when they are no upload targets', async () => {
      proxy.putClaim('other', { [annotations.uploadTarget]: undefined })
      const { status, body } = await post('other')
      assert.deepEqual([status, body], [409, 'PVC other is not an upload target'])
    })

    it('that are finished are refused with 503 at once', async () => {
      proxy.putClaim('finished', { [annotations.podPhase]: 'Succeeded', [annotations.podReady]: 'false' })
      const { status, body } = await post('finished')
      assert.deepEqual(
        [status, body],
        [503, 'rejecting Upload Request for PVC finished that already finished uploading'],
      )
      const looks = proxy.looksAt('finished')
      assert.ok(looks <= 1, `${looks} looks`)
    })

    it('that were finished through a prime that is gone are refused with 503 at once', async () => {
      proxy.putClaim(
        'filled',
        { [annotations.uploadTarget]: undefined, [annotations.podPhase]: 'Succeeded' },
        populated,
      )
      const { status, body } = await post('filled')
      assert.deepEqual([status, body], [503, 'rejecting Upload Request for PVC filled that already finished uploading'])
    })

    it('with a content type of no sense are refused with 503, escaped', async () => {
      proxy.putClaim('odd', { [annotations.contentType]: '<script>alert("x\'y")</script>' })
      const { status, body } = await post('odd')
      assert.equal(status, 503)
      assert.equal(
        body,
        'rejecting upload request for PVC odd - upload content-type' +
          ' &lt;script&gt;alert(&#34;x&#39;y&#34;)&lt;/script&gt; is invalid',
      )
    })

    it('are waited for ten seconds, looked at each second, and then refused with 503', async () => {
      proxy.putClaim('slow', { [annotations.podReady]: 'false' })
      const started = Date.now()
      const { status, body } = await post('slow')
      const tookMs = Date.now() - started
      assert.equal(status, 503)
      assert.match(body, /its upload server is not ready: context deadline exceeded$/)
      // A tenth of ten seconds, and what curl takes.
      assert.ok(tookMs >= 1000 && tookMs < 8000, `${tookMs} ms`)
      const looks = proxy.looksAt('slow')
      assert.ok(looks >= 3 && looks <= 12, `${looks} looks`)
    })

    it('are waited for by a client of tus who asks where it stopped, and who asks again after 423 only', async () => {
      proxy.putClaim('away', { [annotations.podReady]: 'false' })
      const authorization = await proxy.authorization('away')
      const path = '/v1beta1/upload-tus/AAAAAAAAAAAAAAAAAAAAAA'
      assert.equal((await curl(proxy, path, ['--head'], { authorization })).status, 423)
      assert.equal((await curl(proxy, path, ['-X', 'PATCH'], { authorization })).status, 503)
      proxy.putClaim('away')
      // It says that it is ready, and nobody is there.
      assert.equal((await curl(proxy, path, ['--head'], { authorization })).status, 423)
      assert.equal((await curl(proxy, path, ['-X', 'PATCH'], { authorization })).status, 502)
      await using _server = await proxy.serve('away', (_, response) => void response.writeHead(503).end())
      assert.equal((await curl(proxy, path, ['--head'], { authorization })).status, 423, 'nor one that is ending')
      assert.equal((await curl(proxy, path, ['-X', 'PATCH'], { authorization })).status, 503)
    })

    it('whose prime does not come are refused with 503', async () => {
      proxy.putClaim('primeless', { [annotations.uploadTarget]: undefined }, populated)
      const { status, body } = await post('primeless')
      assert.equal(status, 503)
      assert.match(body, /^rejecting Upload Request for PVC primeless, PVC&#39; wasn&#39;t created yet/)
    })

    it('that become ready while the client waits are uploaded to', async () => {
      proxy.putClaim('soon', { [annotations.podReady]: 'false' })
      await using _server = await proxy.serve('soon', countBytes)
      const answer = post('soon')
      await delay(300)
      proxy.putClaim('soon')
      const { status, body } = await answer
      assert.deepEqual([status, body], [200, '4'])
    })

    it('are reached through their prime, whose name decides about the server', async () => {
      proxy.putClaim(
        'target',
        { [annotations.uploadTarget]: undefined, [annotations.populatorPvcPrime]: 'prime-u1' },
        populated,
      )
      proxy.putClaim('prime-u1')
      await using _server = await proxy.serve('prime-u1', countBytes)
      const { status, body } = await post('target')
      assert.deepEqual([status, body], [200, '4'])
    })

    it('with the longest name, and dots in it, have a server that is found', async () => {
      const name = `${'disk.'.repeat(50)}abc`
      assert.equal(name.length, 253)
      proxy.putClaim(name)
      await using _server = await proxy.serve(name, countBytes)
      assert.equal((await post(name)).status, 200)
    })

    it('are looked at once a second however many clients wait for them', async () => {
      proxy.putClaim('crowd', { [annotations.podReady]: 'false' })
      const authorization = await proxy.authorization('crowd')
      const answers = Array.from({ length: 12 }, () => post('crowd', { authorization }))
      const statuses = (await Promise.all(answers)).map(({ status }) => status)
      assert.deepEqual(new Set(statuses), new Set([503]))
      assert.ok(proxy.looksAt('crowd') < 45, `${proxy.looksAt('crowd')} looks`)
    })

    it('are waited for while the API server cannot be asked', async () => {
      proxy.putClaim('unseen')
      await using _server = await proxy.serve('unseen', countBytes)
      proxy.faults.apiIsDown = true
      const answer = post('unseen')
      await delay(300)
      proxy.faults.apiIsDown = false
      assert.equal((await answer).status, 200)
    })
  })

  describe('what the server gets', () => {
    it('is the path that was asked for, with its query', async () => {
      proxy.putClaim('paths')
      await using _server = await proxy.serve('paths', (request, response) =>
        response.end(`${request.method} ${request.url}`),
      )
      const authorization = await proxy.authorization('paths')
      for (const version of ['v1beta1', 'v1alpha1']) {
        for (const name of ['upload', 'upload-async', 'upload-form', 'upload-form-async']) {
          const path = `/${version}/${name}`
          assert.equal((await post('paths', { path, authorization })).body, `POST ${path}`)
        }
      }
      assert.equal(
        (await post('paths', { path: '/v1beta1/upload?a=b', authorization })).body,
        'POST /v1beta1/upload?a=b',
      )
      for (const method of ['PUT', 'PATCH', 'DELETE', 'GET', 'PROPFIND']) {
        const path = method === 'GET' ? '/v1beta1/upload-ranges' : '/v1beta1/upload-tus/id-1'
        const answer = await curl(proxy, path, ['-X', method], { authorization })
        assert.equal(answer.body, `${method} ${path}`)
      }
      assert.equal(
        (await curl(proxy, '/v1beta1/upload', ['-X', 'OPTIONS'], { authorization })).body,
        'OPTIONS /v1beta1/upload',
      )
    })

    it('goes to the address of archives for an archive, except resumable uploads', async () => {
      proxy.putClaim('archive', { [annotations.contentType]: 'archive' })
      await using _server = await proxy.serve('archive', (request, response) => response.end(request.url))
      const authorization = await proxy.authorization('archive')
      const asked = async (path: string) => (await post('archive', { path, authorization })).body
      assert.equal(await asked('/v1beta1/upload'), '/v1beta1/upload-archive')
      assert.equal(await asked('/v1beta1/upload-async'), '/v1beta1/upload-archive')
      assert.equal(await asked('/v1beta1/upload-form'), '/v1beta1/upload-form')
      assert.equal(await asked('/v1beta1/upload-form-async'), '/v1beta1/upload-form')
      assert.equal(await asked('/v1alpha1/upload'), '/v1alpha1/upload-archive')
      assert.equal(await asked('/v1beta1/upload-tus'), '/v1beta1/upload-tus')
      assert.equal(await asked('/v1beta1/upload-resumable'), '/v1beta1/upload-resumable')
    })

    it('comes without the token and without the switch to clone streams, and with everything else', async () => {
      proxy.putClaim('headers')
      await using _server = await proxy.serve('headers', (request, response) =>
        response.end(JSON.stringify(request.headers)),
      )
      const { body } = await post('headers', {
        args: ['-H', 'x-cdi-content-type: blockdevice-clone', '-H', 'Upload-Offset: 7', '-H', 'Cookie: a=b'],
      })
      const headers = JSON.parse(body) as Record<string, string>
      assert.equal(headers['authorization'], undefined)
      assert.equal(headers['x-cdi-content-type'], undefined)
      assert.equal(headers['upload-offset'], '7')
      assert.equal(headers['content-length'], '4')
      assert.match(headers['host'] ?? '', /^cdi-upload-headers\.team\.svc:\d+$/)
    })

    it('is answered by the server with whatever status, headers and body it likes', async () => {
      proxy.putClaim('answers')
      await using _server = await proxy.serve('answers', (request, response) => {
        request.resume().on('end', () => {
          response
            .writeHead(
              418,
              'Teapot',
              [
                ['X-A', '1'],
                ['X-A', '2'],
                ['Location', '/v1beta1/upload-tus/1'],
              ].flat(),
            )
            .end('short and stout')
        })
      })
      const { status, headers, body } = await post('answers')
      assert.deepEqual(
        [status, body, headers['x-a'], headers['location']],
        [418, 'short and stout', '1, 2', '/v1beta1/upload-tus/1'],
      )
    })
  })

  describe('CORS', () => {
    const origin = ['-H', 'Origin: https://ui.example']

    it('is granted on answers of the server, on refusals, on 404 and on health', async () => {
      proxy.putClaim('cors')
      await using _server = await proxy.serve('cors', (request, response) => {
        request
          .resume()
          .on('end', () =>
            response.writeHead(204, { 'access-control-allow-origin': 'http://evil', 'Upload-Offset': '3' }).end(),
          )
      })
      const answers = [
        await post('cors', { args: origin }),
        await curl(proxy, '/v1beta1/upload', ['-X', 'POST', ...origin]),
        await post('cors', { args: origin, authorization: 'Bearer x' }),
        await post('gone', { args: origin }),
        await post('cors', { args: origin, path: '/nowhere' }),
        await curl(proxy, '/healthz', origin),
      ]
      assert.deepEqual(
        answers.map(({ status }) => status),
        [204, 400, 401, 404, 404, 200],
      )
      for (const { headers, status } of answers) {
        assert.equal(headers['access-control-allow-origin'], '*', String(status))
        assert.equal(headers['vary'], 'Origin')
        assert.match(headers['access-control-expose-headers'] ?? '', /\bUpload-Offset\b.*\bTus-Resumable\b/)
        assert.equal(headers['access-control-allow-credentials'], undefined)
      }
    })

    it('is not mentioned to whoever does not ask, but answers vary', async () => {
      const { headers } = await post('gone')
      assert.equal(headers['access-control-allow-origin'], undefined)
      assert.equal(headers['vary'], 'Origin')
    })

    it('answers a preflight before anything is checked', async () => {
      const asked = [
        '-H',
        'Access-Control-Request-Method: PATCH',
        '-H',
        'Access-Control-Request-Headers: authorization, upload-offset',
      ]
      for (const path of ['/v1beta1/upload', '/v1beta1/upload-tus/1', '/nowhere']) {
        const { status, headers, body } = await curl(proxy, path, ['-X', 'OPTIONS', ...origin, ...asked])
        assert.deepEqual([status, body], [200, ''])
        assert.equal(headers['access-control-allow-origin'], '*')
        assert.equal(headers['access-control-allow-methods'], 'PATCH')
        assert.equal(headers['access-control-allow-headers'], 'authorization, upload-offset')
      }
    })
  })

  it('grants other origins nothing of the page', async () => {
    const asked = ['-H', 'Origin: https://evil.example', '-H', 'Access-Control-Request-Method: GET']
    for (const path of ['/page/', '/page/api/namespaces/a/datavolumes', '/%70age/api/namespaces/a/datavolumes']) {
      const { status, headers } = await curl(proxy, path, ['-X', 'OPTIONS', ...asked])
      assert.deepEqual([status, headers['access-control-allow-origin']], [404, undefined])
    }
  })

  it('tells everybody what its tus can', async () => {
    const { status, headers, body } = await curl(proxy, '/v1beta1/upload-tus', ['-X', 'OPTIONS'])
    assert.deepEqual([status, body], [204, ''])
    assert.equal(headers['tus-resumable'], '1.0.0')
    assert.equal(headers['tus-version'], '1.0.0')
    assert.match(headers['tus-extension'] ?? '', /creation.*checksum.*termination/)
  })

  it('counts what it does, without names of claims', async () => {
    proxy.putClaim('measured')
    await using _server = await proxy.serve('measured', countBytes)
    await post('measured')
    const text = await proxy.metrics.metrics()
    assert.match(text, /kubevirt_cdi_uploadproxy_requests_total\{protocol="plain",outcome="succeeded"\} [1-9]/)
    assert.match(text, /kubevirt_cdi_uploadproxy_requests_total\{protocol="plain",outcome="timed_out"\} [1-9]/)
    assert.match(text, /kubevirt_cdi_uploadproxy_bytes_total\{protocol="plain"\} [1-9]/)
    assert.match(text, /kubevirt_cdi_uploadproxy_waiting_requests 0/)
    assert.match(text, /kubevirt_cdi_uploadproxy_active_requests\{protocol="plain"\} 0/)
    assert.doesNotMatch(text, /measured|team/)
  })
})
