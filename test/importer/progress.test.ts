import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { progressRegistry } from '../../importer/metrics-server.ts'
import { Progress } from '../../importer/progress.ts'

describe('progress', () => {
  it('never goes back and never exceeds 100', () => {
    const progress = new Progress()
    progress.enter('transfer', 100)
    progress.bytes(30)
    progress.percent(20)
    assert.equal(progress.snapshot().percent, 30)
    progress.bytes(200)
    assert.equal(progress.snapshot().percent, 100)
  })

  it('has no percentage while the length is unknown', () => {
    const progress = new Progress()
    progress.bytes(5)
    assert.deepEqual(progress.snapshot(), { phase: 'connect', doneBytes: 5 })
  })

  it('is a metric that the controller can read, without exponents', async () => {
    const progress = new Progress()
    const registry = progressRegistry({ progress, ownerUid: 'uid-1' })
    assert.doesNotMatch(await registry.metrics(), /uid-1/)
    progress.percent(0.00001)
    assert.match(await registry.metrics(), /^kubevirt_cdi_import_progress_total\{ownerUID="uid-1"\} 0$/m)
    progress.percent(12.345678)
    assert.match(await registry.metrics(), /^kubevirt_cdi_import_progress_total\{ownerUID="uid-1"\} 12\.3456$/m)
  })
})
