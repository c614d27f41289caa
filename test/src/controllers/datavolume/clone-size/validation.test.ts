import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { annotations } from '../../../../../src/api/names.ts'
import type { VolumeSnapshot } from '../../../../../src/api/kinds.ts'
import { planCloneSize } from '../../../../../src/controllers/datavolume/clone-size/plan.ts'
import type { CloneOrigin } from '../../../../../src/controllers/datavolume/clone-size/plan.ts'
import { cloneProblemOf } from '../../../../../src/controllers/datavolume/clone-size/validation.ts'
import { cloneOf, contentOf, observation, renderedAs, snapshotOf, sourceClaim } from './seen.ts'
import type { Mode, SnapshotFacts, SourceFacts } from './seen.ts'

interface Case {
  source?: SourceFacts
  /** What the user asks for; T as rendered asks for `effective`, or the same. */
  size?: string
  effective?: string
  field?: 'storage' | 'pvc'
  contentType?: 'kubevirt' | 'archive'
  annotated?: Record<string, string>
  permissive?: boolean
}

function problem({ source, permissive = false, ...facts }: Case, origin?: CloneOrigin): string | undefined {
  const size = facts.effective ?? facts.size
  return cloneProblemOf({
    dataVolume: cloneOf(facts),
    source: origin ?? { claim: sourceClaim(source) },
    rendered: renderedAs({ size }),
    permissive,
  })
}

const tooSmall = (target: number, source: number): string =>
  `target resources requests storage size is smaller than the source ${target} < ${source}`

describe('a clone of a claim, before its target exists', () => {
  it('has the content type of its source, which is kubevirt if nobody says else', () => {
    const texts = (a: string, b: string): string =>
      `Source contentType (${a}) and target contentType (${b}) do not match`
    assert.equal(problem({ contentType: 'archive' }), texts('kubevirt', 'archive'))
    assert.equal(problem({ source: { contentType: 'archive' } }), texts('archive', 'kubevirt'))
    assert.equal(problem({ source: { contentType: null }, contentType: 'archive' }), texts('kubevirt', 'archive'))
    assert.equal(problem({ source: { contentType: null } }), undefined)
    assert.equal(problem({ source: { contentType: 'archive' }, contentType: 'archive' }), undefined)
  })

  const rows: { title: string; of: Case; outcome: string | undefined }[] = [
    { title: 'spec.pvc smaller', of: { field: 'pvc', size: '64Mi' }, outcome: tooSmall(67108864, 71135396) },
    { title: 'spec.pvc as large', of: { field: 'pvc', size: '71135396' }, outcome: undefined },
    {
      title: 'spec.pvc smaller than a device',
      of: { field: 'pvc', size: '63Mi', source: { mode: 'Block' } },
      outcome: tooSmall(66060288, 67108864),
    },
    {
      title: 'a size smaller than a device',
      of: { size: '16Mi', effective: '17783849', source: { mode: 'Block' } },
      outcome: tooSmall(17783849, 67108864),
    },
    { title: 'a size as large as a device', of: { size: '64Mi', source: { mode: 'Block' } }, outcome: undefined },
    {
      title: 'a size that is enough with the room for the file system',
      of: { size: '61Mi', effective: '67800924', source: { mode: 'Block' } },
      outcome: undefined,
    },
    { title: 'a size smaller than a file system (told on T later)', of: { size: '16Mi' }, outcome: undefined },
    { title: 'no size, of a device', of: { source: { mode: 'Block' } }, outcome: undefined },
    { title: 'no size, filled in since', of: { effective: '16Mi', source: { mode: 'Block' } }, outcome: undefined },
    {
      title: 'what the source asked for counts, not what it got',
      of: { size: '64Mi', source: { mode: 'Block', request: '64Mi', capacity: '1Gi' } },
      outcome: undefined,
    },
  ]
  for (const { title, of, outcome } of rows) {
    it(`${title}: ${outcome ?? 'no problem'}`, () => {
      assert.equal(problem(of), outcome)
    })
  }

  it('may be smaller when it is permissive, by whatever value, but not of another content type', () => {
    const small: Case = { field: 'pvc', size: '1Mi' }
    assert.equal(problem({ ...small, permissive: true }), undefined)
    assert.equal(problem({ ...small, annotated: { [annotations.permissiveClone]: 'false' } }), undefined)
    assert.match(problem({ ...small, permissive: true, contentType: 'archive' }) ?? '', /do not match/)
  })
})

