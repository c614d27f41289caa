/** Objects, names, marks and events of clones as clients know them (recorded from the existing service). */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { kinds } from '../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Pod } from '../../src/api/kinds.ts'
import type { KubeObject } from '../../src/kube/object.ts'
import { parseQuantity } from '../../src/quantity.ts'
import { assertCloned, assertNothingLeft, assertSameDisk } from './support/assert-clone.ts'
import { assertDisk } from './support/assert-disk.ts'
import { cloneBy, givenSource, sourceDisk, sourcePods, temporariesOf } from './support/clone.ts'
import { scenario } from './support/scene.ts'
import type { Scene } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage()

const recommended = {
  app: 'containerized-data-importer',
  'app.kubernetes.io/component': 'storage',
  'app.kubernetes.io/managed-by': 'cdi-controller',
}

const token = /^[\w-]+\.[\w-]+\.[\w-]+$/

/** Annotations without those that the cluster itself writes, and with tokens replaced by the word. */
function annotationsOf({ metadata }: KubeObject): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata.annotations ?? {})
      .filter(([key]) => !/^(pv|volume(\.beta)?)\.kubernetes\.io\//.test(key))
      // Whether it is on the target depends on who was faster: nobody may rely on it.
      .filter(([key]) => key !== 'k8s.io/CloneOf')
      .map(([key, value]) => [key, key.endsWith('.clone.token') && token.test(value) ? 'token' : value]),
  )
}

function owners({ metadata }: KubeObject): unknown {
  return metadata.ownerReferences?.map(({ kind, name, controller, blockOwnerDeletion }) => ({
    kind,
    name,
    controller,
    blockOwnerDeletion,
  }))
}

function controlledBy(kind: string, name: string): unknown {
  return [{ kind, name, controller: true, blockOwnerDeletion: true }]
}

function only<T>(things: readonly T[]): T {
  assert.equal(things.length, 1)
  return things[0] as T
}

/** The target of a clone that succeeded. */
function checkTarget(scene: Scene, more: Record<string, string>): PersistentVolumeClaim {
  const { metadata } = scene.dataVolume('dv') ?? assert.fail('there is no DataVolume')
  const target = scene.pvc('dv') ?? assert.fail('there is no claim')
  assert.deepEqual(annotationsOf(target), {
    'cdi.kubevirt.io/clonePhase': 'Succeeded',
    'cdi.kubevirt.io/createdForDataVolume': metadata.uid,
    'cdi.kubevirt.io/storage.condition.running': 'false',
    'cdi.kubevirt.io/storage.condition.running.message': 'Clone Complete',
    'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
    'cdi.kubevirt.io/storage.contentType': 'kubevirt',
    'cdi.kubevirt.io/storage.pod.restarts': '0',
    'cdi.kubevirt.io/storage.populator.progress': '100.0%',
    'cdi.kubevirt.io/storage.preallocation.requested': 'false',
    'cdi.kubevirt.io/storage.usePopulator': 'true',
    ...more,
  })
  assert.deepEqual(target.metadata.labels, {
    ...recommended,
    'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
  })
  assert.deepEqual(owners(target), controlledBy('DataVolume', 'dv'))
  assert.deepEqual(target.metadata.finalizers, ['kubernetes.io/pvc-protection'])
  const source = {
    apiGroup: 'cdi.kubevirt.io',
    kind: 'VolumeCloneSource',
    name: `volume-clone-source-${metadata.uid}`,
  }
  // The latter without a namespace, wherever the source is.
  assert.deepEqual(target.spec?.dataSource, source)
  assert.deepEqual(target.spec.dataSourceRef, source)
  assert.equal(target.spec.resources?.requests?.['storage'], '71135396')
  return target
}

