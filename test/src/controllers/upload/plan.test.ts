import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { assert as check, array, constantFrom, property, record } from 'fast-check'
import { annotations, serviceName } from '../../../../src/api/names.ts'
import type { PersistentVolumeClaim, Pod, Service } from '../../../../src/api/kinds.ts'
import { isEmpty, patched } from '../../../../src/controllers/shared/annotated.ts'
import { diedPodDelayMs } from '../../../../src/controllers/shared/pod-state.ts'
import {
  isLeftAlone,
  planUpload,
  takenServiceDelayMs,
  uploadServerOf,
} from '../../../../src/controllers/upload/plan.ts'
import type { UploadObservation, UploadPlan } from '../../../../src/controllers/upload/plan.ts'
import { controllerRef } from '../../../../src/kube/owners.ts'
import { claim, eventOf, exited, namespace, uploadClaim, uploadPod, uploadPrime, storageClass } from '../fixtures.ts'
import type { ClaimFacts } from '../fixtures.ts'

const now = Date.parse('2026-01-01T01:00:00Z')
const completed = '{"preallocationApplied":false,"message":"Upload Complete"}'
const serving = { phase: 'Running', state: { running: {} }, ready: true } as const

function service(owner: UploadObservation['carrier']): Service {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: {
      name: serviceName(uploadServerOf(owner)),
      namespace,
      uid: 'uid-service',
      resourceVersion: '1',
      ownerReferences: [controllerRef(owner)],
    },
  }
}

function seen(facts: Partial<UploadObservation> = {}): UploadObservation {
  return {
    carrier: uploadPrime({ phase: 'Bound' }),
    pod: undefined,
    service: undefined,
    otherUsers: [],
    scratch: undefined,
    honorWaitForFirstConsumer: true,
    storageClass: storageClass({ wffc: true }),
    newestEvent: undefined,
    resumption: undefined,
    now,
    ...facts,
  }
}

/** A claim with its server and Service. */
function served(
  carrier: UploadObservation['carrier'],
  pod: Parameters<typeof uploadPod>[1] = serving,
  more: Partial<UploadObservation> = {},
): UploadPlan {
  return planUpload(seen({ carrier, pod: uploadPod(carrier, pod), service: service(carrier), ...more }))
}

const create = (name: string): object => ({ create: name, withScratch: false })

