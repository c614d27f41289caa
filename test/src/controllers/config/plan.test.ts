import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { CDIConfig, StorageClass } from '../../../../src/api/kinds.ts'
import { planConfigStatus } from '../../../../src/controllers/config/plan.ts'

function classes(...names: string[]): StorageClass[] {
  return names.map((name) => ({
    apiVersion: 'storage.k8s.io/v1',
    kind: 'StorageClass',
    metadata: { name, uid: name, resourceVersion: '1' },
    provisioner: 'csi.example',
  }))
}

function statusOf(spec: CDIConfig['spec'], ...names: string[]): ReturnType<typeof planConfigStatus> {
  return planConfigStatus({ spec, storageClasses: classes(...names) })
}

describe('status of CDIConfig', () => {
  it('holds the defaults and the four empty proxy strings when nothing is set, and nothing else', () => {
    assert.deepEqual(statusOf({}, 'fast'), {
      defaultPodResourceRequirements: {
        limits: { cpu: '750m', memory: '600M' },
        requests: { cpu: '100m', memory: '60M' },
      },
      filesystemOverhead: { global: '0.06', storageClass: { fast: '0.06' } },
      importProxy: { HTTPProxy: '', HTTPSProxy: '', noProxy: '', trustedCAProxy: '' },
    })
  })

  it('names every class with its own overhead or the global one, and no class that is not there', () => {
    const filesystemOverhead = { global: '0.1', storageClass: { fast: '0', gone: '0.5' } }
    assert.deepEqual(statusOf({ filesystemOverhead }, 'fast', 'slow', 'constructor').filesystemOverhead, {
      global: '0.1',
      storageClass: { fast: '0', slow: '0.1', constructor: '0.1' },
    })
  })

  it('overrides each of the four resources on its own', () => {
    const podResourceRequirements = { limits: { memory: '1Gi' }, requests: { cpu: 1 } }
    assert.deepEqual(statusOf({ podResourceRequirements }).defaultPodResourceRequirements, {
      limits: { cpu: '750m', memory: '1Gi' },
      requests: { cpu: 1, memory: '60M' },
    })
  })

  it('takes a scratch class only when it exists', () => {
    assert.equal(statusOf({ scratchSpaceStorageClass: 'fast' }, 'fast').scratchSpaceStorageClass, 'fast')
    assert.ok(!Object.hasOwn(statusOf({ scratchSpaceStorageClass: 'gone' }, 'fast'), 'scratchSpaceStorageClass'))
  })

  it('shows preallocation and pull secrets only when they are set', () => {
    const set = statusOf({ preallocation: true, imagePullSecrets: [{ name: 'pull' }] })
    assert.equal(set.preallocation, true)
    assert.deepEqual(set.imagePullSecrets, [{ name: 'pull' }])
    const unset = statusOf({ preallocation: false, imagePullSecrets: [] })
    assert.ok(!Object.hasOwn(unset, 'preallocation') && !Object.hasOwn(unset, 'imagePullSecrets'))
  })

  it('copies the proxy and fills up what is not set', () => {
    assert.deepEqual(
      statusOf({ importProxy: { HTTPSProxy: 'http://proxy:3128', noProxy: '10.0.0.0/8' } }).importProxy,
      {
        HTTPProxy: '',
        HTTPSProxy: 'http://proxy:3128',
        noProxy: '10.0.0.0/8',
        trustedCAProxy: '',
      },
    )
  })
})
