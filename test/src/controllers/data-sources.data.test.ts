/** DataSources against a real API server: every change of what they lead to reaches them. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { kinds } from '../../../src/api/kinds.ts'
import type { CustomResourceDefinition, DataSource } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import type { NewObject, ObjectKey } from '../../../src/kube/object.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControllerProcess, ControlPlane } from './control-plane.ts'

const preference = 'instancetype.kubevirt.io/default-preference'
const ready = 'True Ready: DataSource is ready to be consumed'

let plane: ControlPlane
let client: ControlPlane['client']
let controller: ControllerProcess

before(async () => {
  plane = await startControlPlane()
  ;({ client } = plane)
  await client.create(kinds.customResourceDefinition, snapshotDefinition)
  await eventually('snapshots are served', async () => (await client.list(kinds.volumeSnapshot)).items.length === 0)
  controller = plane.startProcess()
})
after(async () => {
  await controller?.end()
  await plane?.[Symbol.asyncDispose]()
})

/** As much of the CRD of snapshots as matters here. */
const snapshotDefinition: NewObject<CustomResourceDefinition> = {
  apiVersion: 'apiextensions.k8s.io/v1',
  kind: 'CustomResourceDefinition',
  metadata: {
    name: 'volumesnapshots.snapshot.storage.k8s.io',
    annotations: { 'api-approved.kubernetes.io': 'unapproved, for a test' },
  },
  spec: {
    group: 'snapshot.storage.k8s.io',
    names: { kind: 'VolumeSnapshot', plural: 'volumesnapshots' },
    scope: 'Namespaced',
    versions: [
      {
        name: 'v1',
        served: true,
        storage: true,
        schema: { openAPIV3Schema: { type: 'object', 'x-kubernetes-preserve-unknown-fields': true } as never },
        subresources: { status: {} },
      },
    ],
  },
}

async function create(namespace: string, name: string, source: DataSource['spec']['source']): Promise<ObjectKey> {
  await client.create(kinds.dataSource, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataSource',
    metadata: { name, namespace },
    spec: { source },
  })
  return { namespace, name }
}

async function pointTo(key: ObjectKey, source: object): Promise<void> {
  await client.patch(kinds.dataSource, key, { spec: { source } }, { type: 'merge' })
}

function sayingOf({ status }: DataSource): string {
  const { status: value, reason, message } = status?.conditions?.[0] ?? {}
  return `${value} ${reason}: ${message}`
}

async function says(key: ObjectKey, saying: string, source?: object): Promise<DataSource> {
  let last: DataSource | undefined
  try {
    await eventually(saying, async () => {
      last = await client.get(kinds.dataSource, key)
      const isThere = last !== undefined && sayingOf(last) === saying
      return isThere && (!source || JSON.stringify(last?.status?.source) === JSON.stringify(source))
    })
  } catch (error) {
    throw new Error(`last seen: ${JSON.stringify(last)}`, { cause: error })
  }
  return last as DataSource
}

async function makeClaim(namespace: string, name: string, labels: Record<string, string> = {}): Promise<void> {
  await client.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { namespace, name, labels, annotations: { [annotations.populatedFor]: name }, finalizers: [] },
    spec: { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Mi' } }, storageClassName: 'csi' },
  })
}

/** Nobody but the API server's own protection holds it. */
async function removeClaim(key: ObjectKey): Promise<void> {
  await client.patch(kinds.pvc, key, { metadata: { finalizers: null } }, { type: 'merge' })
  await client.delete(kinds.pvc, key)
}