/** The claim in which a clone is made, in the namespace of the source. */
async function checkTemporary(scene: Scene, from: Scene, more: Record<string, string>): Promise<PersistentVolumeClaim> {
  const { claim, uid } = await temporariesOf(scene)
  const { last } = only(from.seen.pvcs.named(claim))
  assert.equal(last.metadata.ownerReferences, undefined)
  assert.deepEqual(last.metadata.labels, {
    ...recommended,
    'alerts.k8s.io/KubePersistentVolumeFillingUp': 'disabled',
    'cdi.kubevirt.io/OwnedByUID': uid,
    'velero.io/exclude-from-backup': 'true',
  })
  assert.partialDeepStrictEqual(annotationsOf(last), {
    'cdi.kubevirt.io/events.source': `${scene.namespace}/dv`,
    'cdi.kubevirt.io/events.source.kind': 'PersistentVolumeClaim',
    'cdi.kubevirt.io/storage.contentType': 'kubevirt',
    'cdi.kubevirt.io/storage.populator.kind': 'VolumeCloneSource',
    ...more,
  })
  assert.deepEqual(last.spec?.accessModes, ['ReadWriteOnce'])
  assert.equal(last.spec.storageClassName, 'csi-immediate')
  assert.equal(last.spec.volumeMode, 'Filesystem')
  return last
}

function checkUploadPod({ metadata, spec, status }: Pod, carrier: string, client: string): void {
  assert.equal(metadata.name, `cdi-upload-${carrier}`)
  assert.partialDeepStrictEqual(metadata.labels, { ...recommended, 'cdi.kubevirt.io': 'cdi-upload-server' })
  assert.equal(metadata.annotations?.['cdi.kubevirt.io/storage.createdByUploadController'], 'yes')
  assert.deepEqual(owners({ apiVersion: 'v1', kind: 'Pod', metadata }), controlledBy('PersistentVolumeClaim', carrier))
  const [container] = spec?.containers ?? []
  assert.equal(container?.name, 'cdi-upload-server')
  assert.equal(container.env?.find(({ name }) => name === 'CLIENT_NAME')?.value, client)
  const claims = spec?.volumes?.flatMap(({ persistentVolumeClaim }) => persistentVolumeClaim?.claimName ?? [])
  assert.deepEqual(claims, [carrier], 'it has a scratch volume')
  assert.equal(
    status?.containerStatuses?.[0]?.state?.terminated?.message,
    '{"preallocationApplied":false,"message":"Clone Complete"}',
  )
}

function checkSourcePod({ metadata, spec }: Pod, expected: { from: Scene; carrier: PersistentVolumeClaim }): void {
  const { from, carrier } = expected
  const source = from.pvc('src')?.metadata.uid ?? ''
  const name = `${carrier.metadata.uid}-source-pod`
  assert.equal(metadata.name, name)
  assert.deepEqual(metadata.labels, {
    ...recommended,
    'cdi.kubevirt.io': 'cdi-clone-source',
    'cdi.kubevirt.io/hostAssistedSourcePodCloneSource': source,
    'cdi.kubevirt.io/storage.clone.cloneUniqeId': name,
    'prometheus.cdi.kubevirt.io': 'true',
  })
  assert.deepEqual(metadata.annotations, {
    'cdi.kubevirt.io/storage.createdByController': 'yes',
    'cdi.kubevirt.io/storage.ownerRef': `${carrier.metadata.namespace}/${carrier.metadata.name}`,
    'linkerd.io/inject': 'disabled',
    'sidecar.istio.io/inject': 'false',
  })
  assert.equal(metadata.ownerReferences, undefined)
  assert.equal(spec?.restartPolicy, 'OnFailure')
  assert.equal(spec.enableServiceLinks, false)
  const near = (key: string, value: string): unknown => ({
    labelSelector: { matchExpressions: [{ key, operator: 'In', values: [value] }] },
    namespaces: [carrier.metadata.namespace],
    topologyKey: 'kubernetes.io/hostname',
  })
  assert.deepEqual(spec.affinity, {
    podAffinity: {
      // A volume that is attached to one node only, where another clone may be reading it.
      requiredDuringSchedulingIgnoredDuringExecution: [
        near('cdi.kubevirt.io/hostAssistedSourcePodCloneSource', source),
      ],
      preferredDuringSchedulingIgnoredDuringExecution: [
        { weight: 100, podAffinityTerm: near('cdi.kubevirt.io/uploadTarget', carrier.metadata.uid) },
      ],
    },
  })
  const [container] = spec.containers
  assert.equal(container?.name, 'cdi-clone-source')
  assert.deepEqual(container.ports, [{ containerPort: 8443, name: 'metrics', protocol: 'TCP' }])
  assert.deepEqual(container.resources, {
    limits: { cpu: '750m', memory: '600M' },
    requests: { cpu: '100m', memory: '60M' },
  })
  assert.partialDeepStrictEqual(
    container.volumeMounts?.find(({ mountPath }) => mountPath === '/var/run/cdi/clone/source'),
    { readOnly: true },
  )
}

