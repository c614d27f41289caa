import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { chooseSnapshotClass } from '../../../../src/controllers/clone/snapshot-class.ts'
import type { SnapshotClassInput } from '../../../../src/controllers/clone/snapshot-class.ts'
import { snapshotClass } from './clone-fixtures.ts'

const choose = (facts: Partial<SnapshotClassInput>): { name?: string | undefined; text?: string | undefined } => {
  const choice = chooseSnapshotClass({
    driver: 'csi.example',
    classes: [snapshotClass('b'), snapshotClass('a'), snapshotClass('z', { driver: 'other' })],
    sourceProfileClass: undefined,
    targetProfileClass: undefined,
    ...facts,
  })
  assert.ok(!choice || (choice.event.type === 'Normal' && choice.event.reason === 'VolumeSnapshotClassSelected'))
  return { name: choice?.name, text: choice?.event.message }
}

const fromProfile = (name: string): object => ({
  name,
  text: `VolumeSnapshotClass selected according to StorageProfile ${name}`,
})
const byDefault = (name: string): object => ({ name, text: `Default VolumeSnapshotClass selected ${name}` })
const first = (name: string): object => ({ name, text: `First VolumeSnapshotClass selected ${name}` })

describe('the VolumeSnapshotClass of a clone', () => {
  const both = (name: string): Partial<SnapshotClassInput> => ({ sourceProfileClass: name, targetProfileClass: name })
  const withDefault = [snapshotClass('a'), snapshotClass('c', { isDefault: true }), snapshotClass('b')]

  const cases: [string, Partial<SnapshotClassInput>, object][] = [
    ['the one that both StorageProfiles name', both('b'), fromProfile('b')],
    ['that one even if another is the default', { ...both('b'), classes: withDefault }, fromProfile('b')],
    [
      'the default one if the profiles name different ones',
      { sourceProfileClass: 'a', targetProfileClass: 'b', classes: withDefault },
      byDefault('c'),
    ],
    [
      'the default one if only the source has a profile',
      { sourceProfileClass: 'a', classes: withDefault },
      byDefault('c'),
    ],
    ['the first by name if none is the default', {}, first('a')],
    ['another one of the driver if the common one is that of another driver', both('z'), first('a')],
    ['another one of the driver if the common one is gone', both('gone'), first('a')],
    ['none if the driver has none', { driver: 'third' }, { name: undefined, text: undefined }],
    ['none where snapshots are not installed', { classes: [], ...both('a') }, { name: undefined, text: undefined }],
  ]
  for (const [name, facts, wanted] of cases) it(`is ${name}`, () => assert.deepEqual(choose(facts), wanted))

  it('is always one of the driver, there is one whenever the driver has one, and their order does not matter', () => {
    const anyClass = fc
      .record({ name: fc.constantFrom('a', 'b', 'c', 'd'), driver: fc.constantFrom('x', 'y'), isDefault: fc.boolean() })
      .map(({ name, ...facts }) => snapshotClass(name, facts))
    const anyName = fc.option(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { nil: undefined })
    fc.assert(
      fc.property(
        fc.uniqueArray(anyClass, { selector: ({ metadata }) => metadata.name }),
        anyName,
        anyName,
        (classes, sourceProfileClass, targetProfileClass) => {
          const input = { driver: 'x', classes, sourceProfileClass, targetProfileClass }
          const choice = chooseSnapshotClass(input)
          const fitting = classes.filter(({ driver }) => driver === 'x').map(({ metadata }) => metadata.name)
          assert.equal(choice === undefined, fitting.length === 0)
          assert.ok(!choice || fitting.includes(choice.name))
          assert.deepEqual(chooseSnapshotClass({ ...input, classes: classes.toReversed() }), choice)
        },
      ),
    )
  })
})
