/** What DataSources say of themselves over the life of what they lead to. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { DataSource } from '../../src/api/kinds.ts'
import { waitFor } from '../cluster/wait-for.ts'
import { givenSource, sourceDisk, takeSnapshot } from './support/clone.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()
const preference = 'instancetype.kubevirt.io/default-preference'
const ready = 'True Ready: DataSource is ready to be consumed'

type Source = DataSource['spec']['source']

async function create(scene: Scene, name: string, source: Source): Promise<void> {
  await scene.create(kinds.dataSource, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'DataSource',
    metadata: { name },
    spec: { source },
  })
}

async function pointTo(scene: Scene, name: string, source: object): Promise<void> {
  const key = { namespace: scene.namespace, name }
  await scene.cluster.kube.patch(kinds.dataSource, key, { spec: { source } }, { type: 'merge' })
}

/** Waits until a DataSource says this, alone, with this source in its status. */
async function says(scene: Scene, name: string, saying: string, source: Source = {}): Promise<DataSource> {
  let last: DataSource | undefined
  const isSo = ({ status }: DataSource): boolean => {
    const said = status?.conditions?.map(
      (each) => `${each.type} ${each.status} ${each.reason ?? ''}: ${each.message ?? ''}`,
    )
    return JSON.stringify([said, status?.source]) === JSON.stringify([[`Ready ${saying}`], source])
  }
  try {
    return await waitFor({ what: saying, timeoutMs: 120_000 }, async () => {
      last = await scene.cluster.kube.get(kinds.dataSource, { namespace: scene.namespace, name })
      return last !== undefined && isSo(last) && last
    })
  } catch (error) {
    throw new Error(`DataSource ${name}: ${JSON.stringify(last)}`, { cause: error })
  }
}

describe('a DataSource', { concurrency: 3 }, () => {
  scenario(
    'tells how the import of its claim goes, and a pointer tells the same',
    () => stage().cluster,
    async (scene) => {
      const { namespace } = scene
      const source = { pvc: { name: 'src', namespace } }
      await create(scene, 'golden', source)
      await create(scene, 'latest', { dataSource: { name: 'golden', namespace } })
      const names = ['golden', 'latest']
      for (const name of names) await says(scene, name, 'False NotFound: PVC not found')
      const unreachable = sourceDisk(stage()).http('http://no-such-host.invalid/disk.img').label(preference, 'fedora')
      await scene.apply(unreachable)
      for (const name of names) {
        await says(scene, name, 'False ImportInProgress: Import DataVolume phase ImportInProgress')
      }
      await scene.cluster.kube.delete(kinds.dataVolume, { namespace, name: 'src' })
      await scene.until('the claim to be gone', () => scene.pvc('src') === undefined)
      for (const name of names) await says(scene, name, 'False NotFound: PVC not found')
      await givenSource(scene, sourceDisk(stage()).label(preference, 'fedora'))
      for (const name of names) {
        const { metadata } = await says(scene, name, ready, source)
        assert.equal(metadata.labels?.[preference], 'fedora')
        assert.equal(metadata.labels['app'], undefined)
      }
    },
  )

  scenario(
    'follows a snapshot from its making to its end',
    () => stage().cluster,
    async (scene) => {
      const { namespace } = scene
      const source = { snapshot: { name: 'snap', namespace } }
      await create(scene, 'golden', source)
      await says(scene, 'golden', 'False NotFound: Snapshot not found')
      await givenSource(scene, sourceDisk(stage()))
      await takeSnapshot(scene)
      await says(scene, 'golden', ready, source)
      await scene.cluster.kube.delete(kinds.volumeSnapshot, { namespace, name: 'snap' })
      await says(scene, 'golden', 'False NotFound: Snapshot not found')
    },
  )

  scenario(
    'whose snapshot cannot be taken says so',
    () => stage().cluster,
    async (scene) => {
      await create(scene, 'golden', { snapshot: { name: 'snap', namespace: scene.namespace } })
      await scene.create(kinds.volumeSnapshot, {
        apiVersion: 'snapshot.storage.k8s.io/v1',
        kind: 'VolumeSnapshot',
        metadata: { name: 'snap' },
        spec: { source: { persistentVolumeClaimName: 'no-such-claim' } },
      })
      await says(scene, 'golden', 'False SnapshotNotReady: Snapshot phase is not ready')
    },
  )

  scenario(
    'that is pointed from one claim to another one is ready anew',
    () => stage().cluster,
    async (scene) => {
      const { namespace } = scene
      const ofClaim = (name: string): Source => ({ pvc: { name, namespace } })
      await givenSource(scene, sourceDisk(stage()))
      await givenSource(scene, sourceDisk(stage()).named('newer'))
      await create(scene, 'golden', ofClaim('src'))
      const before = await says(scene, 'golden', ready, ofClaim('src'))
      // Times are whole seconds.
      const madeMs = Date.parse(before.status?.conditions?.[0]?.lastTransitionTime ?? '')
      await waitFor({ what: 'another second', timeoutMs: 10_000 }, async () => Date.now() - madeMs > 2_000)
      await pointTo(scene, 'golden', ofClaim('newer'))
      const after = await says(scene, 'golden', ready, ofClaim('newer'))
      const [first, second] = [before, after].map(({ status }) => status?.conditions?.[0]?.lastTransitionTime)
      assert.notEqual(first, second)
    },
  )

  scenario(
    'that points to where it must not says why',
    () => stage().cluster,
    async (scene) => {
      const { namespace } = scene
      const elsewhere = await scene.another()
      await create(scene, 'pointer', { dataSource: { name: 'pointer', namespace } })
      await says(scene, 'pointer', 'False SelfReference: DataSource cannot self-reference')
      await pointTo(scene, 'pointer', { dataSource: { name: 'next', namespace: elsewhere.namespace } })
      const crosses = 'DataSource cannot reference a DataSource in another namespace'
      await says(scene, 'pointer', `False CrossNamespaceReference: ${crosses}`)
      await pointTo(scene, 'pointer', { dataSource: { name: 'next', namespace } })
      await says(scene, 'pointer', 'False NotFound: datasources.cdi.kubevirt.io "next" not found')
      await create(scene, 'next', { dataSource: { name: 'last', namespace } })
      const tooDeep = 'DataSource reference chain exceeds maximum depth of 1'
      await says(scene, 'pointer', `False MaxReferenceDepthReached: ${tooDeep}`)
      await pointTo(scene, 'next', { dataSource: null })
      for (const name of ['next', 'pointer']) await says(scene, name, 'False NoSource: No source PVC set')
    },
  )
})
