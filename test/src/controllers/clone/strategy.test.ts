import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import type { CloneStrategy } from '../../../../src/api/names.ts'
import {
  claimRules,
  decideClaimClone,
  decideSnapshotClone,
  snapshotRules,
  wantedStrategy,
} from '../../../../src/controllers/clone/strategy.ts'
import type { ClaimCloneFacts, Decision, SnapshotCloneFacts } from '../../../../src/controllers/clone/strategy.ts'

const fitting: ClaimCloneFacts = {
  sourceDriver: 'csi.example',
  targetDriver: 'csi.example',
  snapshotClass: 'snapclass',
  sourceMode: 'Filesystem',
  targetMode: 'Filesystem',
  sourceCapacityBytes: 100,
  targetBytes: 100,
  allowsExpansion: false,
}

const fittingSnapshot: SnapshotCloneFacts = {
  contentDriver: 'csi.example',
  targetProvisioner: 'csi.example',
  sourceMode: 'Block',
  targetMode: 'Block',
  restoreBytes: 100,
  targetBytes: 100,
  allowsExpansion: false,
}

const taken = (decision: Decision): string =>
  decision.kind === 'chosen' ? [decision.strategy, decision.fallback ?? []].flat().join(' ') : decision.kind

describe('a clone of a claim', () => {
  const cases: [string, CloneStrategy, Partial<ClaimCloneFacts>, string][] = [
    ['is made by a snapshot if everything fits', 'snapshot', {}, 'snapshot'],
    ['is made by the storage if everything fits', 'csi-clone', {}, 'csi-clone'],
    ['needs no snapshot class if the storage makes it', 'csi-clone', { snapshotClass: undefined }, 'csi-clone'],
    ['is copied if a copy is wanted', 'copy', {}, 'copy'],
    [
      'is copied if wanted so, whatever is known',
      'copy',
      { sourceCapacityBytes: undefined, sourceDriver: 'x' },
      'copy',
    ],
    ['has no class for its snapshot', 'snapshot', { snapshotClass: undefined }, 'copy NoVolumeSnapshotClass'],
    ['has no driver for its snapshot in common', 'snapshot', { sourceDriver: 'other' }, 'copy NoVolumeSnapshotClass'],
    ['is made between drivers', 'csi-clone', { sourceDriver: 'other' }, 'copy IncompatibleProvisioners'],
    ['has a source that no driver keeps', 'csi-clone', { sourceDriver: undefined }, 'copy IncompatibleProvisioners'],
    ['changes its mode (snapshot)', 'snapshot', { sourceMode: 'Block' }, 'copy IncompatibleVolumeModes'],
    ['changes its mode (csi-clone)', 'csi-clone', { targetMode: 'Block' }, 'copy IncompatibleVolumeModes'],
    ['cannot grow (snapshot)', 'snapshot', { targetBytes: 101 }, 'copy NoVolumeExpansion'],
    ['cannot grow (csi-clone)', 'csi-clone', { targetBytes: 101 }, 'copy NoVolumeExpansion'],
    ['may grow', 'snapshot', { targetBytes: 101, allowsExpansion: true }, 'snapshot'],
    ['need not grow', 'csi-clone', { targetBytes: 99 }, 'csi-clone'],
    ['is of a source that is not bound yet', 'snapshot', { sourceCapacityBytes: undefined }, 'sizesMissing'],
    ['is of a size that nobody said', 'csi-clone', { targetBytes: undefined }, 'sizesMissing'],
    [
      'tells drivers before modes',
      'csi-clone',
      { sourceDriver: 'x', sourceMode: 'Block' },
      'copy IncompatibleProvisioners',
    ],
    ['tells modes before sizes', 'snapshot', { sourceMode: 'Block', targetBytes: 101 }, 'copy IncompatibleVolumeModes'],
  ]
  for (const [name, wanted, facts, outcome] of cases) {
    it(`that ${name} becomes: ${outcome}`, () => {
      assert.equal(taken(decideClaimClone(wanted, { ...fitting, ...facts })), outcome)
    })
  }
})

