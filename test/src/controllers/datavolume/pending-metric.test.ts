import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { DataVolume } from '../../../../src/api/kinds.ts'
import { showPending } from '../../../../src/controllers/datavolume/pending-metric.ts'
import { createRegistry } from '../../../../src/metrics.ts'
import { dataVolume } from '../fixtures.ts'

const size = { resources: { requests: { storage: '1Gi' } } }
const classless = (phase?: string): DataVolume =>
  dataVolume({ spec: { storage: size }, ...(phase === undefined ? {} : { status: { phase } }) })

async function shown(dataVolumes: readonly DataVolume[]): Promise<string> {
  const metrics = createRegistry()
  showPending(metrics, { list: () => dataVolumes })
  return (await metrics.metrics())
    .split('\n')
    .filter((line) => line.startsWith('kubevirt'))
    .join()
}

describe('the metric of pending DataVolumes', () => {
  it('is there from the start', async () => {
    assert.equal(await shown([]), 'kubevirt_cdi_datavolume_pending 0')
  })

  it('counts what names no class and has not begun', async () => {
    const named = dataVolume({ spec: { storage: { ...size, storageClassName: 'csi' } } })
    const pvc = dataVolume({ spec: { storage: undefined, pvc: { ...size, accessModes: ['ReadWriteOnce'] } } })
    const all = [classless(), classless('Pending'), classless('ImportInProgress'), classless('Succeeded'), named, pvc]
    assert.equal(await shown(all), 'kubevirt_cdi_datavolume_pending 3')
  })
})
