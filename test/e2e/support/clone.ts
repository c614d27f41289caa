/** The parts of clones, as scenes need them: sources, targets, snapshots, classes with a strategy of their own. */
import { randomBytes } from 'node:crypto'
import { kinds } from '../../../src/api/kinds.ts'
import type { PersistentVolumeClaim, Pod, VolumeSnapshot } from '../../../src/api/kinds.ts'
import { dataVolume } from '../../fixtures/data-volume.ts'
import type { DataVolumeBuilder } from '../../fixtures/data-volume.ts'
import { waitFor } from '../../cluster/wait-for.ts'
import { classes } from './cluster.ts'
import type { TestCluster } from './cluster.ts'
import { imageFiles } from './images.ts'
import type { Scene } from './scene.ts'
import type { Sighting } from './recording.ts'
import type { Stage } from './stage.ts'

export const strategies = ['copy', 'snapshot', 'csi-clone'] as const
export type Strategy = (typeof strategies)[number]

export const modes = ['Filesystem', 'Block'] as const
export type VolumeMode = (typeof modes)[number]

export const cloneType = 'cdi.kubevirt.io/cloneType'

/** The usual source: the disk of the stage in 64 MiB of the immediate class. */
export function sourceDisk({ web }: Pick<Stage, 'web'>, mode: VolumeMode = 'Filesystem'): DataVolumeBuilder {
  const image = dataVolume('src').http(web.url(imageFiles.qcow2))
  return image.storage('64Mi').on(classes.immediate).mode(mode).access('ReadWriteOnce')
}

/** Imports a source and waits for it; it is called `src` unless the builder says otherwise. */
export async function givenSource(scene: Scene, builder: DataVolumeBuilder): Promise<PersistentVolumeClaim> {
  await scene.apply(builder)
  await scene.succeeds(builder.name)
  // Whoever filled it is done with it; what is in use cannot be cloned.
  await scene.until('the importer to be gone', () =>
    scene.seen.pods.cache.list().every(({ metadata }) => metadata.labels?.['cdi.kubevirt.io'] !== 'importer'),
  )
  return scene.until('the source', () => scene.pvc(builder.name))
}

/** The usual target `dv`: as large as the source, in a file of the immediate class. */
export function cloneOf(source: Pick<Scene, 'namespace'>, name = 'dv'): DataVolumeBuilder {
  const clone = dataVolume(name).clonePvc(source.namespace)
  return clone.storage('64Mi').on(classes.immediate).mode('Filesystem').access('ReadWriteOnce')
}

/** The same made in one way and no other. */
export function cloneBy(strategy: Strategy, source: Pick<Scene, 'namespace'>, name = 'dv'): DataVolumeBuilder {
  return cloneOf(source, name).annotate(cloneType, strategy)
}

/** Names of what is made for a clone into a claim of the scene; they come from its UID. */
export async function temporariesOf(scene: Scene, name = 'dv') {
  const uid = await scene.until(`claim ${name}`, () => scene.pvc(name)?.metadata.uid)
  return {
    uid,
    claim: `tmp-pvc-${uid}`,
    snapshot: `tmp-snapshot-${uid}`,
    sourceClaim: `tmp-source-pvc-${uid}`,
    uploadPod: `cdi-upload-tmp-pvc-${uid}`,
  } as const
}

/** The pods that read sources in the scene's namespace, in the order of their appearance. */
export function sourcePods({ seen }: Scene): Sighting<Pod>[] {
  return [...seen.pods.sightings.values()].filter(
    ({ last }) => last.metadata.labels?.['cdi.kubevirt.io'] === 'cdi-clone-source',
  )
}

/** The pods that find out how large a disk is. */
export function detectionPods({ seen }: Scene): Sighting<Pod>[] {
  return [...seen.pods.sightings.values()].filter(({ last }) => last.metadata.name.startsWith('size-detection-'))
}

