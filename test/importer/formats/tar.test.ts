import assert from 'node:assert/strict'
import { buffer } from 'node:stream/consumers'
import { describe, it } from 'node:test'
import * as fc from 'fast-check'
import { pack } from 'tar-stream'
import type { Header } from 'tar-stream'
import { TarReader } from '../../../importer/formats/tar.ts'
import type { TarEntry } from '../../../importer/formats/tar.ts'

type EntryHeader = Partial<Header> & Pick<Header, 'name'>

interface Read {
  readonly entry: TarEntry
  readonly content: Buffer
}

async function readTar(archive: Buffer, pieceBytes: number): Promise<Read[]> {
  const entries: Read[] = []
  const reader = new TarReader({
    entry(entry) {
      const content = Buffer.alloc(entry.sizeBytes)
      entries.push({ entry, content })
      if (entry.type !== 'file') return Promise.resolve(undefined)
      return Promise.resolve({
        write: (offset: number, data: Buffer) => {
          data.copy(content, offset)
          return Promise.resolve()
        },
        end: () => Promise.resolve(),
      })
    },
  })
  for (let at = 0; at < archive.length; at += pieceBytes) await reader.write(archive.subarray(at, at + pieceBytes))
  reader.end()
  return entries
}

async function makeTar(entries: readonly { header: EntryHeader; content?: Buffer }[]): Promise<Buffer> {
  const packing = pack()
  for (const { header, content } of entries) packing.entry(header, content ?? Buffer.alloc(0))
  packing.finalize()
  return buffer(packing)
}