describe('a clone of a snapshot', () => {
  const cases: [string, Partial<SnapshotCloneFacts>, string][] = [
    ['fits', {}, 'snapshot'],
    ['is of another driver', { contentDriver: 'other' }, 'copy NoProvisionerMatch'],
    ['cannot grow', { targetBytes: 101 }, 'copy NoVolumeExpansion'],
    ['may grow', { targetBytes: 101, allowsExpansion: true }, 'snapshot'],
    ['changes its mode', { sourceMode: 'Filesystem' }, 'copy IncompatibleVolumeModes'],
    ['says no size', { restoreBytes: undefined }, 'sizesMissing'],
    ['tells sizes before modes', { sourceMode: 'Filesystem', targetBytes: 101 }, 'copy NoVolumeExpansion'],
  ]
  for (const [name, facts, outcome] of cases) {
    it(`that ${name} becomes: ${outcome}`, () => {
      assert.equal(taken(decideSnapshotClone({ ...fittingSnapshot, ...facts })), outcome)
    })
  }
})

const driver = fc.constantFrom('x', 'y')
const mode = fc.constantFrom('Block', 'Filesystem')
const size = fc.option(fc.integer({ min: 0, max: 5 }), { nil: undefined })

describe('whatever the facts', () => {
  it('the storage clones a claim only where every condition holds, and else the first broken one is told', () => {
    const facts = fc.record({
      sourceDriver: fc.option(driver, { nil: undefined }),
      targetDriver: driver,
      snapshotClass: fc.option(fc.constant('c'), { nil: undefined }),
      sourceMode: mode,
      targetMode: mode,
      sourceCapacityBytes: size,
      targetBytes: size,
      allowsExpansion: fc.boolean(),
    })
    fc.assert(
      fc.property(fc.constantFrom('snapshot', 'csi-clone'), facts, (wanted, seen) => {
        const decision = decideClaimClone(wanted, seen)
        const { sourceDriver, targetDriver, sourceMode, targetMode, sourceCapacityBytes, targetBytes } = seen
        if (decision.kind === 'chosen' && decision.strategy !== 'copy') {
          assert.equal(sourceDriver, targetDriver)
          assert.equal(sourceMode, targetMode)
          assert.ok(seen.allowsExpansion || (sourceCapacityBytes ?? 0) >= (targetBytes ?? 9))
          if (wanted === 'snapshot') assert.equal(seen.snapshotClass, 'c')
        }
        const mine = claimRules.filter(({ of }) => of.includes(wanted))
        const broken = mine.find(({ holds }) => holds(seen) !== true)
        const expected = !broken
          ? wanted
          : broken.holds(seen) === undefined
            ? 'sizesMissing'
            : `copy ${broken.fallback}`
        assert.equal(taken(decision), expected)
      }),
    )
  })

  it('the same is true of snapshots', () => {
    const facts = fc.record({
      contentDriver: driver,
      targetProvisioner: driver,
      sourceMode: mode,
      targetMode: mode,
      restoreBytes: size,
      targetBytes: size,
      allowsExpansion: fc.boolean(),
    })
    fc.assert(
      fc.property(facts, (seen) => {
        const broken = snapshotRules.find(({ holds }) => holds(seen) !== true)
        const expected = !broken
          ? 'snapshot'
          : broken.holds(seen) === undefined
            ? 'sizesMissing'
            : `copy ${broken.fallback}`
        assert.equal(taken(decideSnapshotClone(seen)), expected)
      }),
    )
  })
})

describe('the wanted strategy', () => {
  it('is the first that names one; without one, snapshots are tried', () => {
    assert.equal(wantedStrategy('copy', 'csi-clone'), 'copy')
    assert.equal(wantedStrategy(undefined, 'csi-clone'), 'csi-clone')
    assert.equal(wantedStrategy(undefined, ''), 'snapshot')
    assert.equal(wantedStrategy(undefined, undefined), 'snapshot')
    assert.equal(wantedStrategy(undefined, 'by magic'), 'snapshot')
  })
})
