import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { progressLine } from '../../../importer/cli/progress-bar.ts'
import { formatBytes, formatSeconds } from '../../../importer/cli/units.ts'

describe('progress line', () => {
  it('shows percent, bytes, rate and time left', () => {
    const snapshot = { phase: 'transfer', percent: 25, doneBytes: 256 * 1024 ** 2, totalBytes: 1024 ** 3 }
    assert.equal(
      progressLine({ snapshot, elapsedSeconds: 4, columns: 200 }),
      'transfer  [######..................]  25.0 %  256.0 MiB of 1.00 GiB  64.0 MiB/s  0:12 left',
    )
  })

  it('shows bytes alone while the length is unknown', () => {
    assert.equal(
      progressLine({ snapshot: { phase: 'transfer', doneBytes: 512 }, elapsedSeconds: 0, columns: 80 }),
      'transfer  512 B',
    )
  })

  it('fits into the terminal', () => {
    const snapshot = { phase: 'transfer', percent: 99.9, doneBytes: 1e12, totalBytes: 1e12 }
    assert.ok(progressLine({ snapshot, elapsedSeconds: 4, columns: 40 }).length < 40)
  })
})

describe('units', () => {
  it('are those of people', () => {
    assert.deepEqual([0, 1023, 1536, 10 * 1024 ** 3].map(formatBytes), ['0 B', '1023 B', '1.50 KiB', '10.0 GiB'])
    assert.deepEqual([5, 65, 3725].map(formatSeconds), ['0:05', '1:05', '1:02:05'])
  })
})
