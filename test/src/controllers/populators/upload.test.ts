import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { annotations } from '../../../../src/api/names.ts'
import type { VolumeUploadSource } from '../../../../src/api/kinds.ts'
import { planPopulation } from '../../../../src/controllers/populators/plan.ts'
import type { PopulationObservation } from '../../../../src/controllers/populators/plan.ts'
import { uploadPopulatorWords, uploadSourceAnnotations } from '../../../../src/controllers/populators/upload.ts'
import { cdiConfig, claim, populatedTarget, storageClass, uploadPrime, volume } from '../fixtures.ts'

function source(spec: VolumeUploadSource['spec'] = {}): VolumeUploadSource {
  return {
    apiVersion: 'cdi.kubevirt.io/v1beta1',
    kind: 'VolumeUploadSource',
    metadata: { name: 'volume-upload-source-uid-dv', namespace: 'vms', uid: 'u', resourceVersion: '1' },
    spec,
  }
}

function seen(facts: Partial<PopulationObservation> = {}): PopulationObservation {
  return {
    target: populatedTarget(),
    sourceAnnotations: uploadSourceAnnotations({ source: source(), target: populatedTarget(), config: cdiConfig() }),
    prime: undefined,
    primeVolume: undefined,
    storageClass: storageClass(),
    targetEvents: [],
    primeEvents: [],
    alreadyTold: new Set(),
    progressPercent: undefined,
    installer: {},
    words: uploadPopulatorWords,
    ...facts,
  }
}

describe('P of an upload', () => {
  it('has the annotations of the recordings', () => {
    const { createPrime, annotations: changes } = planPopulation(seen())
    assert.deepEqual(createPrime?.metadata.annotations, {
      'cdi.kubevirt.io/storage.bind.immediate.requested': '',
      'cdi.kubevirt.io/storage.contentType': 'kubevirt',
      'cdi.kubevirt.io/storage.populator.kind': 'VolumeUploadSource',
      'cdi.kubevirt.io/storage.preallocation.requested': 'false',
      'cdi.kubevirt.io/storage.upload.target': '',
      'linkerd.io/inject': 'disabled',
      'sidecar.istio.io/inject': 'false',
    })
    assert.equal(changes[annotations.populatorPvcPrime], 'prime-uid-dv')
  })

  it('says what source, claim and configuration want', () => {
    const target = claim({ annotated: { [annotations.uploadChecksum]: 'sha256:00' } })
    assert.deepEqual(
      uploadSourceAnnotations({
        source: source({ contentType: 'archive' }),
        target,
        config: cdiConfig({ preallocation: true }),
      }),
      {
        [annotations.uploadTarget]: '',
        [annotations.uploadChecksum]: 'sha256:00',
        [annotations.contentType]: 'archive',
        [annotations.preallocationRequested]: 'true',
      },
    )
    const said = uploadSourceAnnotations({
      source: source({ preallocation: false }),
      target,
      config: cdiConfig({ preallocation: true }),
    })
    assert.equal(said?.[annotations.preallocationRequested], 'false')
  })

  it('is not made without a source', () => {
    const none = uploadSourceAnnotations({ source: undefined, target: claim(), config: undefined })
    assert.equal(none, undefined)
    assert.equal(planPopulation(seen({ sourceAnnotations: none })).createPrime, undefined)
  })

  it('is not marked again when somebody took its mark away', () => {
    const prime = uploadPrime({ phase: 'Bound', annotated: { [annotations.uploadTarget]: undefined } })
    const plan = planPopulation(seen({ prime }))
    assert.equal(plan.createPrime, undefined)
    assert.ok(!(annotations.uploadTarget in plan.annotations), 'nor is the claim')
  })
})

describe('the claim of an upload', () => {
  it('follows readiness, restarts and state of the server, without any progress', () => {
    const annotated = {
      [annotations.podPhase]: 'Running',
      [annotations.podReady]: 'true',
      [annotations.podRestarts]: '1',
      [annotations.conditionRunning]: 'true',
      [annotations.conditionRunningMessage]: '',
      [annotations.conditionRunningReason]: 'Pod is running',
    }
    const prime = uploadPrime({ phase: 'Bound', annotated })
    const { annotations: changes } = planPopulation(seen({ prime, progressPercent: 12 }))
    assert.deepEqual(changes, {
      ...annotated,
      [annotations.populatorPvcPrime]: 'prime-uid-dv',
      [annotations.preallocationRequested]: 'false',
    })
  })

  it('names its P until the server has succeeded, and says so', () => {
    const target = populatedTarget({ annotated: { [annotations.populatorPvcPrime]: 'prime-uid-dv' } })
    const prime = uploadPrime({
      phase: 'Bound',
      spec: { volumeName: 'pv-1' },
      annotated: { [annotations.podPhase]: 'Succeeded', [annotations.podReady]: 'false' },
    })
    const primeVolume = volume({ claimRef: { namespace: 'vms', name: 'prime-uid-dv' } })
    const plan = planPopulation(seen({ target, prime, primeVolume }))
    assert.equal(plan.rebind, primeVolume)
    assert.equal(plan.annotations[annotations.populatorPvcPrime], null)
    assert.equal(plan.annotations[annotations.podPhase], 'Succeeded')
    assert.equal(plan.annotations[annotations.populatorProgress], undefined)
    assert.deepEqual(
      plan.events.map(({ type, reason, message }) => `${type} ${reason}: ${message}`),
      ['Normal UploadSucceeded: Successfully uploaded into dv'],
    )
  })

  it('goes on when the source is gone, since P is there', () => {
    const prime = uploadPrime({ phase: 'Bound', annotated: { [annotations.podPhase]: 'Running' } })
    const plan = planPopulation(seen({ prime, sourceAnnotations: undefined }))
    assert.equal(plan.annotations[annotations.podPhase], 'Running')
    assert.equal(plan.deletePrime, false)
  })
})