describe('a copy', { concurrency: 4 }, () => {
  scenario(
    'makes the objects that clients know, and removes its own',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      const { metadata } = await scene.apply(cloneBy('copy', scene))
      await assertCloned(scene, { from: scene, strategy: 'copy' })
      const dv = scene.dataVolume('dv') ?? assert.fail('there is no DataVolume')
      assert.deepEqual(annotationsOf(dv), {
        'cdi.kubevirt.io/cloneType': 'copy',
        'cdi.kubevirt.io/storage.clone.token': 'token',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      })
      checkTarget(scene, { 'cdi.kubevirt.io/cloneType': 'copy' })

      const { claim, uploadPod } = await temporariesOf(scene)
      const client = `${scene.namespace}/src-${scene.namespace}/${claim}`
      const target = scene.pvc('dv')?.metadata.uid ?? ''
      const sourcePod = only(sourcePods(scene)).last
      const carrier = await checkTemporary(scene, scene, {
        'cdi.kubevirt.io/ownerUID': target,
        'cdi.kubevirt.io/storage.bind.immediate.requested': '',
        'cdi.kubevirt.io/storage.condition.running': 'false',
        'cdi.kubevirt.io/storage.condition.running.message': 'Clone Complete',
        'cdi.kubevirt.io/storage.condition.running.reason': 'Completed',
        'cdi.kubevirt.io/storage.pod.phase': 'Succeeded',
        'cdi.kubevirt.io/storage.pod.restarts': '0',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'cdi.kubevirt.io/storage.sourceClonePodName': sourcePod.metadata.name,
        'cdi.kubevirt.io/storage.uploadPodName': uploadPod,
        'cdi.kubevirt.io/uploadClientName': client,
        'k8s.io/CloneRequest': `${scene.namespace}/src`,
      })
      assert.equal(carrier.spec?.resources?.requests?.['storage'], '71135396')
      assert.equal(carrier.spec.dataSourceRef, undefined)
      checkUploadPod(only(scene.seen.uploadPods(claim)).last, claim, client)
      checkSourcePod(sourcePod, { from: scene, carrier })
      assert.deepEqual(scene.seen.services.names(), [uploadPod])
      assert.deepEqual(scene.seen.snapshots.names(), [])
      await scene.tells(`PersistentVolumeClaim/${claim}`, 'Normal CloneSucceeded: Clone Complete')

      const source = only([...scene.seen.cloneSources.sightings.values()]).last
      assert.equal(source.metadata.name, `volume-clone-source-${metadata.uid}`)
      assert.deepEqual(source.spec, { source: { kind: 'PersistentVolumeClaim', name: 'src' } })
      assert.deepEqual(owners(source), controlledBy('DataVolume', 'dv'))
    },
  )

  scenario(
    'from another namespace makes everything there, and brings its permission along',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      const { metadata } = await scene.apply(cloneBy('copy', from))
      await scene.until('the finalizer', () =>
        scene.dataVolume('dv')?.metadata.finalizers?.includes('cdi.kubevirt.io/dataVolumeFinalizer'),
      )
      await assertCloned(scene, { from, strategy: 'copy' })
      const dv = scene.dataVolume('dv') ?? assert.fail('there is no DataVolume')
      assert.deepEqual(annotationsOf(dv), {
        'cdi.kubevirt.io/cloneType': 'copy',
        'cdi.kubevirt.io/storage.clone.token': 'token',
        'cdi.kubevirt.io/storage.extended.clone.token': 'token',
        'cdi.kubevirt.io/storage.usePopulator': 'true',
      })
      checkTarget(scene, {
        'cdi.kubevirt.io/cloneType': 'copy',
        'cdi.kubevirt.io/dataSourceNamespace': from.namespace,
        'cdi.kubevirt.io/storage.clone.token': 'token',
        'cdi.kubevirt.io/storage.extended.clone.token': 'token',
      })
      assert.deepEqual(scene.seen.pvcs.names(), ['dv'])
      assert.deepEqual(scene.seen.pods.names(), [])
      assert.deepEqual(scene.seen.cloneSources.names(), [])

      const { claim } = await temporariesOf(scene)
      const carrier = await checkTemporary(scene, from, { 'k8s.io/CloneRequest': `${from.namespace}/src` })
      checkUploadPod(only(from.seen.uploadPods(claim)).last, claim, `${from.namespace}/src-${from.namespace}/${claim}`)
      checkSourcePod(only(sourcePods(from)).last, { from, carrier })
      const source = only([...from.seen.cloneSources.sightings.values()]).last
      assert.equal(source.metadata.name, `volume-clone-source-${metadata.uid}`)
      assert.equal(source.metadata.ownerReferences, undefined)
      assert.equal(source.metadata.annotations?.['cdi.kubevirt.io/ownedByDataVolume'], `${scene.namespace}/dv`)
    },
  )

  scenario(
    'obeys priority class and preallocation',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      const priorityClassName = 'system-cluster-critical'
      await scene.apply(cloneBy('copy', scene).preallocated().spec({ priorityClassName }))
      await assertCloned(scene, { from: scene, strategy: 'copy' })
      const { claim } = await temporariesOf(scene)
      for (const { last } of [only(scene.seen.uploadPods(claim)), only(sourcePods(scene))]) {
        assert.equal(last.spec?.priorityClassName, priorityClassName)
      }
      const source = only([...scene.seen.cloneSources.sightings.values()]).last
      assert.deepEqual(source.spec, {
        source: { kind: 'PersistentVolumeClaim', name: 'src' },
        preallocation: true,
        priorityClassName,
      })
      assert.equal(scene.pvc('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.preallocation'], 'true')
      const { sha256, sizeBytes, file } = await scene.disk('dv', stage().images.bytes)
      assert.equal(sha256, stage().images.sha256)
      assert.ok((file?.allocatedBytes ?? 0) >= sizeBytes, `${file?.allocatedBytes} of ${sizeBytes} bytes are there`)
    },
  )

  scenario(
    'keeps its pods and its claim when asked to',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneBy('copy', scene).annotate('cdi.kubevirt.io/storage.pod.retainAfterCompletion', 'true'))
      await scene.succeeds('dv')
      const { claim, uploadPod } = await temporariesOf(scene)
      const words = 'Warning RetainedPVCPrime: PVC Prime retained in Lost state for debugging purposes'
      await scene.until('the word of it', () =>
        ['dv', claim].some((name) => scene.seen.eventsOf('PersistentVolumeClaim', name).includes(words)),
      )
      await scene.until('the claim to be lost', () => scene.pvc(claim)?.status?.phase === 'Lost')
      await scene.until('the end of the receiving pod', () => scene.pod(uploadPod)?.status?.phase === 'Succeeded')
      await scene.until('the end of the source pod', () => {
        return only(sourcePods(scene)).last.status?.phase === 'Succeeded'
      })
      assert.equal(only(sourcePods(scene)).gone, false)
      await assertDisk(scene, stage().images)
    },
  )

  scenario(
    'works with long names that have dots, of source and target',
    () => stage().cluster,
    async (scene) => {
      const long = (word: string): string => `${`${word}.`.repeat(160 / (word.length + 1))}end`
      const [sourceName, name] = [long('source-of-it'), long('the-target1')]
      await givenSource(scene, sourceDisk(stage()).named(sourceName))
      await scene.apply(cloneBy('copy', scene, name).clonePvc(scene.namespace, sourceName))
      const cloned = { from: scene, strategy: 'copy', name, sourceName } as const
      await assertCloned(scene, cloned)
      await assertSameDisk(scene, stage().images, cloned)
    },
  )
})

