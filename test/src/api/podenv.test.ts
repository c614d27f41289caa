import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { parsePodEnv, renderPodEnv } from '../../../src/api/podenv.ts'
import type { WorkerEnv } from '../../../src/api/podenv.ts'
import { emptyWorkerEnv } from '../../fixtures/worker-env.ts'

const env: WorkerEnv = {
  ...emptyWorkerEnv,
  endpoint: 'http://server/disk.img',
  imageSize: '71135396',
  ownerUid: 'uid',
  filesystemOverhead: '0.06',
}

/** What the kubelet makes of a rendered environment. */
function asProcess(rendered: ReturnType<typeof renderPodEnv>): Record<string, string> {
  return Object.fromEntries(
    rendered.map(({ name, value, valueFrom }) => [name, valueFrom ? 'from secret' : (value ?? '')]),
  )
}

describe('worker environment', () => {
  it('has the names and the order that clients see today', () => {
    assert.deepEqual(
      renderPodEnv(env).map(({ name }) => name),
      [
        'IMPORTER_SOURCE',
        'IMPORTER_ENDPOINT',
        'IMPORTER_CONTENTTYPE',
        'IMPORTER_IMAGE_SIZE',
        'OWNER_UID',
        'FILESYSTEM_OVERHEAD',
        'INSECURE_TLS',
        'IMPORTER_DISK_ID',
        'IMPORTER_UUID',
        'IMPORTER_PULL_METHOD',
        'IMPORTER_READY_FILE',
        'IMPORTER_DONE_FILE',
        'IMPORTER_BACKING_FILE',
        'IMPORTER_THUMBPRINT',
        'http_proxy',
        'https_proxy',
        'no_proxy',
        'IMPORTER_CURRENT_CHECKPOINT',
        'IMPORTER_PREVIOUS_CHECKPOINT',
        'IMPORTER_FINAL_CHECKPOINT',
        'PREALLOCATION',
        'CACHE_MODE',
        'IMPORTER_REGISTRY_IMAGE_ARCHITECTURE',
        'IMPORTER_CHECKSUM',
      ],
    )
  })

  it('takes credentials only by reference, so that they never stand in a pod', () => {
    const rendered = renderPodEnv(env, { secretName: 'creds' })
    assert.deepEqual(rendered.slice(-2), [
      { name: 'IMPORTER_ACCESS_KEY_ID', valueFrom: { secretKeyRef: { name: 'creds', key: 'accessKeyId' } } },
      { name: 'IMPORTER_SECRET_KEY', valueFrom: { secretKeyRef: { name: 'creds', key: 'secretKey' } } },
    ])
  })

  it('is read back by the worker as the controller wrote it', () => {
    const text = fc.string({ maxLength: 20 })
    fc.assert(
      fc.property(
        fc.record({
          endpoint: text,
          noProxy: text,
          checksum: text,
          insecureTls: fc.boolean(),
          preallocation: fc.boolean(),
        }),
        fc.array(text, { maxLength: 12 }),
        (changes, extraHeaders) => {
          const wanted = { ...env, ...changes }
          const parsed = parsePodEnv(asProcess(renderPodEnv(wanted, { extraHeaders, certDir: '/certs' })))
          assert.deepEqual(parsed, {
            ...wanted,
            extraHeaders,
            certDir: '/certs',
            proxyCertDir: '',
            accessKeyId: '',
            secretKey: '',
          })
        },
      ),
    )
  })
})
