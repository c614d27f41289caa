import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { planImport } from '../../importer/plan.ts'
import type { PlanInput, Route } from '../../importer/plan.ts'

const ranged = { kind: 'ranged', pinned: true } as const
const unpinned = { kind: 'ranged', pinned: false } as const
const forward = { kind: 'forward', pinned: false } as const

const tables = { kind: 'qcow2', version: 3, l1Offset: 196_608, l1Entries: 1, clusterBits: 16 } as const
const onePass = {
  ...tables,
  extendedL2: false,
  coding: 'deflate',
  referenceTableOffset: 65_536,
  referenceTableBytes: 65_536,
} as const
const inOnePass = { format: 'qcow2', tables, onePass } as const

const cases: [string, Partial<PlanInput>, Route, boolean][] = [
  ['a raw disk by ranges is copied in parallel', {}, 'copyRanges', false],
  ['a raw disk by ranges with a weak validator is read as one stream', { source: unpinned }, 'copyStream', false],
  ['a raw disk from a forward source is streamed', { source: forward }, 'copyStream', false],
  ['a compressed raw disk is streamed', { encodings: ['xz'] }, 'copyStream', false],
  ['qcow2 by ranges needs no scratch', { format: 'qcow2' }, 'convertRanges', false],
  ['qcow2 by ranges whose tables we read is copied', { format: 'qcow2', tables }, 'copyExtents', false],
  ['qcow2 that only qemu reads is converted', { format: 'qcow2', tables: 'it has bitmaps' }, 'convertRanges', false],
  ['qcow2 with a checksum is read in order', { format: 'qcow2', tables, checksum: true }, 'convertRanges', false],
  [
    'qcow2 with a weak validator is left to qemu',
    { format: 'qcow2', tables, source: unpinned },
    'convertRanges',
    false,
  ],
  ['qcow2 in a packing is converted while it streams by', { ...inOnePass, encodings: ['xz'] }, 'convertStream', false],
  ['qcow2 from a forward source is converted on its way', { ...inOnePass, source: forward }, 'convertStream', false],
  [
    'qcow2 in a packing is converted on its way with a checksum and with a weak validator too',
    { ...inOnePass, source: unpinned, encodings: ['gzip'], checksum: true },
    'convertStream',
    false,
  ],
  ['qcow2 by ranges is no matter for one pass', inOnePass, 'copyExtents', false],
  ['qcow2 by ranges with a weak validator is none either', { ...inOnePass, source: unpinned }, 'convertRanges', false],
  [
    'qcow2 in a packing that does not go in one pass is staged',
    { ...inOnePass, onePass: 'it has internal snapshots', encodings: ['xz'] },
    'convertStaged',
    true,
  ],
  [
    'vmdk by ranges with a weak validator needs no scratch',
    { format: 'vmdk', source: unpinned },
    'convertRanges',
    false,
  ],
  [
    'compressed qcow2 whose headers were not seen is staged',
    { format: 'qcow2', encodings: ['gzip'] },
    'convertStaged',
    true,
  ],
  [
    'qcow2 from a forward source whose headers were not seen is staged',
    { format: 'qcow2', source: forward },
    'convertStaged',
    true,
  ],
  [
    'an archive is unpacked, whatever is inside',
    { contentType: 'archive', encodings: ['zstd'] },
    'unpackArchive',
    false,
  ],
]

describe('route plan', () => {
  for (const [name, input, route, needsScratch] of cases) {
    it(name, () => {
      const plan = planImport({ contentType: 'kubevirt', source: ranged, encodings: [], format: 'raw', ...input })
      assert.deepEqual([plan.route, plan.needsScratch], [route, needsScratch])
      assert.notEqual(plan.why, '')
    })
  }

  it('says why an image is staged', () => {
    const input = { contentType: 'kubevirt', source: forward, encodings: [], format: 'qcow2' } as const
    const why = (onePass?: string): string =>
      planImport({ ...input, ...(onePass === undefined ? {} : { onePass }) }).why
    assert.match(why('it has internal snapshots'), /staged before it is converted, because it has internal snapshots$/)
    assert.match(why(), /because its headers are not all among the first bytes$/)
  })

  it('says why an image is left to qemu-img', () => {
    const input = { contentType: 'kubevirt', source: ranged, encodings: [], format: 'qcow2' } as const
    assert.match(planImport({ ...input, tables: 'it has bitmaps' }).why, /by qemu-img because it has bitmaps$/)
    assert.match(planImport({ ...input, tables, checksum: true }).why, /because the checksum takes all bytes in order$/)
    assert.match(planImport({ ...input, tables, source: unpinned }).why, /because its validator may hide a change$/)
  })
})
