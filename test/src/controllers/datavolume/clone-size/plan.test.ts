import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { annotations } from '../../../../../src/api/names.ts'
import type { Pod } from '../../../../../src/api/kinds.ts'
import { planCloneSize } from '../../../../../src/controllers/datavolume/clone-size/plan.ts'
import type {
  CloneOrigin,
  CloneSizeObservation,
  CloneSizePlan,
} from '../../../../../src/controllers/datavolume/clone-size/plan.ts'
import { mebibyte, requiredBytes, usableBytes } from '../../../../../src/quantity.ts'
import { exited } from '../../fixtures.ts'
import {
  cloneOf,
  contentOf,
  detectionPod,
  diskBytes,
  observation,
  snapshotOf,
  sourceClaim,
  userOf,
  volumeBytes,
} from './seen.ts'
import type { DetectionPodFacts, Mode, SnapshotFacts, SourceFacts } from './seen.ts'

type Facts = Parameters<typeof observation>[0]

function plan(facts: Facts): CloneSizePlan {
  return planCloneSize(observation(facts))
}

function as<Act extends CloneSizePlan['act']>(act: Act, found: CloneSizePlan): Extract<CloneSizePlan, { act: Act }> {
  assert.equal(found.act, act, JSON.stringify(found))
  return found as Extract<CloneSizePlan, { act: Act }>
}

/** What the source remembers: a disk of so many bytes, found at a capacity. */
function remembers(bytes: number | string, capacity: number | string = volumeBytes): Record<string, string> {
  return { [annotations.virtualSize]: String(bytes), [annotations.sourceCapacity]: String(capacity) }
}

function withPod(pod: DetectionPodFacts, source: SourceFacts = {}, facts: Facts = {}): CloneSizePlan {
  const claim = sourceClaim(source)
  return plan({ source: { claim }, pod: detectionPod(claim, pod), ...facts })
}

const done = { phase: 'Succeeded', state: exited(0, String(diskBytes)) }

describe('a clone of a claim without a size', () => {
  const rows: { from: string; source: SourceFacts; to: Mode; storage: number; permissive: boolean }[] = [
    {
      from: 'a disk in a file system',
      source: { annotated: remembers(diskBytes) },
      to: 'Filesystem',
      storage: volumeBytes,
      permissive: true,
    },
    {
      from: 'a disk in a file system',
      source: { annotated: remembers(diskBytes) },
      to: 'Block',
      storage: diskBytes,
      permissive: true,
    },
    {
      from: 'a disk that fills its file system to the last byte',
      source: { annotated: remembers(diskBytes, diskBytes), capacity: String(diskBytes) },
      to: 'Filesystem',
      storage: volumeBytes,
      permissive: false,
    },
    {
      from: 'a sparse disk that is larger than its file system',
      source: { annotated: remembers(2 * diskBytes) },
      to: 'Block',
      storage: 2 * diskBytes,
      permissive: false,
    },
    { from: 'a device', source: { mode: 'Block' }, to: 'Filesystem', storage: volumeBytes, permissive: false },
    { from: 'a device', source: { mode: 'Block' }, to: 'Block', storage: diskBytes, permissive: false },
    {
      from: 'a device that is larger than was asked for',
      source: { mode: 'Block', request: '64Mi', capacity: '100Mi' },
      to: 'Block',
      storage: 100 * mebibyte,
      permissive: false,
    },
    {
      from: 'an archive',
      source: { contentType: 'archive', capacity: '64Mi' },
      to: 'Filesystem',
      storage: volumeBytes,
      permissive: false,
    },
    {
      from: 'a file system that does not say what it holds',
      source: { contentType: null, capacity: '64Mi', annotated: remembers(mebibyte, diskBytes) },
      to: 'Filesystem',
      storage: volumeBytes,
      permissive: false,
    },
  ]
  for (const { from, source, to, storage, permissive } of rows) {
    it(`of ${from} into a ${to} volume asks for ${storage} bytes${permissive ? ' and compares nothing' : ''}`, () => {
      assert.deepEqual(plan({ source: { claim: sourceClaim(source) }, target: { mode: to } }), {
        act: 'use',
        storage: String(storage),
        permissive,
      })
    })
  }

  it('needs room for the larger of two modes while the webhook is to choose one', () => {
    const source = { claim: sourceClaim({ mode: 'Block' }) }
    const { storage } = as('use', plan({ source, target: { mode: 'FromStorageProfile' } }))
    assert.equal(storage, String(volumeBytes))
  })

  it('asks for no less than the storage makes', () => {
    const source = { claim: sourceClaim({ mode: 'Block' }) }
    const { storage } = as('use', plan({ source, target: { mode: 'Block' }, minimumBytes: 1024 * mebibyte }))
    assert.equal(storage, String(1024 * mebibyte))
  })

  it('uses the overhead of its own class', () => {
    const source = { claim: sourceClaim({ annotated: remembers(100 * mebibyte) }) }
    assert.equal(as('use', plan({ source, overhead: '0.5' })).storage, String(150 * mebibyte))
  })

  it('takes a request of nothing for none', () => {
    assert.equal(
      as('use', plan({ source: { claim: sourceClaim({ mode: 'Block' }) }, target: { size: '0' } })).act,
      'use',
    )
  })

  it('stays permissive once the DataVolume is', () => {
    const dataVolume = cloneOf({ annotated: { [annotations.permissiveClone]: '' } })
    const source = { claim: sourceClaim({ mode: 'Block' }) }
    assert.equal(as('use', plan({ dataVolume, source })).permissive, true)
  })

  it('waits for a source that is not bound, whatever it holds', () => {
    for (const contentType of ['kubevirt', null] as const) {
      const found = as('wait', plan({ source: { claim: sourceClaim({ contentType, capacity: null }) } }))
      assert.deepEqual(found.events, [
        { type: 'Normal', reason: 'ImportPVCNotReady', message: 'The source PVC is not fully imported' },
      ])
      assert.ok(found.requeueAfterMs > 0)
    }
  })
})