describe('a DataSource', () => {
  it('follows its claim from its making to its end, and a pointer follows it', async () => {
    const namespace = await plane.newNamespace()
    const pvc = { namespace, name: 'disk' }
    const direct = await create(namespace, 'direct', { pvc })
    const pointer = await create(namespace, 'pointer', { dataSource: { namespace, name: 'direct' } })
    for (const key of [direct, pointer]) await says(key, 'False NotFound: PVC not found', {})
    await makeClaim(namespace, 'disk', { [preference]: 'fedora', 'example.com/x': 'y' })
    for (const key of [direct, pointer]) {
      const { metadata } = await says(key, ready, { pvc: { name: 'disk', namespace } })
      assert.deepEqual(metadata.labels, { [preference]: 'fedora' })
    }
    await client.patch(kinds.pvc, pvc, { metadata: { labels: { [preference]: 'debian' } } }, { type: 'merge' })
    for (const key of [direct, pointer]) {
      await eventually('the label travels on', async () => {
        const found = await client.get(kinds.dataSource, key)
        return found?.metadata.labels?.[preference] === 'debian'
      })
    }
    await removeClaim(pvc)
    for (const key of [direct, pointer]) await says(key, 'False NotFound: PVC not found', {})
  })

  it('follows the DataVolume of its claim', async () => {
    const namespace = await plane.newNamespace()
    const key = await create(namespace, 'golden', { pvc: { namespace: '', name: 'disk' } })
    await client.create(kinds.dataVolume, {
      apiVersion: 'cdi.kubevirt.io/v1beta1',
      kind: 'DataVolume',
      metadata: { namespace, name: 'disk', annotations: { [annotations.prePopulated]: 'disk' } },
      spec: { source: { blank: {} }, storage: { resources: { requests: { storage: '1Mi' } } } },
    })
    await says(key, 'False Pending: Import DataVolume phase Pending')
    await makeClaim(namespace, 'disk')
    await client.patch(
      kinds.pvc,
      { namespace, name: 'disk' },
      { status: { phase: 'Bound' } },
      {
        type: 'merge',
        subresource: 'status',
      },
    )
    await says(key, ready)
  })

  it('follows its snapshot, which is missing, not ready, ready and gone', async () => {
    const namespace = await plane.newNamespace()
    const snapshot = { name: 'snap', namespace }
    const key = await create(namespace, 'golden', { snapshot })
    await says(key, 'False NotFound: Snapshot not found')
    await client.create(kinds.volumeSnapshot, {
      apiVersion: 'snapshot.storage.k8s.io/v1',
      kind: 'VolumeSnapshot',
      metadata: snapshot,
      spec: { source: { persistentVolumeClaimName: 'disk' } },
    })
    await says(key, 'False SnapshotNotReady: Snapshot phase is not ready')
    const status = { status: { readyToUse: true } }
    await client.patch(kinds.volumeSnapshot, snapshot, status, { type: 'merge', subresource: 'status' })
    await says(key, ready, { snapshot })
    await client.delete(kinds.volumeSnapshot, snapshot)
    await says(key, 'False NotFound: Snapshot not found', {})
  })

  it('that is pointed to another source that is ready says so by another time', async () => {
    const namespace = await plane.newNamespace()
    await makeClaim(namespace, 'one')
    await makeClaim(namespace, 'two')
    const key = await create(namespace, 'golden', { pvc: { namespace, name: 'one' } })
    const before = await says(key, ready, { pvc: { name: 'one', namespace } })
    await eventually('the second is over', async () => {
      const time = Date.parse(before.status?.conditions?.[0]?.lastTransitionTime ?? '')
      return Date.now() - time > 1_000
    })
    await pointTo(key, { pvc: { name: 'two' } })
    const after = await says(key, ready, { pvc: { name: 'two', namespace } })
    const times = [before, after].map(({ status }) => status?.conditions?.[0]?.lastTransitionTime)
    assert.notEqual(times[0], times[1])
  })

  it('that points says what is wrong, and gets over it', async () => {
    const namespace = await plane.newNamespace()
    await makeClaim(namespace, 'disk')
    const key = await create(namespace, 'pointer', { dataSource: { namespace, name: 'pointer' } })
    await says(key, 'False SelfReference: DataSource cannot self-reference')
    await pointTo(key, { dataSource: { namespace: 'elsewhere' } })
    await says(key, 'False CrossNamespaceReference: DataSource cannot reference a DataSource in another namespace')
    await pointTo(key, { dataSource: { namespace, name: 'next' } })
    await says(key, 'False NotFound: datasources.cdi.kubevirt.io "next" not found')
    const next = await create(namespace, 'next', { dataSource: { namespace, name: 'last' } })
    await says(key, 'False MaxReferenceDepthReached: DataSource reference chain exceeds maximum depth of 1')
    await pointTo(next, { dataSource: null, pvc: { namespace, name: 'disk' } })
    await says(key, ready, { pvc: { name: 'disk', namespace } })
    await client.delete(kinds.dataSource, next)
    await says(key, 'False NotFound: datasources.cdi.kubevirt.io "next" not found', {})
  })
})