describe('a clone of a snapshot, before its target exists', () => {
  function of(snapshot: SnapshotFacts, facts: Case = {}): string | undefined {
    return problem(facts, { snapshot: snapshotOf(snapshot), content: contentOf() })
  }

  const rows: { title: string; snapshot: SnapshotFacts; facts?: Case; outcome: string | undefined }[] = [
    { title: 'without a status', snapshot: { status: null }, outcome: 'no status on source snapshot yet' },
    {
      title: 'in error',
      snapshot: { status: { error: { message: 'no room' } } },
      outcome: 'snapshot in error state with msg: no room',
    },
    {
      title: 'in error without words',
      snapshot: { status: { error: {} } },
      outcome: 'snapshot in error state with msg: no details',
    },
    {
      title: 'without a class',
      snapshot: { className: null },
      outcome: "snapshot snap/vms does not have volum snap class populated, can't clone",
    },
    {
      title: 'without a size',
      snapshot: { status: { restoreSize: undefined } },
      facts: { size: '1Gi' },
      outcome: 'snapshot has no restore size',
    },
    {
      title: 'of a negative size',
      snapshot: { status: { restoreSize: '-1' } },
      facts: { size: '1Gi' },
      outcome: 'snapshot has no restore size',
    },
    {
      title: 'of size zero, into nothing said',
      snapshot: { status: { restoreSize: '0' } },
      outcome: "size not specified by user/provisioner, can't tell how much needed for restore",
    },
    {
      title: 'of size zero, into a size',
      snapshot: { status: { restoreSize: '0' } },
      facts: { size: '1Gi' },
      outcome: undefined,
    },
    { title: 'not ready yet', snapshot: { status: { readyToUse: false } }, outcome: undefined },
    {
      title: 'larger than the target',
      snapshot: {},
      facts: { size: '16Mi', effective: '17783849' },
      outcome: tooSmall(17783849, 67108864),
    },
    {
      title: 'larger than the target, spec.pvc',
      snapshot: {},
      facts: { field: 'pvc', size: '16Mi' },
      outcome: tooSmall(16777216, 67108864),
    },
    {
      title: 'larger than a permissive target',
      snapshot: {},
      facts: { size: '16Mi', permissive: true },
      outcome: undefined,
    },
    {
      title: 'larger than the target by what storage adds to make whole MiB',
      snapshot: { status: { restoreSize: '71303168' } },
      facts: { size: '64Mi', effective: '71135396' },
      outcome: undefined,
    },
    { title: 'as large as the target', snapshot: {}, facts: { size: '64Mi' }, outcome: undefined },
    {
      title: 'of other content than the target, which a snapshot does not tell',
      snapshot: {},
      facts: { contentType: 'archive' },
      outcome: undefined,
    },
  ]
  for (const { title, snapshot, facts, outcome } of rows) {
    it(`${title}: ${outcome ?? 'no problem'}`, () => {
      assert.equal(of(snapshot, facts), outcome)
    })
  }

  it('has no problem of which the size would not be known', () => {
    const status = fc.option(
      fc.record({
        restoreSize: fc.constantFrom(undefined, '0', '1', '1Gi', '-1', 'x'),
        readyToUse: fc.boolean(),
      }),
    )
    const mode = fc.constantFrom<Mode>('Filesystem', 'Block')
    fc.assert(
      fc.property(status, mode, (told, to) => {
        const snapshot: VolumeSnapshot = snapshotOf({ status: told })
        const source = { snapshot, content: undefined }
        const act = planCloneSize(observation({ source, target: { mode: to } })).act
        assert.equal(problem({}, source) === undefined, act === 'use')
      }),
    )
  })
})