describe('the upload controller', () => {
  it('stores the name of the server before it makes Service and server', () => {
    const plan = planUpload(seen())
    assert.equal(plan.annotations[annotations.uploadPodName], 'cdi-upload-prime-uid-dv')
    assert.deepEqual(plan.pod, create('cdi-upload-prime-uid-dv'))
    assert.deepEqual(plan.service, { create: 'cdi-upload-prime-uid-dv' })
  })

  it('makes the server under the stored name, but the Service where the proxy looks for it', () => {
    const carrier = uploadPrime({ annotated: { [annotations.uploadPodName]: 'of.an.older.version' } })
    const plan = planUpload(seen({ carrier }))
    assert.deepEqual(plan.pod, create('of.an.older.version'))
    assert.deepEqual(plan.service, { create: 'cdi-upload-prime-uid-dv' })
  })

  const starts: [string, Partial<UploadObservation>, boolean][] = [
    ['a P that is not bound yet, since it wants immediate binding', { carrier: uploadPrime() }, true],
    ['a P that is bound without a pod', { carrier: uploadPrime(), storageClass: storageClass() }, false],
    ['a bound claim', { carrier: uploadClaim({ phase: 'Bound' }) }, true],
    ['a claim that waits for its consumer', { carrier: uploadClaim() }, false],
    ['a claim that waits, with the gate off', { carrier: uploadClaim(), honorWaitForFirstConsumer: false }, true],
    [
      'a claim that does not want to wait',
      { carrier: uploadClaim({ annotated: { [annotations.bindImmediate]: '' } }) },
      true,
    ],
    ['a claim whose volume is lost', { carrier: uploadClaim({ phase: 'Lost' }) }, false],
    ['a claim that is filled', { carrier: uploadClaim({ annotated: { [annotations.podPhase]: 'Succeeded' } }) }, false],
    ['a claim that is going away', { carrier: uploadClaim({ phase: 'Bound', terminating: true }) }, false],
    ['a claim that nobody marked', { carrier: claim({ phase: 'Bound' }) }, false],
    [
      'a claim that the storage fills',
      { carrier: uploadClaim({ phase: 'Bound', annotated: { [annotations.externalPopulation]: 'true' } }) },
      false,
    ],
    [
      'a claim whose last server was refused',
      { carrier: uploadClaim({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Failed' } }) },
      true,
    ],
    [
      'a claim whose last server was old',
      { carrier: uploadClaim({ phase: 'Bound', annotated: { [annotations.podPhase]: '' } }) },
      true,
    ],
  ]
  for (const [what, facts, does] of starts) {
    it(`${does ? 'makes a' : 'makes no'} server for ${what}`, () => {
      const { pod, service: made } = planUpload(seen(facts))
      assert.equal(typeof pod === 'object', does)
      assert.equal(typeof made === 'object', does)
    })
  }

  it('says that two orders contradict each other', () => {
    const plan = planUpload(seen({ carrier: uploadClaim({ annotated: { [annotations.cloneRequest]: 'a/b' } }) }))
    assert.match(plan.error ?? '', /^PVC dv is to be uploaded to and to be cloned into$/)
    assert.equal(plan.pod, 'keep')
  })

  it('says what an order to copy must look like', () => {
    for (const request of ['', 'src', 'vms/', '/src', 'vms/src/x']) {
      const plan = planUpload(seen({ carrier: cloneTarget({ annotated: { [annotations.cloneRequest]: request } }) }))
      assert.match(plan.error ?? '', /^PVC dv has k8s.io\/CloneRequest with a value that is not <namespace>\/<name>$/)
    }
  })

  it('waits while another pod uses the claim, and says which', () => {
    const carrier = uploadClaim({ phase: 'Bound' })
    const user = uploadPod(carrier, { phase: 'Running' })
    user.metadata.name = 'user'
    const plan = planUpload(seen({ carrier, otherUsers: [user] }))
    assert.equal(plan.pod, 'keep')
    const message = 'pod vms/user using PersistentVolumeClaim dv'
    assert.deepEqual(plan.state, { type: 'Warning', reason: 'UploadTargetInUse', message })
    assert.deepEqual(plan.events, [])
  })

  it('makes no server whose Service would be that of another claim', () => {
    const plan = planUpload(seen({ service: service(claim({ name: 'other' })) }))
    assert.equal(plan.pod, 'keep')
    assert.equal(plan.requeueAfterMs, takenServiceDelayMs)
    assert.deepEqual([plan.state?.type, plan.state?.reason], ['Warning', 'ErrStartingPod'])
  })

  it('touches no pod that bears the name but belongs to something else', () => {
    const plan = planUpload(seen({ pod: uploadPod(claim({ name: 'other' }), serving) }))
    assert.deepEqual([plan.pod, plan.service], ['keep', 'keep'])
  })

  it('tells the state of a server, gives it what it lacks, and asks it while it runs', () => {
    const carrier = uploadPrime({ phase: 'Bound' })
    const plan = planUpload(seen({ carrier, pod: uploadPod(carrier, serving) }))
    assert.equal(plan.annotations[annotations.podReady], 'true')
    assert.equal(plan.annotations[annotations.podPhase], 'Running')
    assert.deepEqual(plan.service, { create: 'cdi-upload-prime-uid-dv' })
    assert.equal(plan.needsSecret, true)
    assert.equal(plan.follow, true)
    assert.equal(served(carrier).service, 'keep')
    assert.equal(served(carrier, { phase: 'Pending' }).follow, false)
  })

  it('keeps what a server has made durable, forgets it when the server does, and when the upload is done', () => {
    const carrier = uploadPrime({ phase: 'Bound' })
    const told = served(carrier, serving, { resumption: '{"id":"a"}' })
    assert.equal(told.annotations[annotations.uploadResumption], '{"id":"a"}')
    const kept = uploadPrime({ phase: 'Bound', annotated: { [annotations.uploadResumption]: '{"id":"a"}' } })
    const of = (plan: UploadPlan): string | null | undefined => plan.annotations[annotations.uploadResumption]
    assert.equal(of(served(kept)), undefined, 'a server that has not answered says nothing')
    assert.equal(of(served(kept, serving, { resumption: null })), null)
    assert.equal(of(planUpload(seen({ carrier: kept }))), undefined, 'the next server is to know it')
    assert.equal(of(served(kept, { phase: 'Succeeded', state: exited(0, completed) })), null)
    const ended = (words: string): UploadPlan => served(kept, { phase: 'Succeeded', state: exited(0, words) })
    assert.equal(of(ended('{"deadlinePassed":true}')), undefined, 'the client goes on with the next one')
    assert.equal(of(ended('{"scratchSpaceRequired":true}')), null, 'another upload has taken its place')
  })

  it('deletes server and Service when the upload is done, after the claim says so', () => {
    const carrier = uploadPrime({ phase: 'Bound', annotated: { [annotations.podReady]: 'true' } })
    const plan = served(carrier, { phase: 'Succeeded', state: exited(0, completed) })
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.equal(plan.annotations[annotations.podReady], 'false')
    assert.deepEqual(plan.events, [{ type: 'Normal', reason: 'UploadSucceeded', message: 'Upload Successful' }])
    assert.deepEqual([plan.pod, plan.service], ['delete', 'delete'])
    const done = uploadPrime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    const again = served(done, { phase: 'Succeeded', state: exited(0, completed) })
    assert.deepEqual([again.pod, again.service], ['delete', 'delete'], 'also after it was killed in between')
    assert.deepEqual(again.events, [])
  })

  it('takes what is finished for done though somebody deletes the server meanwhile, if it says so', () => {
    const carrier = uploadPrime({ phase: 'Bound', annotated: { [annotations.podReady]: 'true' } })
    const plan = served(carrier, { phase: 'Running', state: exited(0, completed), terminating: true })
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.deepEqual([plan.pod, plan.service], ['keep', 'delete'])
    const silent = served(carrier, { phase: 'Running', state: exited(0, ''), terminating: true })
    assert.deepEqual(silent.annotations, { [annotations.podReady]: 'false' })
  })

  it('keeps a finished server that is to be retained, but not one that has to make room', () => {
    const carrier = uploadPrime({ phase: 'Bound', annotated: { [annotations.podRetainAfterCompletion]: 'true' } })
    const plan = served(carrier, { phase: 'Succeeded', state: exited(0, completed) })
    assert.deepEqual([plan.pod, plan.service], ['keep', 'keep'])
    const old = served(carrier, { phase: 'Succeeded', state: exited(0, '{"deadlinePassed":true}') })
    assert.deepEqual([old.pod, old.service], ['delete', 'keep'])
  })

  it('replaces a server whose certificates are old; the Service stays', () => {
    const carrier = uploadPrime({
      phase: 'Bound',
      annotated: { [annotations.podPhase]: 'Running', [annotations.podReady]: 'true' },
    })
    const plan = served(carrier, { phase: 'Succeeded', state: exited(0, '{"deadlinePassed":true}') })
    assert.equal(plan.annotations[annotations.podPhase], '')
    assert.equal(plan.annotations[annotations.podReady], 'false')
    assert.deepEqual([plan.pod, plan.service], ['delete', 'keep'])
  })

  it('replaces a server that asks for scratch by one that has it, and makes the scratch claim', () => {
    const carrier = uploadPrime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Running' } })
    const first = served(carrier, { phase: 'Succeeded', state: exited(0, '{"scratchSpaceRequired":true}') })
    assert.equal(first.pod, 'delete')
    const marked = uploadPrime({ phase: 'Bound', annotated: patched(carrier.metadata.annotations, first.annotations) })
    assert.deepEqual(planUpload(seen({ carrier: marked, service: service(marked) })).pod, {
      create: 'cdi-upload-prime-uid-dv',
      withScratch: true,
    })
    const former = claim({ name: 'prime-uid-dv-scratch' })
    assert.equal(planUpload(seen({ carrier: marked, scratch: former })).pod, 'keep', 'the former one has to go first')
    const starting = served(marked, { scratch: true })
    assert.equal(starting.makeScratch, true)
    assert.equal(starting.annotations[annotations.conditionBoundReason], 'CreatingScratchSpace')
    assert.equal(served(marked, { scratch: true }, { scratch: former }).makeScratch, false)
  })

  it('replaces an evicted pod after a while', () => {
    const carrier = uploadPrime({ phase: 'Bound' })
    const evicted = (startTime: number): Pod => {
      const pod = uploadPod(carrier, { phase: 'Failed', reason: 'Evicted' })
      pod.status!.startTime = new Date(startTime).toISOString()
      return pod
    }
    const early = planUpload(seen({ carrier, pod: evicted(now - 1_000) }))
    assert.deepEqual([early.pod, early.requeueAfterMs], ['keep', diedPodDelayMs - 1_000])
    assert.equal(planUpload(seen({ carrier, pod: evicted(now - diedPodDelayMs) })).pod, 'delete')
  })

  it('says at once that a server that is going away cannot be sent to', () => {
    const carrier = uploadPrime({ phase: 'Bound', annotated: { [annotations.podReady]: 'true' } })
    const plan = served(carrier, { ...serving, terminating: true })
    assert.deepEqual(plan.annotations, { [annotations.podReady]: 'false' })
    assert.equal(plan.pod, 'keep')
    assert.equal(planUpload(seen({ carrier })).annotations[annotations.podReady], 'false', 'nor one that has gone')
  })

  it('takes server and Service away from a claim that is going away or not marked any longer', () => {
    for (const carrier of [
      uploadClaim({ phase: 'Bound', terminating: true }),
      claim({ phase: 'Bound', annotated: { [annotations.podReady]: 'true', [annotations.podPhase]: 'Running' } }),
    ]) {
      const plan = served(carrier)
      assert.deepEqual([plan.pod, plan.service], ['delete', 'delete'], plan.because)
      const going = served(carrier, { ...serving, terminating: true })
      assert.equal(going.pod, 'keep')
    }
  })

  it('does nothing at all about claims that never had a server', () => {
    const plan = planUpload(seen({ carrier: claim({ phase: 'Bound', labels: {} }) }))
    assert.deepEqual([plan.pod, plan.service, plan.annotations, plan.labels], ['keep', 'keep', {}, {}])
  })

  it("shows a pending claim's newest event as its Bound condition and forgets it when the claim is bound", () => {
    const text = eventOf({ message: 'waiting for a volume' }).message
    const pending = planUpload(seen({ carrier: uploadPrime(), newestEvent: text }))
    assert.equal(pending.annotations[annotations.conditionBoundMessage], 'waiting for a volume')
    const bound = uploadPrime({ phase: 'Bound', annotated: { [annotations.conditionBound]: 'false' } })
    assert.equal(planUpload(seen({ carrier: bound })).annotations[annotations.conditionBound], null)
  })

  it('leaves alone what is done, going away, or waits for a consumer', () => {
    assert.equal(isLeftAlone(seen()), false)
    assert.equal(isLeftAlone(seen({ carrier: uploadClaim() })), true)
    assert.equal(isLeftAlone(seen({ carrier: uploadClaim(), honorWaitForFirstConsumer: false })), false)
    assert.equal(isLeftAlone(seen({ carrier: uploadClaim({ phase: 'Bound', terminating: true }) })), true)
    const done = uploadClaim({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    assert.equal(isLeftAlone(seen({ carrier: done })), true)
  })
})

/** A claim that is copied from another one. */
function cloneTarget(facts: ClaimFacts = {}): PersistentVolumeClaim {
  return claim({
    phase: 'Bound',
    ...facts,
    annotated: { [annotations.cloneRequest]: 'golden/src', ...facts.annotated },
  })
}

describe('the upload controller, of a claim that is copied from another one,', () => {
  const cloneWords = '{"preallocationApplied":false,"message":"Clone Complete"}'

  it('makes a server without scratch, and says who may send to it', () => {
    const plan = planUpload(seen({ carrier: cloneTarget({ annotated: { [annotations.requiresScratch]: 'true' } }) }))
    assert.deepEqual(plan.pod, create('cdi-upload-dv'))
    assert.equal(plan.annotations[annotations.uploadClientName], 'golden/src-vms/dv')
    assert.equal(plan.annotations[annotations.podRestarts], undefined)
    const uploads = planUpload(seen({ carrier: uploadClaim({ phase: 'Bound' }) }))
    assert.equal(uploads.annotations[annotations.uploadClientName], undefined)
  })

  it('waits for a consumer where uploads do', () => {
    assert.equal(planUpload(seen({ carrier: cloneTarget({ phase: 'Pending' }) })).pod, 'keep')
    const hasty = cloneTarget({ phase: 'Pending', annotated: { [annotations.bindImmediate]: '' } })
    assert.deepEqual(planUpload(seen({ carrier: hasty })).pod, create('cdi-upload-dv'))
  })

  it('says when all has come, without an event, and deletes server and Service', () => {
    const plan = served(cloneTarget(), { phase: 'Succeeded', state: exited(0, cloneWords) })
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.equal(plan.annotations[annotations.conditionRunningMessage], 'Clone Complete')
    assert.equal(plan.annotations[annotations.preallocation], undefined)
    assert.deepEqual([plan.events, plan.pod, plan.service], [[], 'delete', 'delete'])
  })

  it('keeps what is durable for the next server', () => {
    const plan = served(cloneTarget(), serving, { resumption: '{"id":"a"}' })
    assert.equal(plan.annotations[annotations.uploadResumption], '{"id":"a"}')
  })

  it('leaves alone one that bears a copy, whatever else it says', () => {
    for (const phase of [undefined, 'Running', 'Succeeded']) {
      const carrier = cloneTarget({ annotated: { [annotations.cloneOf]: 'true', [annotations.podPhase]: phase } })
      const plan = planUpload(seen({ carrier }))
      assert.deepEqual([plan.pod, plan.service, plan.annotations], ['keep', 'keep', {}])
      assert.ok(isLeftAlone(seen({ carrier })))
      assert.equal(served(carrier).pod, 'delete', 'what an earlier controller had no time for')
    }
  })

  const gone: [string, Record<string, string>, string | undefined][] = [
    ['ran', { [annotations.podPhase]: 'Running', [annotations.podRestarts]: '0' }, '1'],
    ['ran after restarts', { [annotations.podPhase]: 'Running', [annotations.podRestarts]: '2' }, '3'],
    ['was evicted', { [annotations.podPhase]: 'Failed', [annotations.conditionRunningReason]: 'Evicted' }, '1'],
    [
      'was refused',
      { [annotations.podPhase]: 'Failed', [annotations.conditionRunningReason]: 'ErrExceededQuota' },
      undefined,
    ],
    ['had old certificates', { [annotations.podPhase]: '' }, undefined],
    ['had not begun', { [annotations.podPhase]: 'Pending' }, undefined],
  ]
  for (const [what, annotated, restarts] of gone) {
    it(`counts ${restarts === undefined ? 'no restart' : 'a restart, once,'} when a server is gone that ${what}`, () => {
      const plan = planUpload(seen({ carrier: cloneTarget({ annotated }) }))
      assert.equal(plan.annotations[annotations.podRestarts], restarts)
      const later = cloneTarget({ annotated: patched(annotated, plan.annotations) })
      assert.equal(planUpload(seen({ carrier: later })).annotations[annotations.podRestarts], undefined)
    })
  }

  it('says that it failed as long as its source pod is refused, though its server is ready', () => {
    const annotated = {
      [annotations.podPhase]: 'Failed',
      [annotations.conditionSourceRunning]: 'false',
      [annotations.conditionSourceRunningReason]: 'ErrExceededQuota',
    }
    const plan = served(cloneTarget({ annotated }))
    assert.equal(plan.annotations[annotations.podPhase], undefined)
    assert.equal(plan.annotations[annotations.podReady], 'true')
    const made = { ...annotated, [annotations.conditionSourceRunningReason]: 'Pending' }
    assert.equal(served(cloneTarget({ annotated: made })).annotations[annotations.podPhase], 'Running')
  })

  it('tells of a server that ended badly', () => {
    const plan = served(cloneTarget(), { phase: 'Running', state: exited(1, 'the volume is full') })
    assert.deepEqual(plan.events, [{ type: 'Warning', reason: 'ErrCloneFailed', message: 'the volume is full' }])
  })
})

describe('whatever states a server went through', () => {
  const states = {
    pod: constantFrom<Parameters<typeof uploadPod>[1] | undefined>(
      undefined,
      {},
      { state: { waiting: { reason: 'ContainerCreating' } } },
      { phase: 'Running', state: { running: {} } },
      serving,
      { ...serving, restarts: 2, lastState: exited(1, 'x') },
      { phase: 'Running', state: exited(1, 'x') },
      { phase: 'Failed', reason: 'Evicted' },
      { phase: 'Succeeded', state: exited(0, '{"deadlinePassed":true}') },
      { phase: 'Succeeded', state: exited(0, '{"scratchSpaceRequired":true}') },
      { ...serving, terminating: true },
    ),
    phase: constantFrom('Pending', 'Bound'),
    resumption: constantFrom(undefined, null, '{"id":"a"}'),
  }

  it('the claim settles with the last one, and is ready only with a server that is', () => {
    check(
      property(array(record(states), { minLength: 1, maxLength: 8 }), (course) => {
        let noted: Record<string, string> = {}
        const look = ({ pod, phase, resumption }: (typeof course)[number]): UploadPlan => {
          const carrier = uploadPrime({ phase, annotated: noted })
          const plan = planUpload(
            seen({ carrier, pod: pod && uploadPod(carrier, pod), service: service(carrier), resumption }),
          )
          noted = patched(carrier.metadata.annotations, plan.annotations)
          return plan
        }
        for (const state of course) look(state)
        const last = course.at(-1)!
        const again = look(last)
        assert.ok(isEmpty(again.annotations), JSON.stringify(again.annotations))
        assert.deepEqual(again.events, [], 'what was told is not told again')
        assert.equal(noted[annotations.podReady] === 'true', last.pod?.ready === true && !last.pod.terminating)
      }),
    )
  })
})
