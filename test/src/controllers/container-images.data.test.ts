/**
 * Container images that the kubelet pulls, as the control plane sees them, against a real API server: what it admits, what
 * the two containers of the worker mean for the DataVolume, and what becomes of workers without an owner.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { kinds } from '../../../src/api/kinds.ts'
import type { DataVolume, Pod } from '../../../src/api/kinds.ts'
import { annotations } from '../../../src/api/names.ts'
import { eventually, startControlPlane } from './control-plane.ts'
import type { ControlPlane } from './control-plane.ts'
import { atWork, ended, Hands, starting } from './hands.ts'
import type { Script } from './hands.ts'

let plane: ControlPlane
before(async () => {
  plane = await startControlPlane()
})
after(() => plane?.[Symbol.asyncDispose]())

const image = 'registry.example:5000/disks/fedora:41'
const fromImage: Partial<DataVolume['spec']> = {
  source: { registry: { url: `docker://${image}`, pullMethod: 'node', platform: { architecture: 'arm64' } } },
}
const fromStream: Partial<DataVolume['spec']> = {
  source: { registry: { imageStream: 'fedora', pullMethod: 'node' } },
}
const finalizer = 'cdi.kubevirt.io/importImageStream'
const direct = { [annotations.usePopulator]: 'false' }

const preference = { 'instancetype.kubevirt.io/default-preference': 'fedora' }
const done = ended(0, JSON.stringify({ labels: { ...preference, 'kubevirt.io/os': 'x' }, message: 'Import Complete' }))
/** The worker is done while the container of the image has not seen it yet. */
const smooth: Script = () => [starting, atWork, { ...done, phase: 'Running', server: { running: {} } }]

function hands(namespace: string, script: Script): Hands {
  return new Hands({ client: plane.client, namespace, script })
}

async function podsOf(namespace: string): Promise<Pod[]> {
  return (await plane.client.list(kinds.pod, { namespace })).items
}

async function runningCondition(key: { namespace: string; name: string }): Promise<string> {
  const { status } = (await plane.client.get(kinds.dataVolume, key)) ?? {}
  const condition = status?.conditions?.find(({ type }) => type === 'Running')
  return `${condition?.status} ${condition?.reason}: ${condition?.message}`
}

describe('a container image that the kubelet pulls', () => {
  it('is imported where pods must satisfy the restricted standard, and labels claim and DataVolume', async () => {
    const { client } = plane
    const key = await plane.newDataVolume({ spec: fromImage })
    const restricted = { 'pod-security.kubernetes.io/enforce': 'restricted' }
    await client.patch(
      kinds.namespace,
      { name: key.namespace },
      { metadata: { labels: restricted } },
      { type: 'merge' },
    )
    await using _hands = hands(key.namespace, smooth)
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'Succeeded')
    const target = await client.get(kinds.pvc, key)
    assert.equal(target?.metadata.labels?.['instancetype.kubevirt.io/default-preference'], 'fedora')
    assert.equal(target.metadata.labels['kubevirt.io/os'], 'x')
    await eventually('the DataVolume says what the image says', async () => {
      const { labels = {} } = (await client.get(kinds.dataVolume, key))?.metadata ?? {}
      return labels['instancetype.kubevirt.io/default-preference'] === 'fedora' && !('kubevirt.io/os' in labels)
    })
    await eventually('the pod is gone', async () => (await podsOf(key.namespace)).length === 0)
  })

  it('tells which image it is when it cannot be pulled, and goes on when it can', async () => {
    const key = await plane.newDataVolume({ spec: fromImage })
    const unpulled: Script = () => [
      starting,
      { phase: 'Pending', state: { running: {} }, server: { waiting: { reason: 'ErrImagePull', message: 'no' } } },
    ]
    await using _process = plane.startProcess()
    {
      await using _hands = hands(key.namespace, unpulled)
      await eventually('the failure is told', async () => {
        return (await runningCondition(key)) === `False ImagePullFailed: failed to pull image: ${image}`
      })
      await plane.untilPhase(key, 'ImportScheduled')
    }
    await using _hands = hands(key.namespace, smooth)
    await plane.untilPhase(key, 'Succeeded')
  })

  it('says so when no node has its architecture', async () => {
    const key = await plane.newDataVolume({ spec: fromImage })
    await using _hands = hands(key.namespace, () => [{ phase: 'Pending', unschedulable: true }])
    await using _process = plane.startProcess()
    await eventually('it is told', async () => {
      return (await runningCondition(key)) === 'False Unschedulable: Importer pod cannot be scheduled'
    })
    const target = await plane.client.get(kinds.pvc, key)
    assert.equal(target?.metadata.annotations?.[annotations.podSchedulable], 'false')
    const [pod] = await podsOf(key.namespace)
    assert.equal(pod?.spec?.nodeSelector?.['kubernetes.io/arch'], 'arm64')
  })
})

describe('an ImageStream', () => {
  for (const [mode, annotated] of [
    ['through P', {}],
    ['directly', direct],
  ] as const) {
    it(`is imported ${mode} by a worker without an owner, and nothing is left of it`, async () => {
      const { client } = plane
      const key = await plane.newDataVolume({ spec: fromStream, annotated })
      await using _process = plane.startProcess()
      {
        await using _onlyVolumes = hands(key.namespace, () => [])
        await eventually('the worker is there', async () => (await podsOf(key.namespace)).length === 1)
      }
      const [pod] = await podsOf(key.namespace)
      assert.equal(pod?.metadata.ownerReferences, undefined)
      assert.equal(pod?.spec?.containers[1]?.image, 'fedora')
      const carrier = await client.get(kinds.pvc, { ...key, name: pod?.metadata.name.replace(/^importer-/, '') ?? '' })
      assert.ok(carrier?.metadata.finalizers?.includes(finalizer))

      await using _hands = hands(key.namespace, smooth)
      await plane.untilPhase(key, 'Succeeded')
      await eventually('pod, P and finalizer are gone', async () => {
        const { items: claims } = await client.list(kinds.pvc, { namespace: key.namespace })
        const left = await podsOf(key.namespace)
        return left.length === 0 && claims.length === 1 && !claims[0]?.metadata.finalizers?.includes(finalizer)
      })
    })

    it(`in the middle of an import ${mode} takes its worker with it when the DataVolume is deleted`, async () => {
      const { client } = plane
      const key = await plane.newDataVolume({ spec: fromStream, annotated })
      await using _hands = hands(key.namespace, () => [starting, atWork])
      await using _process = plane.startProcess()
      await plane.untilPhase(key, 'ImportInProgress')
      await client.delete(kinds.dataVolume, key)
      await eventually('claims and pod are gone', async () => {
        const { items: claims } = await client.list(kinds.pvc, { namespace: key.namespace })
        return claims.length === 0 && (await podsOf(key.namespace)).length === 0
      })
    })
  }

  it('leaves a worker that is to be retained, until the claim goes', async () => {
    const { client } = plane
    const annotated = { ...direct, [annotations.podRetainAfterCompletion]: 'true' }
    const key = await plane.newDataVolume({ spec: fromStream, annotated })
    await using _hands = hands(key.namespace, smooth)
    await using _process = plane.startProcess()
    await plane.untilPhase(key, 'Succeeded')
    assert.equal((await client.get(kinds.pvc, key))?.metadata.finalizers?.includes(finalizer), false)
    assert.equal((await podsOf(key.namespace)).length, 1)
    await client.delete(kinds.dataVolume, key)
    await eventually('claim and pod are gone', async () => {
      return (await client.get(kinds.pvc, key)) === undefined && (await podsOf(key.namespace)).length === 0
    })
  })
})