/** Bytes of the disk in a claim's file system; file systems take more of small volumes than what is reckoned with. */
export async function diskBytes(scene: Scene, pvcName = 'src'): Promise<number> {
  return Number(await scene.read(pvcName, 'stat -c %s /volume/disk.img > /dev/termination-log'))
}

/** Takes a snapshot of a claim and waits until it can be used. */
export async function takeSnapshot(scene: Scene, name = 'snap', pvcName = 'src'): Promise<VolumeSnapshot> {
  await scene.create(kinds.volumeSnapshot, {
    apiVersion: 'snapshot.storage.k8s.io/v1',
    kind: 'VolumeSnapshot',
    metadata: { name },
    spec: { source: { persistentVolumeClaimName: pvcName } },
  })
  return scene.until(`snapshot ${name} to be ready`, () => {
    const found = scene.seen.snapshots.cache.get({ namespace: scene.namespace, name })
    return found?.status?.readyToUse === true ? found : undefined
  })
}

export interface HandMadeClone {
  readonly name: string
  /** Of the VolumeCloneSource. */
  readonly source?: string
  readonly annotations?: Readonly<Record<string, string>>
  readonly storageClass?: string
  readonly size?: string
}

/** A claim that names a VolumeCloneSource, as people make it without a DataVolume. */
export function handMadeClone(scene: Scene, clone: HandMadeClone): Promise<PersistentVolumeClaim> {
  const { name, source = 'golden', annotations = {}, storageClass = classes.immediate, size = '80Mi' } = clone
  return scene.create(kinds.pvc, {
    apiVersion: 'v1',
    kind: 'PersistentVolumeClaim',
    metadata: { name, annotations },
    spec: {
      accessModes: ['ReadWriteOnce'],
      storageClassName: storageClass,
      resources: { requests: { storage: size } },
      dataSourceRef: { apiGroup: 'cdi.kubevirt.io', kind: 'VolumeCloneSource', name: source },
    },
  })
}

/** The VolumeCloneSource of {@link handMadeClone}: the claim `src`. */
export async function cloneSource(scene: Scene, name = 'golden'): Promise<void> {
  await scene.create(kinds.volumeCloneSource, {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeCloneSource',
    metadata: { name },
    spec: { source: { kind: 'PersistentVolumeClaim', name: 'src' } },
  })
}

export interface OwnClass {
  /** One of its own unless told. */
  readonly name?: string
  /** In the StorageProfile. */
  readonly cloneStrategy?: Strategy
  readonly allowVolumeExpansion?: boolean
}

/** A StorageClass like the immediate one; it goes when it is disposed of. */
export async function ownClass(
  { kube }: Pick<TestCluster, 'kube'>,
  { name = `e2e-${randomBytes(5).toString('hex')}`, cloneStrategy, allowVolumeExpansion = true }: OwnClass = {},
): Promise<AsyncDisposable & { readonly name: string }> {
  const model = await kube.get(kinds.storageClass, { name: classes.immediate })
  if (!model) throw new Error(`there is no StorageClass ${classes.immediate}`)
  const { apiVersion, kind, provisioner, parameters, volumeBindingMode } = model
  await kube.create(kinds.storageClass, {
    apiVersion,
    kind,
    metadata: { name },
    provisioner,
    parameters,
    volumeBindingMode,
    allowVolumeExpansion,
  })
  const profile = () => kube.get(kinds.storageProfile, { name })
  // The controller makes it, which other tests kill meanwhile.
  const timeoutMs = 180_000
  await waitFor({ what: `StorageProfile ${name}`, timeoutMs }, async () => {
    return (await profile())?.status?.cloneStrategy !== undefined
  })
  if (cloneStrategy !== undefined) {
    await kube.patch(kinds.storageProfile, { name }, { spec: { cloneStrategy } }, { type: 'merge' })
    await waitFor({ what: `StorageProfile ${name} to say ${cloneStrategy}`, timeoutMs }, async () => {
      return (await profile())?.status?.cloneStrategy === cloneStrategy
    })
  }
  return { name, [Symbol.asyncDispose]: async () => void (await kube.delete(kinds.storageClass, { name })) }
}