describe('a clone by the storage', { concurrency: 2 }, () => {
  scenario(
    'through a snapshot makes the objects that clients know, and removes its own',
    () => stage().cluster,
    async (scene) => {
      const from = await scene.another()
      await givenSource(from, sourceDisk(stage()))
      await scene.apply(cloneBy('snapshot', from))
      await assertCloned(scene, { from, strategy: 'snapshot' })
      const target = checkTarget(scene, {
        'cdi.kubevirt.io/cloneType': 'snapshot',
        'cdi.kubevirt.io/dataSourceNamespace': from.namespace,
        'cdi.kubevirt.io/storage.clone.token': 'token',
        'cdi.kubevirt.io/storage.extended.clone.token': 'token',
      })
      const names = await temporariesOf(scene)
      const { last: snapshot } = only([...from.seen.snapshots.sightings.values()])
      assert.equal(snapshot.metadata.name, names.snapshot)
      assert.equal(snapshot.metadata.ownerReferences, undefined)
      assert.partialDeepStrictEqual(snapshot.metadata.labels, {
        app: 'containerized-data-importer',
        'cdi.kubevirt.io/OwnedByUID': target.metadata.uid,
      })
      assert.deepEqual(snapshot.spec, {
        source: { persistentVolumeClaimName: 'src' },
        volumeSnapshotClassName: 'csi-snapshots',
      })
      const { spec } = await checkTemporary(scene, from, {})
      const restored = { apiGroup: 'snapshot.storage.k8s.io', kind: 'VolumeSnapshot', name: names.snapshot }
      assert.deepEqual(spec?.dataSourceRef, restored)
      assert.equal(
        parseQuantity(spec.resources?.requests?.['storage'] ?? '0'),
        parseQuantity(snapshot.status?.restoreSize ?? '0'),
      )
      assert.deepEqual(sourcePods(from), [])
      await scene.tells(
        'PersistentVolumeClaim/dv',
        'Normal VolumeSnapshotClassSelected: VolumeSnapshotClass selected according to StorageProfile csi-snapshots',
      )
    },
  )

  scenario(
    'itself makes the objects that clients know, and removes its own',
    () => stage().cluster,
    async (scene) => {
      const source = await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneBy('csi-clone', scene))
      await assertCloned(scene, { from: scene, strategy: 'csi-clone' })
      checkTarget(scene, { 'cdi.kubevirt.io/cloneType': 'csi-clone' })
      const { spec } = await checkTemporary(scene, scene, {})
      assert.partialDeepStrictEqual(spec?.dataSourceRef, { kind: 'PersistentVolumeClaim', name: 'src' })
      assert.equal(
        parseQuantity(spec?.resources?.requests?.['storage'] ?? '0'),
        parseQuantity(source.status?.capacity?.['storage'] ?? '0'),
      )
      assert.deepEqual(sourcePods(scene), [])
      assert.deepEqual(scene.seen.snapshots.names(), [])
    },
  )
})

