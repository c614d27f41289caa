import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import { importPopulatorWords, importSourceAnnotations } from '../../../../src/controllers/populators/import.ts'
import { percentText, planPopulation } from '../../../../src/controllers/populators/plan.ts'
import type { PopulationObservation } from '../../../../src/controllers/populators/plan.ts'
import { patched } from '../../../../src/controllers/shared/annotated.ts'
import { cdiConfig, claim, eventOf, populatedTarget, prime, storageClass, volume } from '../fixtures.ts'

const sourceAnnotations = {
  [annotations.importSource]: 'http',
  [annotations.importEndpoint]: 'http://images.example/disk.qcow2',
  [annotations.contentType]: 'kubevirt',
  [annotations.preallocationRequested]: 'false',
}

function seen(facts: Partial<PopulationObservation> = {}): PopulationObservation {
  return {
    target: populatedTarget(),
    sourceAnnotations,
    prime: undefined,
    primeVolume: undefined,
    storageClass: storageClass(),
    targetEvents: [],
    primeEvents: [],
    alreadyTold: new Set(),
    progressPercent: undefined,
    installer: {},
    words: importPopulatorWords,
    ...facts,
  }
}

describe('P', () => {
  it('has the shape of the recordings', () => {
    const { createPrime, annotations: changes, events } = planPopulation(seen())
    assert.deepEqual(createPrime?.metadata, {
      name: 'prime-uid-dv',
      namespace: 'vms',
      annotations: {
        'cdi.kubevirt.io/storage.bind.immediate.requested': '',
        'cdi.kubevirt.io/storage.contentType': 'kubevirt',
        'cdi.kubevirt.io/storage.import.endpoint': 'http://images.example/disk.qcow2',
        'cdi.kubevirt.io/storage.import.source': 'http',
        'cdi.kubevirt.io/storage.populator.kind': 'VolumeImportSource',
        'cdi.kubevirt.io/storage.preallocation.requested': 'false',
        'linkerd.io/inject': 'disabled',
        'sidecar.istio.io/inject': 'false',
      },
      labels: {
        app: 'containerized-data-importer',
        'app.kubernetes.io/component': 'storage',
        'app.kubernetes.io/managed-by': 'cdi-controller',
        'velero.io/exclude-from-backup': 'true',
      },
      ownerReferences: [
        {
          apiVersion: 'v1',
          kind: 'PersistentVolumeClaim',
          name: 'dv',
          uid: 'uid-dv',
          controller: true,
          blockOwnerDeletion: true,
        },
      ],
    })
    assert.deepEqual(createPrime?.spec, {
      accessModes: ['ReadWriteOnce'],
      resources: { requests: { storage: '71135396' } },
      storageClassName: 'csi',
      volumeMode: 'Filesystem',
    })
    assert.equal(changes[annotations.populatorPvcPrime], 'prime-uid-dv')
    assert.deepEqual(
      events.map(({ reason }) => reason),
      ['CreatedPVCPrimeSuccessfully'],
    )
  })

  it("follows the node of T's consumer, keeps what is to be retained and runs as T's pods do", () => {
    const { createPrime } = planPopulation(
      seen({
        storageClass: storageClass({ wffc: true }),
        target: populatedTarget({
          annotated: {
            'volume.kubernetes.io/selected-node': 'node01',
            [annotations.podRetainAfterCompletion]: 'true',
            [annotations.podPriorityClassName]: 'high',
            'sidecar.istio.io/inject': 'true',
            'example.com/other': 'x',
          },
          spec: { volumeName: '', selector: { matchLabels: { a: 'b' } } },
        }),
      }),
    )
    const written = createPrime?.metadata.annotations ?? {}
    assert.equal(written['volume.kubernetes.io/selected-node'], 'node01')
    assert.equal(written[annotations.podRetainAfterCompletion], 'true')
    assert.equal(written[annotations.podPriorityClassName], 'high')
    assert.equal(written['sidecar.istio.io/inject'], 'true')
    assert.equal(written['example.com/other'], undefined)
    assert.equal(createPrime?.spec?.selector, undefined, 'volumes that T selects are not for P')
  })

  const waits: [string, Partial<PopulationObservation>][] = [
    ['there is no source resource', { sourceAnnotations: undefined }],
    ['the storage class does not exist', { storageClass: undefined }],
    ['the claim has no class yet', { target: populatedTarget({ spec: { storageClassName: undefined } }) }],
    [
      'an in-tree provisioner serves the class',
      { storageClass: storageClass({ provisioner: 'kubernetes.io/aws-ebs' }) },
    ],
    ['no consumer of a WaitForFirstConsumer class was scheduled', { storageClass: storageClass({ wffc: true }) }],
    ['the claim is bound already', { target: populatedTarget({ phase: 'Bound' }) }],
    ['the claim is going away', { target: populatedTarget({ terminating: true }) }],
    [
      'the volume was handed over already but is not bound yet',
      { target: populatedTarget({ annotated: { [annotations.podPhase]: 'Succeeded' } }) },
    ],
  ]
  for (const [name, facts] of waits) {
    it(`is not made while ${name}`, () => {
      const plan = planPopulation(seen(facts))
      assert.equal(plan.createPrime, undefined)
      assert.equal(plan.error, undefined)
    })
  }

  it('is made at once on a WaitForFirstConsumer class when immediate binding is asked for, whatever the value', () => {
    const target = populatedTarget({ annotated: { [annotations.bindImmediate]: 'no matter' } })
    assert.ok(planPopulation(seen({ target, storageClass: storageClass({ wffc: true }) })).createPrime)
  })

  it('is made for an in-tree class that was migrated to CSI', () => {
    const target = populatedTarget({ annotated: { 'pv.kubernetes.io/migrated-to': 'ebs.csi.aws.com' } })
    assert.ok(
      planPopulation(seen({ target, storageClass: storageClass({ provisioner: 'kubernetes.io/aws-ebs' }) }))
        .createPrime,
    )
  })

  it('is an error for a claim that wants no class at all', () => {
    assert.match(
      planPopulation(seen({ target: populatedTarget({ spec: { storageClassName: '' } }) })).error ?? '',
      /no storage class/,
    )
  })

  it('is an error when a claim of that name belongs to something else', () => {
    assert.match(planPopulation(seen({ prime: prime({ owner: claim({ uid: 'other' }) }) })).error ?? '', /not owned/)
  })
})