describe('a clone of a claim with a size', () => {
  it('keeps it without a look, except from a disk in a file system into a device', () => {
    for (const mode of ['Filesystem', 'Block'] as const) {
      for (const contentType of ['kubevirt', 'archive', null] as const) {
        for (const to of ['Filesystem', 'Block'] as const) {
          const source = { claim: sourceClaim({ mode, contentType }) }
          const looks = mode === 'Filesystem' && contentType === 'kubevirt' && to === 'Block'
          const found = plan({ source, target: { mode: to, size: '64Mi' } })
          if (looks) as('makePod', found)
          else assert.deepEqual(found, { act: 'keep', permissive: false })
        }
      }
    }
  })

  const rows: { size: string; disk: number; request?: string; outcome: CloneSizePlan }[] = [
    { size: '64Mi', disk: diskBytes, outcome: { act: 'use', storage: '67108864', permissive: true } },
    { size: '1Gi', disk: diskBytes, outcome: { act: 'use', storage: '1073741824', permissive: true } },
    // The populator refuses it, on T, with both requests.
    { size: '63Mi', disk: diskBytes, outcome: { act: 'use', storage: '66060288', permissive: false } },
    // The populator would let it pass, and the copy would run out of room.
    {
      size: '64Mi',
      disk: 2 * diskBytes,
      request: '64Mi',
      outcome: {
        act: 'refuse',
        message: 'target resources requests storage size is smaller than the source 67108864 < 134217728',
      },
    },
  ]
  for (const { size, disk, request, outcome } of rows) {
    it(`of ${size} for a disk of ${disk} bytes in a claim of ${request ?? volumeBytes}: ${outcome.act}`, () => {
      const claim = sourceClaim({
        annotated: remembers(disk),
        capacity: String(volumeBytes),
        ...(request ? { request } : {}),
      })
      assert.deepEqual(plan({ source: { claim }, target: { mode: 'Block', size } }), outcome)
    })
  }

  it('is not looked into once sizes do not matter', () => {
    const dataVolume = cloneOf({ size: '1Mi', annotated: { [annotations.permissiveClone]: 'true' } })
    assert.deepEqual(plan({ dataVolume, target: { mode: 'Block', size: '1Mi' } }), { act: 'keep', permissive: true })
  })

  it('has the source remember what its pod found', () => {
    assert.deepEqual(withPod(done, {}, { target: { mode: 'Block', size: '64Mi' } }), {
      act: 'use',
      storage: '67108864',
      permissive: true,
      annotateSource: remembers(diskBytes),
    })
  })
})

