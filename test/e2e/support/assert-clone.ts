/** What every clone has to leave: the disk, what everybody is told of it, and nothing of its making. */
import assert from 'node:assert/strict'
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { kinds } from '../../../src/api/kinds.ts'
import { parseQuantity } from '../../../src/quantity.ts'
import { stateDir } from '../../cluster/layout.ts'
import { assertDisk } from './assert-disk.ts'
import { cloneType } from './clone.ts'
import type { Strategy } from './clone.ts'
import type { DiskImages } from './images.ts'
import type { Scene } from './scene.ts'

const mebibyte = 1024 * 1024

/** What file systems take for themselves, and where a copy rounds to whole blocks. */
const smallBytes = mebibyte

export interface Cloned {
  readonly from: Scene
  readonly strategy: Strategy
  /** Of the DataVolume. */
  readonly name?: string
  readonly sourceKind?: 'pvc' | 'snapshot'
  readonly sourceName?: string
}

interface Step {
  readonly phase: string
  readonly message: string
}

/** The phases that say how a clone is made, with the messages of their events. */
function stepsOf({ from, sourceKind = 'pvc', sourceName = 'src' }: Cloned, target: string) {
  const source = `${from.namespace}/${sourceName}`
  return {
    snapshot: {
      phase: 'SnapshotForSmartCloneInProgress',
      message: `Creating snapshot for smart-clone is in progress (for pvc ${source})`,
    },
    restore: {
      phase: 'CloneFromSnapshotSourceInProgress',
      message: `Creating PVC from snapshot source is in progress (for ${sourceKind} ${source})`,
    },
    csiClone: { phase: 'CSICloneInProgress', message: `CSI Volume clone in progress (for pvc ${source})` },
    copy: { phase: 'CloneInProgress', message: `Cloning from ${source} into ${target} in progress` },
  } satisfies Record<string, Step>
}

/** Those that a clone has to show. All others of them must not appear. */
function shownBy(cloned: Cloned, target: string): Step[] {
  const { snapshot, restore, csiClone, copy } = stepsOf(cloned, target)
  const isOfSnapshot = cloned.sourceKind === 'snapshot'
  const steps = {
    copy: isOfSnapshot ? [restore, copy] : [copy],
    snapshot: isOfSnapshot ? [restore] : [snapshot, restore],
    'csi-clone': [csiClone],
  } satisfies Record<Strategy, Step[]>
  return steps[cloned.strategy]
}

/** Phases that any clone may go through; the short ones are often skipped. */
const commonPhases = ['', 'Pending', 'PendingPopulation', 'CloneScheduled', 'PrepClaimInProgress', 'RebindInProgress']

/** Waits for the end; then phases, events, marks and conditions are what clients know, and nothing else is left. */
export async function assertCloned(scene: Scene, cloned: Cloned): Promise<void> {
  const { from, strategy, name = 'dv', sourceName = 'src' } = cloned
  const target = `${scene.namespace}/${name}`
  await scene.succeeds(name)
  await scene.until('the condition of the end', () =>
    scene.seen.course(name).at(-1)?.conditions.includes('Running=False Completed: Clone Complete'),
  )
  const steps = shownBy(cloned, target)
  for (const { phase, message } of steps) await scene.tells(`DataVolume/${name}`, `Normal ${phase}: ${message}`)
  await scene.tells(`DataVolume/${name}`, `Normal Bound: PVC ${name} Bound`)
  const success = `Successfully cloned from ${from.namespace}/${sourceName} into ${target}`
  await scene.tells(`DataVolume/${name}`, `Normal CloneSucceeded: ${success}`)
  const mayShow = [...commonPhases, ...steps.map(({ phase }) => phase), 'Succeeded']
  const phases = scene.seen.phases(name)
  assert.deepEqual(
    phases.filter((phase) => !mayShow.includes(phase)),
    [],
    `a clone by ${strategy} went through ${phases.join(' ')}`,
  )
  assert.equal(phases.at(-1), 'Succeeded')
  const events = scene.seen.eventsOf('DataVolume', name)
  for (const { phase } of Object.values(stepsOf(cloned, target))) {
    if (mayShow.includes(phase)) continue
    assert.ok(!events.some((event) => event.startsWith(`Normal ${phase}: `)), `${phase} was told of a ${strategy}`)
  }

  const dv = scene.dataVolume(name)
  assert.equal(dv?.metadata.annotations?.[cloneType], strategy)
  assert.equal(dv.status?.progress, '100.0%')
  assert.equal(dv.status.claimName, name)
  assert.deepEqual(scene.seen.course(name).at(-1)?.conditions, [
    `Bound=True Bound: PVC ${name} Bound`,
    'Ready=True : ',
    'Running=False Completed: Clone Complete',
  ])
  await assertFinished(scene, { name, strategy })
}