describe('T', () => {
  const running = {
    [annotations.podPhase]: 'Running',
    [annotations.podRestarts]: '2',
    [annotations.podSchedulable]: 'true',
    [annotations.conditionRunning]: 'true',
    [annotations.conditionRunningMessage]: '',
    [annotations.conditionRunningReason]: 'Pod is running',
  }

  it('mirrors P and loses what P does not have', () => {
    const target = populatedTarget({
      annotated: { [annotations.podRestarts]: '0', [annotations.podReady]: 'true', [annotations.fatalError]: 'true' },
    })
    const { annotations: changes } = planPopulation(seen({ target, prime: prime({ annotated: running }) }))
    const after = patched(target.metadata.annotations, changes)
    for (const [key, value] of Object.entries(running)) assert.equal(after[key], value, key)
    assert.equal(after[annotations.podReady], undefined)
    assert.equal(after[annotations.fatalError], undefined)
    assert.equal(after[annotations.importPodName], undefined)
    assert.equal(after[annotations.importEndpoint], undefined)
  })

  it('shows progress with two decimals and keeps 100 % for the end', () => {
    assert.equal(percentText(12.3), '12.30%')
    assert.equal(percentText(99.999), undefined)
    assert.equal(percentText(100), undefined)
    assert.equal(percentText(undefined), undefined)
    const target = populatedTarget()
    const { annotations: changes } = planPopulation(
      seen({ target, prime: prime({ annotated: running }), progressPercent: 41.237 }),
    )
    assert.equal(changes[annotations.populatorProgress], '41.24%')
  })

  it("shows P's newest event as its Bound condition, the longer one of two of the same second", () => {
    const plan = planPopulation(
      seen({
        prime: prime(),
        primeEvents: [
          eventOf({ message: 'old, but very, very long' }),
          eventOf({ message: 'new', at: '2026-01-01T00:00:05Z' }),
          eventOf({ message: 'new and longer', at: '2026-01-01T00:00:05Z' }),
          eventOf({ message: 'bound incorrectly', reason: 'ClaimMisbound', at: '2026-01-01T00:00:09Z' }),
        ],
      }),
    )
    assert.equal(plan.annotations[annotations.conditionBound], 'false')
    assert.equal(plan.annotations[annotations.conditionBoundReason], 'Pending')
    assert.equal(plan.annotations[annotations.conditionBoundMessage], 'new and longer')
  })

  const created = eventOf({ reason: 'CreatedPVCPrimeSuccessfully', message: 'PVC Prime created successfully' })

  it('says that P was made, if whoever made it was killed before it could', () => {
    const reasonsOf = (observed: Parameters<typeof seen>[0]): string[] =>
      planPopulation(seen({ prime: prime(), ...observed })).events.map(({ reason }) => reason)
    assert.deepEqual(reasonsOf({}), ['CreatedPVCPrimeSuccessfully'])
    assert.deepEqual(reasonsOf({ targetEvents: [created] }), [])
    const toldHere = new Set(['CreatedPVCPrimeSuccessfully\nPVC Prime created successfully'])
    assert.deepEqual(reasonsOf({ alreadyTold: toldHere }), [])
    // Events are not kept for ever: what is long under way is not told as new.
    const running = prime({ annotated: { [annotations.podPhase]: 'Running' } })
    assert.deepEqual(reasonsOf({ prime: running }), [])
  })

  it("tells P's events once each, oldest first, but not that P lost its volume", () => {
    const plan = planPopulation(
      seen({
        prime: prime(),
        targetEvents: [created, eventOf({ message: '[prime-uid-dv] : told before', reason: 'A' })],
        alreadyTold: new Set(['B\n[prime-uid-dv] : told a moment ago']),
        primeEvents: [
          eventOf({ message: 'second', reason: 'D', type: 'Warning', at: '2026-01-01T00:00:02Z' }),
          eventOf({ message: 'first', reason: 'C', at: '2026-01-01T00:00:01Z' }),
          eventOf({ message: 'told before', reason: 'A' }),
          eventOf({ message: 'told a moment ago', reason: 'B' }),
          eventOf({ message: 'incorrectly', reason: 'ClaimMisbound' }),
        ],
      }),
    )
    assert.deepEqual(plan.events, [
      { type: 'Normal', reason: 'C', message: '[prime-uid-dv] : first' },
      { type: 'Warning', reason: 'D', message: '[prime-uid-dv] : second' },
    ])
  })

  it('says that an import failed, once', () => {
    const failed = prime({ annotated: { [annotations.podPhase]: 'Failed' } })
    assert.deepEqual(planPopulation(seen({ prime: failed })).events, [
      { type: 'Warning', reason: 'importFailed', message: 'import into dv failed' },
    ])
    const told = populatedTarget({ annotated: { [annotations.podPhase]: 'Failed' } })
    assert.deepEqual(planPopulation(seen({ target: told, prime: failed })).events, [])
  })
})

