import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { detectEncoding, detectFormat, isTar, isVhdFooter } from '../../../importer/formats/detect.ts'

const at = (offset: number, bytes: string | number[]): Buffer => {
  const magic = typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : Buffer.from(bytes)
  return Buffer.concat([Buffer.alloc(offset), magic, Buffer.alloc(600)])
}

describe('encodings', () => {
  it('are told by their magic', () => {
    assert.equal(detectEncoding(at(0, [0x1f, 0x8b])), 'gzip')
    assert.equal(detectEncoding(at(0, [0x28, 0xb5, 0x2f, 0xfd])), 'zstd')
    assert.equal(detectEncoding(at(0, '\xfd7zXZ\0')), 'xz')
  })

  it('are told from a handful of bytes', () => {
    assert.equal(detectEncoding(Buffer.from([0x1f, 0x8b, 8])), 'gzip')
    assert.equal(detectEncoding(Buffer.alloc(0)), undefined)
  })

  it('see zstd behind skippable frames, also when those reach beyond the head', () => {
    const skippable = [0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2]
    assert.equal(detectEncoding(Buffer.from([...skippable, ...skippable, 0x28, 0xb5, 0x2f, 0xfd])), 'zstd')
    assert.equal(detectEncoding(Buffer.from([0x50, 0x2a, 0x4d, 0x18, 0, 0, 1, 0, 9, 9])), 'zstd')
    assert.equal(detectEncoding(Buffer.from([...skippable, 1, 2, 3, 4, 5])), undefined)
  })

  it('find nothing in disks, isos and archives', () => {
    for (const head of [Buffer.alloc(4096), at(0x101, 'ustar'), at(0, 'LUKS\xba\xbe'), at(0, 'QFI\xfb')]) {
      assert.equal(detectEncoding(head), undefined)
    }
  })

  for (const [packing, magic] of [
    ['bzip2', 'BZh91AY&SY'],
    ['lz4', '\x04\x22\x4d\x18'],
    ['7z', '7z\xbc\xaf\x27\x1c'],
    ['zip', 'PK\x03\x04'],
    ['rar', 'Rar!\x1a\x07'],
  ] as const) {
    it(`refuse ${packing} by its name instead of writing it as a disk`, () => {
      assert.throws(() => detectEncoding(at(0, magic)), {
        code: 'CDI_ENCODING_UNSUPPORTED',
        message: new RegExp(packing),
      })
    })
  }

  it('take text that begins like bzip2 for what it is', () => {
    assert.equal(detectEncoding(Buffer.from('BZh1 is how this text begins')), undefined)
  })
})

describe('disk formats', () => {
  it('are told by their magic', () => {
    assert.equal(detectFormat(at(0, 'QFI\xfb')), 'qcow2')
    assert.equal(detectFormat(at(0, 'KDMV')), 'vmdk')
    assert.equal(detectFormat(at(0x40, [0x7f, 0x10, 0xda, 0xbe])), 'vdi')
    assert.equal(detectFormat(at(0, 'conectix')), 'vhd')
    assert.equal(detectFormat(at(0, 'vhdxfile')), 'vhdx')
  })

  it('are raw for everything else: isos, encrypted disks, archives, and nothing at all', () => {
    for (const head of [
      at(0x8001, 'CD001'),
      at(0, 'LUKS\xba\xbe'),
      at(0x101, 'ustar'),
      Buffer.from('x'),
      Buffer.alloc(0),
    ]) {
      assert.equal(detectFormat(head), 'raw')
    }
  })

  it('refuse the text file of a split vmdk, and say which file to import', () => {
    assert.throws(() => detectFormat(Buffer.from('# Disk DescriptorFile\nversion=1\n')), {
      code: 'CDI_FORMAT_UNSUPPORTED',
      message: /flat/,
    })
  })
})

describe('the footer of a fixed VHD', () => {
  const footer = (): Buffer => {
    const bytes = Buffer.alloc(512)
    bytes.write('conectix')
    bytes.writeUInt32BE(0x10000, 0x0c)
    bytes.writeUInt32BE(2, 0x3c)
    const sum = bytes.reduce((total, byte) => total + byte, 0)
    bytes.writeUInt32BE(~sum >>> 0, 0x40)
    return bytes
  }

  it('is known by cookie, version, type and checksum', () => {
    assert.equal(isVhdFooter(footer()), true)
  })

  it('is no footer when anything of that is wrong', () => {
    for (const change of [0, 0x0d, 0x3f, 0x41, 511]) {
      const damaged = footer()
      damaged[change]! ^= 1
      assert.equal(isVhdFooter(damaged), false)
    }
    assert.equal(isVhdFooter(footer().subarray(1)), false)
    assert.equal(isVhdFooter(Buffer.alloc(512)), false)
  })
})

describe('tar', () => {
  it('is told by ustar at 0x101', () => {
    assert.equal(isTar(at(0x101, 'ustar')), true)
    assert.equal(isTar(Buffer.alloc(512)), false)
    assert.equal(isTar(Buffer.from('ustar')), false)
  })

  it('is told by the checksum of its header where no magic is', () => {
    const header = Buffer.alloc(512)
    header.write('file')
    header.write('0000644', 100)
    header.fill(0x20, 148, 156)
    const sum = header.reduce((total, byte) => total + byte, 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    assert.equal(isTar(header), true)
    header[0]! ^= 1
    assert.equal(isTar(header), false)
  })
})
