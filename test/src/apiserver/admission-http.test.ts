import assert from 'node:assert/strict'
import { after, describe, it } from 'node:test'
import * as fc from 'fast-check'
import { pino } from 'pino'
import { webhooks } from '../../../src/apiserver/admission/webhooks.ts'
import { buildApp } from '../../../src/apiserver/app.ts'
import { review } from './admission/requests.ts'
import { dependencies } from './serving.ts'

const failing = dependencies({
  client: {
    get: async () => {
      throw new Error('the cluster is away')
    },
    list: async () => {
      throw new Error('the cluster is away')
    },
  },
})
const app = buildApp(dependencies())
const appWithoutCluster = buildApp(failing)
await Promise.all([app.ready(), appWithoutCluster.ready()])
after(() => Promise.all([app.close(), appWithoutCluster.close()]))

interface Reviewed {
  response: { uid: string; allowed: boolean; status?: { message: string; code: number }; patch?: string }
}

async function post(path: string, body: unknown, to = app): Promise<{ status: number; body: unknown }> {
  const { statusCode, payload } = await to.inject({
    method: 'POST',
    url: path,
    headers: { 'content-type': 'application/json' },
    payload: JSON.stringify(body),
  })
  return { status: statusCode, body: JSON.parse(payload) }
}

const paths = webhooks.flatMap(({ path, decide }) => Object.keys(decide).map((resource) => ({ path, resource })))

describe('the webhooks', () => {
  it('are those of the configurations', () => {
    assert.deepEqual(
      webhooks.map(({ path }) => path),
      [
        '/datavolume-validate',
        '/datavolume-mutate',
        '/cdi-validate',
        '/dataimportcron-validate',
        '/populator-validate',
        '/objecttransfer-validate',
        '/pvc-mutate',
      ],
    )
  })

  it('answer a review of either version without a client certificate', async () => {
    const object = { metadata: { name: 'dv' }, spec: { source: { blank: {} } } }
    for (const apiVersion of ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1']) {
      const answer = await post('/datavolume-validate?timeout=30s', {
        ...review('datavolumes', { object }),
        apiVersion,
      })
      assert.deepEqual(answer, {
        status: 200,
        body: {
          apiVersion,
          kind: 'AdmissionReview',
          response: {
            uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
            allowed: false,
            status: {
              message: ' Missing Data volume PVC',
              code: 422,
              details: {
                causes: [{ reason: 'FieldValueInvalid', message: 'Missing Data volume PVC', field: 'spec.PVC' }],
              },
            },
          },
        },
      })
    }
  })

  it('take POST and JSON only', async () => {
    for (const { path } of paths) {
      const got = await app.inject({ method: 'GET', url: path })
      assert.deepEqual([got.statusCode, got.headers['allow']], [405, 'POST'])
      const typed = await app.inject({
        method: 'POST',
        url: path,
        headers: { 'content-type': 'text/plain' },
        payload: '{}',
      })
      assert.equal(typed.statusCode, 415)
    }
  })

  it('refuse when what they need cannot be looked up', async () => {
    const object = {
      metadata: { name: 'x', labels: { 'cdi.kubevirt.io/applyStorageProfile': 'true' } },
      spec: { sourceRef: { kind: 'DataSource', name: 'd' }, source: { kind: 'DataVolume' }, target: { name: 'y' } },
    }
    const oldObject = {
      metadata: {},
      spec: { uninstallStrategy: 'BlockUninstallIfWorkloadsExist' },
      status: { phase: 'x' },
    }
    for (const { path, resource } of paths.filter(({ path }) => !/cron|populator/.test(path))) {
      const facts = resource === 'cdis' ? { operation: 'DELETE', oldObject } : { object }
      const answer = await post(path, review(resource, facts), appWithoutCluster)
      const { allowed, status } = (answer.body as Reviewed).response
      assert.deepEqual(
        [path, answer.status, allowed, status],
        [path, 200, false, { message: 'the cluster is away', code: 400 }],
      )
    }
  })

  it('write into the log who was denied what, without what the object says', async () => {
    const lines: string[] = []
    const log = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) })
    const logging = buildApp(dependencies({ log }))
    await logging.ready()
    const url = 'ftp://user:password@server/x'
    const spec = { storage: { resources: { requests: { storage: '1Gi' } } }, source: { http: { url } } }
    const answer = await post(
      '/datavolume-validate',
      review('datavolumes', { object: { metadata: { name: 'dv' }, spec } }),
      logging,
    )
    await logging.close()
    assert.match((answer.body as Reviewed).response.status?.message ?? '', /Invalid source URL scheme: ftp/)
    const { user, name, fields } = JSON.parse(lines[0] ?? '{}') as Record<string, unknown>
    assert.deepEqual([user, name, fields], ['alice', 'dv', ['spec.source']])
    assert.ok(!lines.join('').includes('password'))
  })

  it('take objects as large as the API server does', async () => {
    const object = { metadata: { name: 'x', annotations: { a: 'x'.repeat(3 * 1024 * 1024) } }, spec: {} }
    const answer = await post('/datavolume-mutate', review('datavolumes', { object, oldObject: object }))
    assert.equal(answer.status, 200)
  })
})