describe('the volume', () => {
  const done = prime({
    phase: 'Bound',
    annotated: { [annotations.podPhase]: 'Succeeded' },
    labels: {
      app: 'containerized-data-importer',
      'instancetype.kubevirt.io/default-preference': 'fedora',
      'example.com/a': 'b',
    },
    spec: { volumeName: 'pv-1' },
  })
  const claimRef = { namespace: 'vms', name: 'prime-uid-dv', uid: 'uid-prime' }

  it("goes from P to T when P's pod has succeeded, and T says so with KubeVirt's labels in one write", () => {
    const primeVolume = volume({ claimRef })
    const plan = planPopulation(seen({ prime: done, primeVolume }))
    assert.equal(plan.rebind, primeVolume)
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.equal(plan.annotations[annotations.populatorProgress], '100.0%')
    assert.deepEqual(plan.labels, { 'instancetype.kubevirt.io/default-preference': 'fedora' })
    assert.deepEqual(plan.events, [
      { type: 'Normal', reason: 'importSucceeded', message: 'Successfully imported into dv' },
    ])
    assert.equal(plan.deletePrime, false, 'P goes only when T has the volume')
  })

  it('is not handed over twice', () => {
    const plan = planPopulation(
      seen({ prime: done, primeVolume: volume({ claimRef: { namespace: 'vms', name: 'dv' } }) }),
    )
    assert.equal(plan.rebind, undefined)
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
  })

  it('goes to T although the source was deleted after P had been made', () => {
    const primeVolume = volume({ claimRef })
    const plan = planPopulation(seen({ prime: done, primeVolume, sourceAnnotations: undefined }))
    assert.equal(plan.rebind, primeVolume)
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
  })

  it('that went to somebody else is an error, and T does not call itself filled', () => {
    const plan = planPopulation(
      seen({ prime: done, primeVolume: volume({ claimRef: { namespace: 'x', name: 'thief' } }) }),
    )
    assert.equal(plan.error, 'PV pv-1 bound to unexpected claim x/thief')
    assert.deepEqual(plan.annotations, {})
  })

  it('that is not seen yet is waited for', () => {
    const plan = planPopulation(seen({ prime: done }))
    assert.deepEqual(plan.annotations, {})
    assert.ok(plan.requeueAfterMs)
  })

  it('is never overwritten: labels that T has stay', () => {
    const target = populatedTarget({ labels: { 'instancetype.kubevirt.io/default-preference': 'mine' } })
    assert.deepEqual(planPopulation(seen({ target, prime: done, primeVolume: volume({ claimRef }) })).labels, {})
  })

  const bound = { phase: 'Bound', spec: { volumeName: 'pv-1' } }
  it('leaves P behind, which goes then', () => {
    assert.equal(planPopulation(seen({ target: populatedTarget(bound), prime: done })).deletePrime, true)
  })

  it('leaves P behind for debugging when it is to be retained, and says so once', () => {
    const target = populatedTarget({ ...bound, annotated: { [annotations.podRetainAfterCompletion]: 'true' } })
    const lost = { ...done, status: { phase: 'Lost' } }
    const plan = planPopulation(seen({ target, prime: lost }))
    assert.equal(plan.deletePrime, false)
    assert.deepEqual(
      plan.primeEvents.map(({ reason }) => reason),
      ['RetainedPVCPrime'],
    )
    const told = planPopulation(
      seen({ target, prime: lost, primeEvents: [eventOf({ reason: 'RetainedPVCPrime', message: 'x' })] }),
    )
    assert.deepEqual(told.primeEvents, [])
  })

  it('of a claim that was bound to another one goes, and T is told nothing of it', () => {
    const target = populatedTarget({ phase: 'Bound', spec: { volumeName: 'pv-static' } })
    const plan = planPopulation(seen({ target, prime: done }))
    assert.equal(plan.deletePrime, true)
    assert.deepEqual(plan.annotations, {})
  })

  it('that has vanished is an error, not waited for', () => {
    const plan = planPopulation(seen({ prime: { ...done, status: { phase: 'Lost' } } }))
    assert.equal(plan.error, `PVC ${done.metadata.name} lost`)
    assert.equal(plan.requeueAfterMs, undefined)
    assert.deepEqual(plan.annotations, {})
  })
})

