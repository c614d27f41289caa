import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { validateObjectTransfer } from '../../../../src/apiserver/admission/objecttransfer.ts'
import type { KubeClient } from '../../../../src/kube/client.ts'
import { formatKey } from '../../../../src/kube/object.ts'
import type { Kind, KubeObject, ObjectKey } from '../../../../src/kube/object.ts'
import { request, told } from './requests.ts'

const { signal } = new AbortController()

describe('an ObjectTransfer', () => {
  const source = { kind: 'DataVolume', namespace: 'a', name: 'x' }
  const asked: string[] = []
  const client: Pick<KubeClient, 'get'> = {
    get: async <T extends KubeObject>(kind: Kind<T>, key: ObjectKey) => {
      asked.push(`${kind.plural} ${formatKey(key)}`)
      return (formatKey(key) === 'b/taken' ? { metadata: { name: 'taken' } } : undefined) as T | undefined
    },
  }
  const verdictOn = (spec: unknown, old?: unknown): ReturnType<typeof validateObjectTransfer> =>
    validateObjectTransfer(
      request('objecttransfers', {
        object: { metadata: { name: 't' }, spec },
        ...(old === undefined ? {} : { oldObject: { metadata: { name: 't' }, spec: old } }),
      }),
      { client },
      signal,
    )

  const rows: [string, object, string][] = [
    ['without a target', { source, target: {} }, '422: Target namespace and/or target name must be supplied'],
    ['of a pod', { source: { ...source, kind: 'Pod' }, target: { name: 'y' } }, '422: Unsupported kind "Pod"'],
    [
      'onto an object that is there',
      { source, target: { namespace: 'b', name: 'taken' } },
      '422: ObjectTransfer target "b/taken" already exists',
    ],
  ]
  for (const [name, spec, expected] of rows) {
    it(`${name} is rejected`, async () => assert.equal(told(await verdictOn(spec)), expected))
  }

  it('is admitted with a warning, its target completed from its source', async () => {
    const verdict = await verdictOn({ source, target: { namespace: 'b' } })
    assert.deepEqual(verdict, {
      allowed: true,
      warnings: ['ObjectTransfer feature is deprecated, and will be deleted soon'],
    })
    assert.equal(asked.at(-1), 'datavolumes b/x')
    await verdictOn({ source: { ...source, kind: 'PersistentVolumeClaim' }, target: { name: 'y' } })
    assert.equal(asked.at(-1), 'persistentvolumeclaims a/y')
  })

  it('keeps its spec', async () => {
    const spec = { source, target: { namespace: 'b' } }
    assert.equal(told(await verdictOn({ ...spec, parentName: 'p' }, spec)), '422: ObjectTransfer spec is immutable')
    assert.deepEqual(await verdictOn(spec, structuredClone(spec)), { allowed: true })
  })
})