describe('the detection of a size', () => {
  it('makes a pod, and tells of it', () => {
    const found = as('makePod', plan({}))
    assert.equal(found.pod.metadata.name, 'size-detection-uid-src')
    assert.deepEqual(found.events, [
      { type: 'Normal', reason: 'SizeDetectionPodCreated', message: 'Size-detection pod created' },
    ])
  })

  it('makes none before the source is filled, or when it goes away', () => {
    assert.equal(plan({ isSourcePopulated: false }).act, 'wait')
    assert.equal(plan({ source: { claim: sourceClaim({ terminating: true }) } }).act, 'wait')
  })

  it('makes none while the source remembers its size, and one when its capacity is another', () => {
    for (const capacity of [volumeBytes, `${volumeBytes}000m`]) {
      as('use', plan({ source: { claim: sourceClaim({ annotated: remembers(diskBytes, capacity) }) } }))
    }
    for (const stale of [
      remembers(diskBytes, 1),
      remembers(diskBytes, 'much'),
      remembers('', volumeBytes),
      remembers('64Mi'),
      remembers('-1'),
      remembers('0'),
      { [annotations.virtualSize]: String(diskBytes) },
      { [annotations.sourceCapacity]: String(volumeBytes) },
    ]) {
      as('makePod', plan({ source: { claim: sourceClaim({ annotated: stale }) } }))
    }
  })

  it('runs again when the memory of the source was spoilt after the pod looked', () => {
    const fresh = sourceClaim()
    const pod = detectionPod(fresh, done)
    const spoilt = sourceClaim({ annotated: remembers(diskBytes, 1) })
    const found = as('retry', plan({ source: { claim: spoilt }, pod }))
    assert.equal(found.deletePod, pod)
    assert.deepEqual(found.events, [])
    // The pod that follows has seen it so.
    const next = detectionPod(spoilt, done)
    assert.deepEqual(as('use', plan({ source: { claim: spoilt }, pod: next })).annotateSource, remembers(diskBytes))
  })

  it('uses what a pod of another DataVolume found', () => {
    const claim = sourceClaim()
    const pod = detectionPod(claim, done)
    pod.metadata.ownerReferences = []
    assert.equal(as('use', plan({ source: { claim }, pod })).storage, String(volumeBytes))
  })

  it('takes the size from the last words, in decimal bytes', () => {
    const found = withPod({ phase: 'Running', state: exited(0, ` ${diskBytes}\n`) })
    assert.deepEqual(found, {
      act: 'use',
      storage: String(volumeBytes),
      permissive: true,
      annotateSource: remembers(diskBytes),
    })
  })

  const notReady = {
    type: 'Normal',
    reason: 'SizeDetectionPodNotReady',
    message: 'The size detection pod is not finished yet',
  }

  it('waits for the pod', () => {
    const states: DetectionPodFacts[] = [
      {},
      { state: { waiting: { reason: 'ContainerCreating' } } },
      { phase: 'Running', state: { running: {} } },
    ]
    for (const pod of states) assert.deepEqual(as('wait', withPod(pod)).events, [notReady])
  })

  it('tells who else uses the source, never that it is itself, and looks again in five seconds', () => {
    const claim = sourceClaim()
    const pod = detectionPod(claim)
    const alone = as('wait', plan({ source: { claim }, pod, users: [pod] }))
    assert.deepEqual(alone.events, [notReady])
    const found = as('wait', plan({ source: { claim }, pod, users: [pod, userOf('src')] }))
    assert.deepEqual(found.events, [
      notReady,
      { type: 'Warning', reason: 'CloneSourceInUse', message: 'pod vms/vm using PersistentVolumeClaim src' },
    ])
    assert.equal(found.requeueAfterMs, 5_000)
  })

  const failures: { title: string; pod: DetectionPodFacts; reason: string }[] = [
    ...['ErrBadArguments', 'ErrInvalidFile', 'ErrInvalidPath', 'ErrBadTermFile', 'ErrUnknown'].map((reason, at) => ({
      title: `exit code ${at + 1}`,
      pod: { phase: 'Running', state: exited(at + 1, '') },
      reason,
    })),
    {
      title: 'a failure before a restart',
      pod: { phase: 'Running', state: { waiting: { reason: 'CrashLoopBackOff' } }, lastState: exited(3, '') },
      reason: 'ErrInvalidPath',
    },
    {
      title: 'a failure before a run that goes on',
      pod: { phase: 'Running', state: { running: {} }, lastState: exited(2, '') },
      reason: 'ErrInvalidFile',
    },
    { title: 'a kill', pod: { phase: 'Running', state: exited(137, '', 'OOMKilled') }, reason: 'ErrUnknown' },
    { title: 'an eviction', pod: { phase: 'Failed' }, reason: 'ErrUnknown' },
    ...['', 'hello', '12x', '0x10', '1e9', '-5', '0', '9'.repeat(30), '64Mi', 'NaN'].map((words) => ({
      title: `success with the words ${JSON.stringify(words)}`,
      pod: { phase: 'Succeeded', state: exited(0, words) },
      reason: 'ErrUnknown',
    })),
  ]
  for (const { title, pod, reason } of failures) {
    it(`takes ${title} for ${reason} and tries again with another pod`, () => {
      const found = as('retry', withPod(pod))
      assert.equal(found.deletePod.metadata.name, 'size-detection-uid-src')
      assert.deepEqual(found.events, [
        { type: 'Warning', reason, message: `Size-detection pod failed due to ${reason}` },
      ])
      assert.ok(found.requeueAfterMs > 0)
    })
  }

  it('leaves a failed pod for ten seconds when it knows the time', () => {
    const ended = Date.parse('2026-01-01T00:00:00Z')
    const state = { terminated: { exitCode: 3, finishedAt: '2026-01-01T00:00:00Z' } }
    const early = as('wait', withPod({ phase: 'Running', state }, {}, { now: ended + 4_000 }))
    assert.equal(early.requeueAfterMs, 6_000)
    assert.equal(early.events[0]?.reason, 'ErrInvalidPath')
    as('retry', withPod({ phase: 'Running', state }, {}, { now: ended + 10_000 }))
  })

  it('leaves alone what is going away, and what only bears the name', () => {
    assert.deepEqual(as('wait', withPod({ ...done, terminating: true })).events, [])
    const stranger: Pod = { ...userOf('src', 'size-detection-uid-src'), status: { phase: 'Failed' } }
    assert.equal(plan({ pod: stranger }).act, 'wait')
  })
})