describe('the source of an import', () => {
  const source = {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeImportSource',
    metadata: { name: 's', namespace: 'vms', uid: 'u', resourceVersion: '1' },
    spec: {
      source: {
        http: { url: 'https://x/y', extraHeaders: ['A: 1', 'B: 2'], secretRef: 's', insecureSkipVerify: true },
      },
    },
  }

  it('is written on P with all its fields', () => {
    assert.deepEqual(importSourceAnnotations({ source, target: claim(), config: cdiConfig({ preallocation: true }) }), {
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.import.endpoint': 'https://x/y',
      'cdi.kubevirt.io/storage.import.extraHeaders.0': 'A: 1',
      'cdi.kubevirt.io/storage.import.extraHeaders.1': 'B: 2',
      'cdi.kubevirt.io/storage.import.insecureSkipVerify': 'true',
      'cdi.kubevirt.io/storage.import.secretName': 's',
      'cdi.kubevirt.io/storage.import.source': 'http',
      'cdi.kubevirt.io/storage.preallocation.requested': 'true',
    })
  })

  it('is written on P for registries and object stores too', () => {
    for (const [given, endpoint] of [
      [{ registry: { url: 'docker://x/y', pullMethod: 'node' } }, 'docker://x/y'],
      [{ registry: { imageStream: 'fedora', pullMethod: 'node' } }, 'fedora'],
      [{ s3: { url: 'https://x/b/y' } }, 'https://x/b/y'],
      [{ gcs: { url: 'gs://b/y' } }, 'gs://b/y'],
    ] as const) {
      const other = { ...source, spec: { source: given } }
      const written = importSourceAnnotations({ source: other, target: claim(), config: undefined })
      assert.equal(written?.[annotations.importEndpoint], endpoint)
    }
  })

  it('takes the checksum that stands on T, unless it has one itself', () => {
    const target = claim({ annotated: { [annotations.importChecksum]: 'md5:of-t' } })
    const checksumOf = (given: object): string | undefined =>
      importSourceAnnotations({ source: { ...source, spec: { source: given } }, target, config: undefined })?.[
        annotations.importChecksum
      ]
    assert.equal(checksumOf({ s3: { url: 'https://x/b/y' } }), 'md5:of-t')
    assert.equal(checksumOf({ http: { url: 'https://x/y' } }), 'md5:of-t')
    assert.equal(checksumOf({ http: { url: 'https://x/y', checksum: 'md5:own' } }), 'md5:own')
  })

  it('is not for a claim other than the one it names', () => {
    const named = { ...source, spec: { ...source.spec, targetClaim: 'other' } }
    assert.equal(importSourceAnnotations({ source: named, target: claim(), config: undefined }), undefined)
    assert.ok(importSourceAnnotations({ source: named, target: claim({ name: 'other' }), config: undefined }))
  })

  it('may be empty: a blank disk has a source but no endpoint', () => {
    const blank = { ...source, spec: { source: { blank: {} } } }
    const written = importSourceAnnotations({ source: blank, target: claim(), config: undefined })
    assert.equal(written?.[annotations.importSource], 'none')
    assert.equal(written[annotations.importEndpoint], undefined)
  })
})