/** What a clone's claim shows in the end, whoever made it, and that nothing else is left. */
export async function assertFinished(
  scene: Scene,
  { name = 'dv', strategy }: { name?: string; strategy: Strategy },
): Promise<void> {
  const claim = await scene.until(`${name} to be marked as cloned`, () => {
    const found = scene.pvc(name)
    const isMarked = found?.metadata.annotations?.['cdi.kubevirt.io/clonePhase'] === 'Succeeded'
    return isMarked && found.status?.phase === 'Bound' ? found : undefined
  })
  const { annotations = {} } = claim.metadata
  assert.equal(annotations[cloneType], strategy)
  assert.equal(annotations['cdi.kubevirt.io/storage.populator.progress'], '100.0%')
  assert.equal(annotations['cdi.kubevirt.io/cloneError'], undefined)
  await assertNothingLeft(scene)
}

/** Of the making of clones nothing stays: no temporary object, no pod, no finalizer, no source that was made for it. */
export async function assertNothingLeft(scene: Scene): Promise<void> {
  for (const each of scene.all) {
    await each
      .until(`nothing to be left in ${each.namespace}`, () => leftIn(each).length === 0)
      .catch((cause: unknown) => {
        throw new Error(`left in ${each.namespace}: ${leftIn(each).join(', ')}`, { cause })
      })
  }
}

const workers = ['cdi-clone-source', 'cdi-upload-server', 'cdi-populator-prep']

function leftIn({ seen }: Scene): string[] {
  const left: string[] = []
  const note = (kind: string, name: string, isLeft: boolean | undefined): void => {
    if (isLeft === true) left.push(`${kind}/${name}`)
  }
  for (const { cache } of [seen.pvcs, seen.pods, seen.snapshots]) {
    for (const { kind, metadata } of cache.list()) {
      const { name, labels = {} } = metadata
      const isWorker = workers.includes(labels['cdi.kubevirt.io'] ?? '') || name.startsWith('size-detection-')
      note(kind, name, labels['cdi.kubevirt.io/OwnedByUID'] !== undefined || isWorker)
    }
  }
  for (const { kind, metadata } of seen.services.cache.list()) note(kind, metadata.name, true)
  for (const { kind, metadata } of seen.cloneSources.cache.list()) {
    note(kind, metadata.name, metadata.name.startsWith('volume-clone-source-'))
  }
  for (const { cache } of [seen.pvcs, seen.dataVolumes]) {
    for (const { kind, metadata } of cache.list()) {
      note(
        `finalizer of ${kind}`,
        metadata.name,
        metadata.finalizers?.some((name) => name.startsWith('cdi.kubevirt.io/')),
      )
    }
  }
  return left
}

/** The disk is the source's; of a copy it takes no more room than there. */
export async function assertSameDisk(
  scene: Scene,
  images: Pick<DiskImages, 'bytes' | 'sha256'>,
  { from, strategy, name = 'dv', sourceName = 'src' }: Cloned,
): Promise<void> {
  await assertDisk(scene, images, name)
  if (strategy !== 'copy') return
  const [target, source] = await Promise.all([allocatedBytes(scene, name), allocatedBytes(from, sourceName)])
  if (target === undefined || source === undefined) return
  assert.ok(target <= source + smallBytes, `the copy takes ${target} bytes, its source ${source}`)
}

/** Bytes that the disk in a claim takes from the storage; undefined for a device elsewhere than in the embedded cluster. */
async function allocatedBytes(scene: Scene, pvcName: string): Promise<number | undefined> {
  const claim = scene.pvc(pvcName)
  if (claim?.spec?.volumeMode !== 'Block') {
    return Number(await scene.read(pvcName, "echo $(( $(stat -c '%b * %B' /volume/disk.img) )) > /dev/termination-log"))
  }
  const volume = await scene.cluster.kube.get(kinds.pv, { name: claim.spec.volumeName ?? '' })
  const file = join(stateDir(), 'volumes', 'volumes', volume?.spec?.csi?.volumeHandle ?? '', 'disk')
  return stat(file).then(
    ({ blocks }) => blocks * 512,
    () => undefined,
  )
}

/** What a claim has and holds is at least so much: its capacity, and the file system or device itself. */
export async function assertSize(scene: Scene, quantity: string, name = 'dv'): Promise<void> {
  const wanted = parseQuantity(quantity)
  const capacity = scene.pvc(name)?.status?.capacity?.['storage'] ?? '0'
  assert.ok(parseQuantity(capacity) >= wanted, `${capacity} instead of ${quantity}`)
  const isBlock = scene.pvc(name)?.spec?.volumeMode === 'Block'
  const measure = isBlock ? 'blockdev --getsize64 /dev/volume' : 'df -B1 --output=size /volume | tail -n1'
  const found = Number(await scene.read(name, `${measure} > /dev/termination-log`))
  // The file system keeps a part of it for itself.
  assert.ok(found >= (isBlock ? wanted : wanted * 0.9), `${found} bytes are there of ${quantity}`)
}