describe('a clone of a snapshot', () => {
  function of(snapshot: SnapshotFacts, contentMode?: Mode): { source: CloneOrigin } {
    return { source: { snapshot: snapshotOf(snapshot), content: contentOf(contentMode) } }
  }

  it('keeps a size that was given', () => {
    assert.deepEqual(plan({ ...of({}, 'Block'), target: { size: '1Gi' } }), { act: 'keep', permissive: false })
    assert.equal(plan({ ...of({ status: { restoreSize: '0' } }), target: { size: '1Gi' } }).act, 'keep')
  })

  const rows: { of: string; facts: { source: CloneOrigin }; to: Mode; storage: number }[] = [
    { of: 'a device', facts: of({}, 'Block'), to: 'Filesystem', storage: volumeBytes },
    { of: 'a device', facts: of({}, 'Block'), to: 'Block', storage: diskBytes },
    { of: 'a file system', facts: of({}, 'Filesystem'), to: 'Filesystem', storage: diskBytes },
    { of: 'a file system', facts: of({}, 'Filesystem'), to: 'Block', storage: diskBytes },
    { of: 'nobody knows what', facts: of({}), to: 'Filesystem', storage: diskBytes },
    {
      of: 'a device, by its own annotation',
      facts: of({ annotated: { [annotations.sourceVolumeMode]: 'Block' } }),
      to: 'Filesystem',
      storage: volumeBytes,
    },
    {
      of: 'a file system, by its content against its annotation',
      facts: of({ annotated: { [annotations.sourceVolumeMode]: 'Block' } }, 'Filesystem'),
      to: 'Filesystem',
      storage: diskBytes,
    },
  ]
  for (const row of rows) {
    it(`of ${row.of} into a ${row.to} volume asks for ${row.storage} bytes`, () => {
      const found = plan({ ...row.facts, target: { mode: row.to } })
      assert.deepEqual(found, { act: 'use', storage: String(row.storage), permissive: false })
    })
  }

  it('whose content is not there yet counts by its annotation', () => {
    const snapshot = snapshotOf({ annotated: { [annotations.sourceVolumeMode]: 'Block' } })
    assert.equal(as('use', plan({ source: { snapshot, content: undefined } })).storage, String(volumeBytes))
  })

  it('asks for no less than the storage makes', () => {
    assert.equal(as('use', plan({ ...of({}), minimumBytes: 1024 * mebibyte })).storage, String(1024 * mebibyte))
  })

  it('is refused when nobody knows how large it is', () => {
    for (const restoreSize of [undefined, '-1', 'large']) {
      const { message } = as('refuse', plan(of({ status: { restoreSize } })))
      assert.equal(message, 'snapshot has no restore size')
    }
    const { message } = as('refuse', plan(of({ status: { restoreSize: '0' } })))
    assert.equal(message, "size not specified by user/provisioner, can't tell how much needed for restore")
  })
})

