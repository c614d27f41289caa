import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import { planImport } from '../../../../src/controllers/import/plan.ts'
import type { ImportObservation } from '../../../../src/controllers/import/plan.ts'
import { patched } from '../../../../src/controllers/shared/annotated.ts'
import { diedPodDelayMs } from '../../../../src/controllers/shared/pod-state.ts'
import { cdiConfig, claim, completeWords, directTarget, exited, importerPod, prime, storageClass } from '../fixtures.ts'

const now = Date.parse('2026-01-01T01:00:00Z')

function seen(facts: Partial<ImportObservation> = {}): ImportObservation {
  return {
    carrier: prime(),
    pod: undefined,
    otherUsers: [],
    scratch: undefined,
    config: cdiConfig(),
    honorWaitForFirstConsumer: true,
    storageClass: storageClass({ wffc: true }),
    newestEvent: undefined,
    now,
    ...facts,
  }
}

const words = (message: object): string => JSON.stringify(message)

describe('the import controller', () => {
  it('stores the name of the worker before it makes the worker', () => {
    const plan = planImport(seen())
    assert.equal(plan.annotations[annotations.importPodName], 'importer-prime-uid-dv')
    assert.deepEqual(plan.pod, { create: 'importer-prime-uid-dv', withScratch: false })
  })

  it('makes the worker under the stored name, whatever name it would give itself', () => {
    const carrier = prime({ annotated: { [annotations.importPodName]: 'importer-of-an-older-version' } })
    assert.deepEqual(planImport(seen({ carrier })).pod, { create: 'importer-of-an-older-version', withScratch: false })
  })

  it('starts a worker on P before P is bound, since P wants immediate binding', () => {
    assert.notEqual(planImport(seen({ carrier: prime({ phase: 'Pending' }) })).pod, 'keep')
  })

  it('waits with a worker until P is bound where that needs no worker', () => {
    const facts = { storageClass: storageClass(), honorWaitForFirstConsumer: false }
    assert.equal(planImport(seen({ ...facts, carrier: prime({ phase: 'Pending' }) })).pod, 'keep')
    assert.notEqual(planImport(seen({ ...facts, carrier: prime({ phase: 'Bound' }) })).pod, 'keep')
  })

  it('waits with a worker on T itself until T is bound', () => {
    assert.equal(planImport(seen({ carrier: directTarget({ phase: 'Pending' }) })).pod, 'keep')
    assert.deepEqual(planImport(seen({ carrier: directTarget({ phase: 'Bound' }) })).pod, {
      create: 'importer-dv',
      withScratch: false,
    })
  })

  it('does not wait for a first consumer when the gate is off', () => {
    const carrier = directTarget({ phase: 'Pending' })
    assert.notEqual(planImport(seen({ carrier, honorWaitForFirstConsumer: false })).pod, 'keep')
  })

  it('waits while another pod uses the claim, and says which', () => {
    const carrier = directTarget({ phase: 'Bound' })
    const consumer = importerPod(carrier, { phase: 'Running' })
    consumer.metadata.name = 'consumer'
    const plan = planImport(seen({ carrier, otherUsers: [consumer] }))
    assert.equal(plan.pod, 'keep')
    const message = 'pod vms/consumer using PersistentVolumeClaim dv'
    assert.deepEqual(plan.state, { type: 'Warning', reason: 'ImportTargetInUse', message })
    assert.deepEqual(plan.events, [])
  })

  it('labels a claim that somebody else made', () => {
    assert.deepEqual(planImport(seen({ carrier: prime({ labels: {} }) })).labels, {
      app: 'containerized-data-importer',
    })
    assert.deepEqual(planImport(seen({ carrier: prime({ labels: { app: 'mine' } }) })).labels, {})
  })

  it('replaces a worker that asks for scratch by one that has it', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Running' } })
    const pod = importerPod(carrier, { phase: 'Succeeded', state: exited(0, words({ scratchSpaceRequired: true })) })
    const first = planImport(seen({ carrier, pod }))
    assert.equal(first.pod, 'delete')
    assert.equal(first.annotations[annotations.requiresScratch], 'true')
    assert.equal(first.annotations[annotations.podPhase], undefined, 'the phase stays Running')

    const marked = prime({ phase: 'Bound', annotated: patched(carrier.metadata.annotations, first.annotations) })
    assert.equal(
      planImport(seen({ carrier: marked, pod: { ...pod, metadata: { ...pod.metadata, deletionTimestamp: 'x' } } })).pod,
      'keep',
    )
    assert.deepEqual(planImport(seen({ carrier: marked })).pod, { create: 'importer-prime-uid-dv', withScratch: true })
  })

  it('replaces a worker that asks for scratch or ran out of memory even if finished ones are to be retained', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.podRetainAfterCompletion]: 'true' } })
    const asks = importerPod(carrier, { phase: 'Succeeded', state: exited(0, words({ scratchSpaceRequired: true })) })
    assert.equal(planImport(seen({ carrier, pod: asks })).pod, 'delete')
    const killed = importerPod(carrier, { phase: 'Running', state: exited(137, '', 'OOMKilled') })
    assert.equal(planImport(seen({ carrier, pod: killed })).pod, 'delete')
  })

  it('waits for the former scratch claim to go before it starts a worker with a new one', () => {
    const carrier = prime({ annotated: { [annotations.requiresScratch]: 'true' } })
    assert.equal(planImport(seen({ carrier, scratch: claim({ name: 'prime-uid-dv-scratch' }) })).pod, 'keep')
  })

  it('makes the scratch claim of a worker that has a volume for it', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.requiresScratch]: 'true' } })
    const pod = importerPod(carrier, { scratch: true })
    const plan = planImport(seen({ carrier, pod }))
    assert.equal(plan.makeScratch, true)
    assert.equal(plan.annotations[annotations.conditionBoundReason], 'CreatingScratchSpace')
    assert.equal(planImport(seen({ carrier, pod, scratch: claim({ name: 'x' }) })).makeScratch, false)
  })

  it('deletes a worker that succeeded, after the claim says so', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Running' } })
    const pod = importerPod(carrier, { phase: 'Succeeded', state: exited(0, completeWords) })
    const plan = planImport(seen({ carrier, pod }))
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.deepEqual(plan.events, [{ type: 'Normal', reason: 'ImportSucceeded', message: 'Import Successful' }])
    assert.equal(plan.pod, 'delete')
  })

  it('takes what is finished for done though somebody deletes the worker meanwhile', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Running' } })
    const pod = importerPod(carrier, { phase: 'Running', state: exited(0, completeWords), terminating: true })
    assert.equal(planImport(seen({ carrier, pod })).annotations[annotations.podPhase], 'Succeeded')
    const killed = importerPod(carrier, { phase: 'Running', state: exited(137, ''), terminating: true })
    assert.deepEqual(planImport(seen({ carrier, pod: killed })).annotations, {})
  })

  it('deletes the worker even if it was killed between the claim and the worker', () => {
    const carrier = prime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Succeeded' } })
    const pod = importerPod(carrier, { phase: 'Succeeded', state: exited(0, completeWords) })
    const plan = planImport(seen({ carrier, pod }))
    assert.equal(plan.pod, 'delete')
    assert.deepEqual(plan.events, [], 'success is told once')
  })

  it('keeps a finished worker that is to be retained', () => {
    const retained = { [annotations.podRetainAfterCompletion]: 'true' }
    const carrier = prime({ phase: 'Bound', annotated: retained })
    const pod = importerPod(carrier, { phase: 'Succeeded', state: exited(0, completeWords) })
    assert.equal(planImport(seen({ carrier, pod })).pod, 'keep')
    const done = prime({ phase: 'Bound', annotated: { ...retained, [annotations.podPhase]: 'Succeeded' } })
    assert.equal(planImport(seen({ carrier: done, pod })).pod, 'keep')
  })

  it('never starts again after a wrong checksum', () => {
    const carrier = prime({ phase: 'Bound' })
    const message = 'checksum validation failed: checksum mismatch: expected md5:0, calculated md5:1'
    const pod = importerPod(carrier, { phase: 'Succeeded', state: exited(0, words({ message })) })
    const plan = planImport(seen({ carrier, pod }))
    assert.equal(plan.pod, 'delete')
    const marked = prime({ phase: 'Bound', annotated: patched(carrier.metadata.annotations, plan.annotations) })
    assert.equal(marked.metadata.annotations?.[annotations.podPhase], 'Failed')
    assert.equal(planImport(seen({ carrier: marked })).pod, 'keep')
  })

  it('tells each failure once: nothing new, no event', () => {
    const carrier = prime({ phase: 'Bound' })
    const pod = importerPod(carrier, { phase: 'Running', state: exited(1, 'no route to host') })
    const plan = planImport(seen({ carrier, pod }))
    assert.equal(plan.events.length, 1)
    const marked = prime({ phase: 'Bound', annotated: patched(carrier.metadata.annotations, plan.annotations) })
    const waiting = importerPod(carrier, {
      phase: 'Running',
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: exited(1, 'no route to host'),
    })
    assert.deepEqual(planImport(seen({ carrier: marked, pod: waiting })).events, [])
    const again = importerPod(carrier, {
      phase: 'Running',
      state: { waiting: { reason: 'CrashLoopBackOff' } },
      lastState: exited(1, 'no route to host'),
      restarts: 1,
    })
    assert.equal(planImport(seen({ carrier: marked, pod: again })).events.length, 1, 'a second failure is told too')
  })

  it('replaces an evicted pod after a while', () => {
    const carrier = prime({ phase: 'Bound' })
    const pod = importerPod(carrier, { phase: 'Failed', reason: 'Evicted', message: 'low on memory' })
    pod.status!.startTime = new Date(now - 1_000).toISOString()
    const soon = planImport(seen({ carrier, pod }))
    assert.equal(soon.pod, 'keep')
    assert.equal(soon.requeueAfterMs, diedPodDelayMs - 1_000)
    pod.status!.startTime = new Date(now - 60_000).toISOString()
    assert.equal(planImport(seen({ carrier, pod })).pod, 'delete')
  })

  it('ends the worker of a claim that is going away, since the claim cannot go before it', () => {
    const carrier = prime({ phase: 'Bound', terminating: true })
    const pod = importerPod(carrier, { phase: 'Running', state: { running: {} } })
    assert.equal(planImport(seen({ carrier, pod })).pod, 'delete')
  })

  it('touches no pod that bears the name but belongs to something else', () => {
    const pod = importerPod(prime({ uid: 'an-earlier-p' }), { phase: 'Running', state: { running: {} } })
    const plan = planImport(seen({ carrier: prime(), pod }))
    assert.equal(plan.pod, 'keep')
    assert.deepEqual(plan.annotations, {})
  })

  it("shows a pending claim's newest event as its Bound condition and forgets it when the claim is bound", () => {
    const pending = planImport(seen({ carrier: directTarget(), newestEvent: 'waiting for first consumer' }))
    assert.equal(pending.annotations[annotations.conditionBound], 'false')
    assert.equal(pending.annotations[annotations.conditionBoundMessage], 'waiting for first consumer')
    const bound = directTarget({
      phase: 'Bound',
      annotated: { [annotations.conditionBound]: 'false', [annotations.conditionBoundMessage]: 'waiting' },
    })
    const plan = planImport(seen({ carrier: bound, newestEvent: 'waiting' }))
    assert.equal(plan.annotations[annotations.conditionBound], null)
    assert.equal(plan.annotations[annotations.conditionBoundMessage], null)
  })

  it("copies the proxy's CA beside the worker, but not for a blank disk", () => {
    const config = cdiConfig({ importProxy: { HTTPSProxy: 'https://proxy', trustedCAProxy: 'proxy-ca' } })
    const carrier = prime({ phase: 'Bound' })
    assert.equal(planImport(seen({ carrier, config, pod: importerPod(carrier) })).copyProxyCa, 'proxy-ca')
    const blank = prime({ phase: 'Bound', annotated: { [annotations.importSource]: 'none' } })
    assert.equal(planImport(seen({ carrier: blank, config, pod: importerPod(blank) })).copyProxyCa, undefined)
  })
})

