/** Every way to clone, chosen by the DataVolume or by the storage: between modes alike, near and far, of any size. */
import assert from 'node:assert/strict'
import { describe } from 'node:test'
import { parseQuantity } from '../../src/quantity.ts'
import { assertCloned, assertSameDisk, assertSize } from './support/assert-clone.ts'
import { cloneOf, cloneType, diskBytes, givenSource, modes, ownClass, sourceDisk } from './support/clone.ts'
import { strategies } from './support/clone.ts'
import type { Strategy } from './support/clone.ts'
import { classes } from './support/cluster.ts'
import { scenario } from './support/scene.ts'
import { useStage } from './support/stage.ts'

const stage = useStage(async ({ cluster, keep }) => {
  const made = await Promise.all(
    strategies.map(async (cloneStrategy) => [cloneStrategy, keep(await ownClass(cluster, { cloneStrategy })).name]),
  )
  return { classOf: Object.fromEntries(made) as Record<Strategy, string> }
})

const mebibyte = 1024 * 1024

/** `undefined` lets the service find out. */
const sizes = [
  ['as large as its source', '64Mi'],
  ['larger than its source', '96Mi'],
  ['that names no size', undefined],
] as const

interface Case {
  readonly strategy: Strategy
  readonly mode: (typeof modes)[number]
  readonly size: (typeof sizes)[number]
  readonly isFar: boolean
  /** The StorageProfile says it, not the DataVolume. */
  readonly byProfile: boolean
}

/** All strategies with all modes and sizes; the other two vary so that each of their pairs with anything else is there. */
const cases: readonly Case[] = strategies.flatMap((strategy, one) =>
  modes.flatMap((mode, two) =>
    sizes.map((size, three) => ({
      strategy,
      mode,
      size,
      isFar: (one + two + three) % 2 === 1,
      byProfile: (one + three) % 2 === 1,
    })),
  ),
)

describe('a clone', { concurrency: 4 }, () => {
  for (const { strategy, mode, size, isFar, byProfile } of cases) {
    const [which, quantity] = size
    scenario(
      `by ${strategy}, which the ${byProfile ? 'StorageProfile' : 'DataVolume'} says, from ${mode} to ${mode} in ${isFar ? 'another' : 'the same'} namespace, ${which}`,
      () => stage().cluster,
      async (scene) => {
        const from = isFar ? await scene.another() : scene
        await givenSource(from, sourceDisk(stage(), mode))
        const wanted = cloneOf(from)
          .mode(mode)
          .on(byProfile ? stage().classOf[strategy] : classes.immediate)
        const sized = quantity === undefined ? wanted.sizeless() : wanted.storage(quantity)
        await scene.apply(byProfile ? sized : sized.annotate(cloneType, strategy))
        const cloned = { from, strategy }
        await assertCloned(scene, cloned)
        await assertSameDisk(scene, stage().images, cloned)
        // Without a size there is room for the same disk, and no more than that needs.
        const detected = mode === 'Block' ? 64 * mebibyte : await diskBytes(from)
        await assertSize(scene, quantity ?? String(detected))
        assert.equal(scene.dataVolume('dv')?.status?.restartCount ?? 0, 0)
        const request = scene.pvc('dv')?.spec?.resources?.requests?.['storage'] ?? '0'
        if (quantity === undefined) assert.ok(parseQuantity(request) <= 1.07 * detected, request)
      },
    )
  }
})