describe('sizes of clones, whatever the numbers are', () => {
  const bytes = fc.integer({ min: 1, max: 2 ** 42 })
  const overhead = fc.constantFrom('0', '0.06', '0.055', '0.5', '1')
  const mode = fc.constantFrom<Mode>('Filesystem', 'Block')
  const holds = fc.constantFrom('kubevirt', 'archive', null)

  function seen(facts: {
    disk: number
    capacity: number
    from: Mode
    to: Mode
    contentType: 'kubevirt' | 'archive' | null
    overhead: string
    minimumBytes: number
    size?: string | undefined
  }): CloneSizeObservation {
    const claim = sourceClaim({
      mode: facts.from,
      contentType: facts.contentType,
      request: String(facts.capacity),
      annotated: remembers(facts.disk, facts.capacity),
    })
    return observation({
      source: { claim },
      target: { mode: facts.to, size: facts.size },
      overhead: facts.overhead,
      minimumBytes: facts.minimumBytes,
    })
  }

  const facts = fc.record({
    disk: bytes,
    capacity: bytes,
    from: mode,
    to: mode,
    contentType: holds,
    overhead,
    minimumBytes: fc.oneof(fc.constant(0), bytes),
  })

  it('what was found fits, and the least that the storage makes is asked for', () => {
    fc.assert(
      fc.property(facts, (given) => {
        const found = as('use', planCloneSize(seen(given)))
        const isLooked = given.from === 'Filesystem' && given.contentType === 'kubevirt'
        const detected = isLooked ? given.disk : given.capacity
        const request = Number(found.storage)
        assert.ok(Number.isSafeInteger(request))
        assert.ok(request >= given.minimumBytes)
        const room = given.to === 'Filesystem' ? usableBytes(given.overhead, request) : request
        assert.ok(room >= detected)
        // And no more than that is asked for.
        const least = given.to === 'Filesystem' ? requiredBytes(given.overhead, detected) : detected
        assert.equal(request, Math.max(least, given.minimumBytes))
        assert.equal(found.permissive, given.capacity > detected)
      }),
    )
  })

  it('a given size is never changed, and permissive exactly when a disk was looked at that fits', () => {
    fc.assert(
      fc.property(facts, bytes, (given, size) => {
        const found = planCloneSize(seen({ ...given, size: String(size) }))
        const isLooked = given.from === 'Filesystem' && given.contentType === 'kubevirt' && given.to === 'Block'
        if (!isLooked) {
          assert.deepEqual(found, { act: 'keep', permissive: false })
        } else if (size < given.disk && size >= given.capacity) {
          as('refuse', found)
        } else {
          assert.deepEqual(found, { act: 'use', storage: String(size), permissive: size >= given.disk })
        }
      }),
    )
  })

  it('no words of a pod make a size that is none', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.integer().map(String), fc.double().map(String)), (words) => {
        const found = withPod({ phase: 'Succeeded', state: exited(0, words) })
        if (found.act === 'use') assert.ok(Number.isSafeInteger(Number(found.storage)) && Number(found.storage) > 0)
        else as('retry', found)
      }),
    )
  })
})