describe('a clone that succeeded', { concurrency: 2 }, () => {
  scenario(
    'is made again when its claim is deleted',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.apply(cloneBy('csi-clone', scene))
      await scene.succeeds('dv')
      await assertNothingLeft(scene)
      const first = scene.pvc('dv')?.metadata.uid
      await scene.cluster.kube.delete(kinds.pvc, { namespace: scene.namespace, name: 'dv' })
      await scene.until('another claim', () => {
        const uid = scene.pvc('dv')?.metadata.uid
        return uid !== undefined && uid !== first
      })
      await scene.until('another clone', () => {
        const marks = scene.pvc('dv')?.metadata.annotations
        return marks?.['cdi.kubevirt.io/clonePhase'] === 'Succeeded'
      })
      await scene.succeeds('dv')
      await assertDisk(scene, stage().images)
      await assertNothingLeft(scene)
    },
  )

  scenario(
    'is not made where somebody else has filled the claim already',
    () => stage().cluster,
    async (scene) => {
      await givenSource(scene, sourceDisk(stage()))
      await scene.create(kinds.pvc, {
        apiVersion: 'v1',
        kind: 'PersistentVolumeClaim',
        metadata: { name: 'dv', annotations: { 'cdi.kubevirt.io/storage.populatedFor': 'dv' } },
        spec: {
          accessModes: ['ReadWriteOnce'],
          storageClassName: 'csi-immediate',
          resources: { requests: { storage: '80Mi' } },
        },
      })
      await scene.read('dv', 'echo precious > /volume/mark')
      await scene.apply(cloneBy('copy', scene))
      const dv = await scene.succeeds('dv')
      assert.equal(dv.status?.progress, 'N/A')
      await scene.until('the note on the DataVolume', () => {
        return scene.dataVolume('dv')?.metadata.annotations?.['cdi.kubevirt.io/storage.prePopulated'] === 'dv'
      })
      assert.equal((await scene.read('dv', 'cat /volume/mark > /dev/termination-log')).trim(), 'precious')
      assert.deepEqual(sourcePods(scene), [])
      assert.deepEqual(scene.seen.pvcs.names().toSorted(), ['dv', `prime-${scene.pvc('src')?.metadata.uid}`, 'src'])
    },
  )
})