/** A header block with a right checksum. */
function header(fields: { name: string; size: number; type: string; write?: (block: Buffer) => void }): Buffer {
  const block = Buffer.alloc(512)
  block.write(fields.name)
  block.write('0000644', 100)
  block.write(fields.size.toString(8).padStart(11, '0'), 124)
  block.write(fields.type, 156)
  block.write('ustar  ', 257)
  fields.write?.(block)
  block.fill(0x20, 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return block
}

const endMark = Buffer.alloc(1024)
const data = Buffer.alloc(1000, 'data')

describe('tar reader', () => {
  it('reads what tar-stream writes, however the bytes are cut', async () => {
    const name = fc.stringMatching(/^[a-z0-9äßあ]{1,120}(\/[a-z]{1,60}){0,4}$/)
    const entries = fc.array(fc.record({ name, content: fc.uint8Array({ maxLength: 2000 }) }), { maxLength: 8 })
    await fc.assert(
      fc.asyncProperty(entries, fc.integer({ min: 1, max: 3000 }), async (wanted, pieceBytes) => {
        const archive = await makeTar(
          wanted.map(({ name, content }) => ({
            header: { name, mtime: new Date(1_600_000_000_000) },
            content: Buffer.from(content),
          })),
        )
        const found = await readTar(archive, pieceBytes)
        assert.deepEqual(
          found.map(({ entry, content }) => ({
            name: Buffer.from(entry.name, 'latin1').toString(),
            content: content.toString('hex'),
            mtime: entry.mtimeSeconds,
          })),
          wanted.map(({ name, content }) => ({
            name,
            content: Buffer.from(content).toString('hex'),
            mtime: 1_600_000_000,
          })),
        )
      }),
      { numRuns: 60 },
    )
  })

  it('reports an archive that is cut, wherever it is cut before the mark of its end', async () => {
    const archive = await makeTar([
      { header: { name: 'a' }, content: data },
      { header: { name: 'b' }, content: data },
    ])
    const endMarkAt = archive.length - 1024
    await fc.assert(
      fc.asyncProperty(fc.integer({ min: 0, max: endMarkAt }), async (length) => {
        await assert.rejects(readTar(archive.subarray(0, length), 777), { code: 'CDI_ARCHIVE_INVALID' })
      }),
    )
  })

  it('may do without the mark of the end if told so, but not without anything else', async () => {
    const archive = await makeTar([{ header: { name: 'a' }, content: data }, { header: { name: 'x'.repeat(300) } }])
    const endMarkAt = archive.length - 1024
    const read = async (length: number): Promise<void> => {
      const reader = new TarReader({ entry: () => Promise.resolve(undefined) })
      await reader.write(archive.subarray(0, length))
      reader.end({ mark: 'optional' })
    }
    await read(endMarkAt)
    await read(1536)
    for (const length of [0, 100, 600, 1500, 1700, 2048, 2560, endMarkAt - 512, endMarkAt + 1]) {
      await assert.rejects(read(length), { code: 'CDI_ARCHIVE_INVALID' }, `cut at ${length}`)
    }
  })

  it('bounds what headers make it keep', async () => {
    const record = (key: string, value: string): string => {
      const rest = ` ${key}=${value}\n`
      const digits = String(rest.length + String(rest.length).length).length
      return `${rest.length + digits}${rest}`
    }
    const withRecords = (type: string, records: string): Buffer => {
      const bytes = Buffer.from(records)
      return Buffer.concat([
        header({ name: 'x', size: bytes.length, type }),
        bytes,
        Buffer.alloc((512 - (bytes.length % 512)) % 512),
      ])
    }
    const globals = Array.from({ length: 3 }, (_, at) => withRecords('g', record(`key${at}`, 'v'.repeat(400_000))))
    const tiny = withRecords('x', '4 =\n'.repeat(2_000_000))
    const many = withRecords('g', Array.from({ length: 1000 }, (_, at) => record(`key${at}`, '')).join(''))
    for (const archive of [Buffer.concat([...globals, endMark]), Buffer.concat([many, endMark]), tiny]) {
      await assert.rejects(readTar(archive, 65_536), { code: 'CDI_ARCHIVE_INVALID', message: /absurdly l/ })
    }
    await readTar(Buffer.concat([...globals.slice(0, 2), endMark]), 65_536)
  })

  it('says that something else is no tar archive', async () => {
    for (const bytes of [Buffer.alloc(2000, 'some text '), Buffer.from('short'), Buffer.alloc(0)]) {
      await assert.rejects(readTar(bytes, 512), { code: 'CDI_ARCHIVE_INVALID' })
    }
  })

  it('reports a damaged header in the middle', async () => {
    const archive = await makeTar([
      { header: { name: 'a' }, content: data },
      { header: { name: 'b' }, content: data },
    ])
    archive[1536 + 3]! ^= 1
    await assert.rejects(readTar(archive, 512), { code: 'CDI_ARCHIVE_INVALID' })
  })

  it('reads an archive of nothing but its end', async () => {
    assert.deepEqual(await readTar(Buffer.alloc(10_240), 1000), [])
  })

  const badMaps: Record<string, [offset: number, length: number][]> = {
    overlap: [
      [0, 512],
      [100, 488],
    ],
    'go beyond the file': [
      [0, 512],
      [4000, 488],
    ],
    'are not in order': [
      [2048, 512],
      [0, 488],
    ],
    'cover less than is stored': [[0, 512]],
    'cover more than is stored': [
      [0, 512],
      [600, 900],
    ],
  }
  for (const [what, map] of Object.entries(badMaps)) {
    it(`refuses sparse entries whose pieces ${what}`, async () => {
      const octal = (value: number): string => value.toString(8).padStart(11, '0')
      const block = header({
        name: 'sparse',
        size: 1000,
        type: 'S',
        write(bytes) {
          for (const [index, [offset, length]] of map.entries()) {
            bytes.write(octal(offset), 386 + index * 24)
            bytes.write(octal(length), 398 + index * 24)
          }
          bytes.write(octal(4096), 483)
        },
      })
      await assert.rejects(readTar(Buffer.concat([block, data, Buffer.alloc(24), endMark]), 512), {
        code: 'CDI_ARCHIVE_INVALID',
      })
    })
  }

  it('survives whatever bytes come behind a valid header', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom('x', 'g', 'L', 'K', 'S', '0', '5', 'D', 'V'),
        fc.uint8Array({ maxLength: 3000 }),
        async (type, bytes) => {
          const archive = Buffer.concat([header({ name: 'x', size: bytes.length, type }), Buffer.from(bytes)])
          await assert.rejects(readTar(archive, 999), { code: 'CDI_ARCHIVE_INVALID' })
        },
      ),
    )
  })

  it('refuses an extended header that would not fit into memory', async () => {
    const archive = header({ name: 'x', size: 2 ** 32, type: 'x' })
    await assert.rejects(readTar(archive, 512), { code: 'CDI_ARCHIVE_INVALID' })
  })
})