const memberNames = [
  'metadata',
  'spec',
  'status',
  'name',
  'generateName',
  'namespace',
  'annotations',
  'labels',
  'pvc',
  'storage',
  'source',
  'sourceRef',
  'kind',
  'resources',
  'requests',
  'limits',
  'accessModes',
  'volumeMode',
  'http',
  'url',
  'registry',
  'imageStream',
  'pullMethod',
  'checkpoints',
  'vddk',
  'imageio',
  'snapshot',
  'dataSource',
  'dataSourceRef',
  'template',
  'schedule',
  'importsToKeep',
  'target',
  'uninstallStrategy',
  'phase',
  'checksum',
  'cdi.kubevirt.io/applyStorageProfile',
  'deletionTimestamp',
  'contentType',
  '__proto__',
  'constructor',
]

/** Parts of real objects with something wrong in them, so that the rules are reached at all. */
const anything = fc.jsonValue({ maxDepth: 2 })
const { tree: odd } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    anything,
    fc.constantFrom(
      '',
      'DataSource',
      'DataVolume',
      '1Gi',
      'archive',
      'FromStorageProfile',
      'node',
      'docker://r/i',
      'http://h/p',
    ),
    fc.dictionary(fc.constantFrom(...memberNames), tie('tree'), { maxKeys: 6 }),
  ),
}))

describe('whatever is sent', () => {
  it('as a body is answered, with 400 unless it is a review', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), anything, async ({ path }, body) => {
        assert.equal((await post(path, body)).status, 400)
      }),
      { numRuns: 200 },
    )
  })

  it('in a review is answered with a verdict of the same uid', async () => {
    const operation = fc.constantFrom('CREATE', 'UPDATE', 'DELETE', 'CONNECT', '')
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...paths),
        operation,
        fc.oneof(odd, fc.record({ metadata: odd, spec: odd, status: odd })),
        odd,
        odd,
        async ({ path, resource }, operation, object, oldObject, user) => {
          const sent = review(resource, {
            operation,
            object: object,
            oldObject: oldObject,
            user: user,
          })
          const answer = await post(path, sent)
          assert.equal(answer.status, 200)
          const { response } = answer.body as Reviewed
          assert.equal(response.uid, '705ab4f5-6393-11e8-b7cc-42010a800002')
          assert.equal(typeof response.allowed, 'boolean')
          const { message = '' } = response.status ?? {}
          assert.ok(!/undefined|not a function|Cannot read|Cannot convert|is not iterable/.test(message), message)
        },
      ),
      { numRuns: 2_000 },
    )
  })

  it('beside the request is answered', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...paths), odd, async ({ path }, request) => {
        const body = { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request }
        const { status } = await post(path, body)
        assert.ok([200, 400].includes(status))
      }),
      { numRuns: 300 },
    )
  })
})