describe('the worker for an ImageStream, which has no owner', () => {
  const stream = {
    [annotations.importSource]: 'registry',
    [annotations.importEndpoint]: 'fedora',
    [annotations.importRegistryImageStream]: 'true',
    [annotations.importRegistryMethod]: 'node',
  }
  const finalizer = 'cdi.kubevirt.io/importImageStream'
  const others = ['kubernetes.io/pvc-protection']
  const held = [...others, finalizer]

  it('is made for a claim that waits for it to go', () => {
    const plan = planImport(seen({ carrier: prime({ annotated: stream, finalizers: others }) }))
    assert.deepEqual(plan.finalizers, held)
    assert.equal(typeof plan.pod, 'object')
  })

  it('is made for a claim that waits for nothing when it is to be retained', () => {
    const annotated = { ...stream, [annotations.podRetainAfterCompletion]: 'true' }
    assert.equal(planImport(seen({ carrier: prime({ annotated, finalizers: others }) })).finalizers, undefined)
  })

  it('is the only kind that a claim is held for', () => {
    const annotated = { ...stream, [annotations.importRegistryImageStream]: undefined }
    assert.equal(planImport(seen({ carrier: prime({ annotated }) })).finalizers, undefined)
    assert.equal(planImport(seen()).finalizers, undefined)
  })

  it('is known as the worker of its claim and of no later claim of that name', () => {
    const carrier = prime({ annotated: stream, phase: 'Bound', finalizers: held })
    const pod = importerPod(carrier, { unowned: true, phase: 'Running', state: { running: {} } })
    assert.equal(planImport(seen({ carrier, pod })).annotations[annotations.podPhase], 'Running')
    const later = prime({ annotated: stream, uid: 'uid-later' })
    assert.deepEqual(planImport(seen({ carrier: later, pod })).annotations, {})
  })

  it('is deleted before the claim that is going away', () => {
    const carrier = prime({ annotated: stream, phase: 'Bound', finalizers: held, terminating: true })
    const pod = importerPod(carrier, { unowned: true, phase: 'Running', state: { running: {} } })
    const first = planImport(seen({ carrier, pod }))
    assert.equal(first.pod, 'delete')
    assert.equal(first.finalizers, undefined)
    const going = importerPod(carrier, { unowned: true, phase: 'Running', terminating: true })
    const second = planImport(seen({ carrier, pod: going }))
    assert.equal(second.pod, 'keep')
    assert.equal(second.finalizers, undefined, 'it is not gone yet')
    assert.deepEqual(planImport(seen({ carrier })).finalizers, others)
  })

  for (const [how, annotated] of [
    ['done', { [annotations.podPhase]: 'Succeeded' }],
    ['given up', { [annotations.podPhase]: 'Failed', [annotations.fatalError]: 'true' }],
  ] as const) {
    it(`lets its claim go once the import is ${how} and the pod deleted`, () => {
      const carrier = prime({ annotated: { ...stream, ...annotated }, phase: 'Bound', finalizers: held })
      const pod = importerPod(carrier, { unowned: true, phase: 'Running', state: exited(0, completeWords) })
      const first = planImport(seen({ carrier, pod }))
      assert.equal(first.pod, 'delete')
      assert.equal(first.finalizers, undefined)
      assert.deepEqual(planImport(seen({ carrier })).finalizers, others)
      const released = prime({ annotated: { ...stream, ...annotated }, phase: 'Bound', finalizers: others })
      assert.equal(planImport(seen({ carrier: released })).finalizers, undefined)
    })
  }

  it('keeps its claim when it is replaced by one with scratch', () => {
    const annotated = { ...stream, [annotations.requiresScratch]: 'true' }
    const plan = planImport(seen({ carrier: prime({ annotated, phase: 'Bound', finalizers: held }) }))
    assert.deepEqual(plan.pod, { create: 'importer-prime-uid-dv', withScratch: true })
    assert.equal(plan.finalizers, undefined)
  })
})
