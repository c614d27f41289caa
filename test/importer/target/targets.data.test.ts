import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { CdiError } from '../../../src/errors.ts'
import type { ErrorCode } from '../../../src/errors.ts'
import { silentLog } from '../../../src/log.ts'
import { createBlank } from '../../../importer/routes/create-blank.ts'
import { growFile } from '../../../importer/routes/resize.ts'
import { openTarget } from '../../../importer/target/open-target.ts'
import { conformTarget } from '../../conformance/target.ts'
import { contentOf, hasProgram, loopDevice, noRoot, smallFilesystem } from '../../fixtures/loop.ts'
import type { LoopDevice, SmallFilesystem } from '../../fixtures/loop.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const mebibyte = 1024 * 1024
const log = silentLog()
const signal = new AbortController().signal

function withCode(code: ErrorCode, text: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof CdiError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, text)
    return true
  }
}

async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512
}

for (const type of ['ext4', 'xfs'] as const) {
  const skip = noRoot || ((await hasProgram(`mkfs.${type}`)) ? false : `mkfs.${type} is not installed`)
  describe(`file on ${type}`, { skip }, () => {
    let filesystem: SmallFilesystem
    before(async () => {
      filesystem = await smallFilesystem({ type, sizeBytes: 400 * mebibyte })
    })
    after(() => filesystem[Symbol.asyncDispose]())
    conformTarget({ path: () => join(filesystem.directory, 'disk.img') })
  })
}

for (const dirty of [false, true]) {
  describe(`block device ${dirty ? 'full of old bytes' : 'that is new'}`, { skip: noRoot }, () => {
    let device: LoopDevice
    before(async () => {
      device = await loopDevice({ sizeBytes: 8 * mebibyte, dirty })
    })
    after(() => device[Symbol.asyncDispose]())
    conformTarget({ path: () => device.path })
  })
}

describe('block device', { skip: noRoot }, () => {
  for (const preallocate of [false, true]) {
    it(`full of old bytes reads exactly as the image afterwards, preallocate ${preallocate}`, async () => {
      await using device = await loopDevice({ sizeBytes: 32 * mebibyte, dirty: true })
      const image = Buffer.alloc(20 * mebibyte + 512)
      image.fill(1, 3 * mebibyte + 17, 5 * mebibyte)
      image.fill(2, image.length - 100)
      {
        await using target = await openTarget({ path: device.path, preallocate, log })
        assert.equal(target.capacityBytes, 32 * mebibyte)
        await target.begin(image.length, signal, 'ours')
        for (let at = 0; at < image.length; at += 300_000) await target.write(at, [image.subarray(at, at + 300_000)])
        await target.finish(signal)
      }
      const whole = await contentOf(device.path, 32 * mebibyte)
      assert.ok(whole.subarray(0, image.length).equals(image))
      assert.ok(whole.subarray(image.length).equals(Buffer.alloc(whole.length - image.length, 0x5a)), 'beyond the disk')
    })
  }

  it('is backed by storage as a whole when preallocated, and gives back what is zero when not', async () => {
    await using device = await loopDevice({ sizeBytes: 16 * mebibyte })
    for (const preallocate of [true, false]) {
      await using target = await openTarget({ path: device.path, preallocate, log })
      await target.begin(16 * mebibyte, signal, 'ours')
      await target.finish(signal)
      const allocated = await allocatedBytes(device.backingFile)
      assert.ok(preallocate ? allocated >= 16 * mebibyte : allocated < mebibyte, `${allocated}`)
    }
  })

  it('that is to be blank is not touched', async () => {
    await using device = await loopDevice({ sizeBytes: 4 * mebibyte, dirty: true })
    await using target = await openTarget({ path: device.path, preallocate: false, log })
    await createBlank({ target, diskSizeBytes: 4 * mebibyte, signal, log })
    await target.finish(signal)
    assert.ok((await contentOf(device.path, 4 * mebibyte)).equals(Buffer.alloc(4 * mebibyte, 0x5a)))
  })

  it('that is to be blank and preallocated is zeros', async () => {
    await using device = await loopDevice({ sizeBytes: 4 * mebibyte, dirty: true })
    await using target = await openTarget({ path: device.path, preallocate: true, log })
    await createBlank({ target, diskSizeBytes: 3 * mebibyte, signal, log })
    await target.finish(signal)
    const whole = await contentOf(device.path, 4 * mebibyte)
    assert.ok(whole.subarray(0, 3 * mebibyte).equals(Buffer.alloc(3 * mebibyte)))
    assert.ok(whole.subarray(3 * mebibyte).equals(Buffer.alloc(mebibyte, 0x5a)))
  })

  it('keeps its bytes when the transfer is given up', async () => {
    await using device = await loopDevice({ sizeBytes: 4 * mebibyte })
    await using target = await openTarget({ path: device.path, preallocate: false, log })
    await target.begin(mebibyte, signal, 'ours')
    await target.discard()
    assert.ok((await stat(device.path)).isBlockDevice())
  })
})

describe('file', () => {
  it('is sparse, as long as its disk, readable by owner and group only', async () => {
    await using dir = await tempDir('target')
    const path = join(dir.path, 'disk.img')
    await using target = await openTarget({ path, preallocate: false, log })
    await target.begin(64 * mebibyte, signal, 'ours')
    const data = Buffer.alloc(mebibyte)
    data.fill(1, 0, 4096)
    for (let at = 0; at < 64; at += 1) await target.write(at * mebibyte, [data])
    await target.finish(signal)
    const facts = await stat(path)
    assert.equal(facts.size, 64 * mebibyte)
    assert.equal(facts.mode & 0o777, 0o660)
    assert.ok(facts.blocks * 512 <= 64 * 4096 + 64 * 1024, `${facts.blocks} blocks for 64 pages of data`)
  })

  it('is allocated as a whole when preallocated, also when it grows afterwards', async () => {
    await using dir = await tempDir('target')
    const path = join(dir.path, 'disk.img')
    await using target = await openTarget({ path, preallocate: true, log })
    await target.begin(8 * mebibyte, signal, 'ours')
    const grown = await growFile({ target, diskSizeBytes: 8 * mebibyte, wantedBytes: 12 * mebibyte, signal })
    await target.finish(signal)
    assert.equal(grown, 12 * mebibyte)
    const facts = await stat(path)
    assert.equal(facts.size, 12 * mebibyte)
    assert.ok(facts.blocks * 512 >= 12 * mebibyte)
  })

  it('is grown to what is wanted and never shrunk', async () => {
    await using dir = await tempDir('target')
    const path = join(dir.path, 'disk.img')
    await using target = await openTarget({ path, preallocate: false, log })
    await target.begin(4 * mebibyte, signal, 'ours')
    await target.write(0, [Buffer.alloc(4 * mebibyte, 1)])
    const common = { target, diskSizeBytes: 4 * mebibyte, signal }
    assert.equal(await growFile({ ...common, wantedBytes: mebibyte }), 4 * mebibyte)
    assert.equal(await growFile({ ...common, wantedBytes: 6 * mebibyte }), 6 * mebibyte)
    await target.finish(signal)
    const expected = Buffer.concat([Buffer.alloc(4 * mebibyte, 1), Buffer.alloc(2 * mebibyte)])
    assert.ok((await readFile(path)).equals(expected))
  })

  it('replaces what an earlier attempt left, and a link that stands there, not what the link names', async () => {
    await using dir = await tempDir('target')
    const path = join(dir.path, 'disk.img')
    const other = join(dir.path, 'other')
    await writeFile(other, 'mine')
    await symlink(other, path)
    for (const attempt of ['link', 'file']) {
      await using target = await openTarget({ path, preallocate: false, log })
      await target.begin(4096, signal, 'ours')
      await target.finish(signal)
      assert.ok((await readFile(path)).equals(Buffer.alloc(4096)), attempt)
      await writeFile(path, Buffer.alloc(9999, 1))
    }
    assert.equal(await readFile(other, 'utf8'), 'mine')
  })

  it('leaves nothing behind when the transfer is given up', async () => {
    await using dir = await tempDir('target')
    await using target = await openTarget({ path: join(dir.path, 'disk.img'), preallocate: false, log })
    await target.begin(mebibyte, signal, 'ours')
    await target.write(0, [Buffer.alloc(mebibyte, 1)])
    await target.discard()
    assert.deepEqual(await readdir(dir.path), [])
  })

  it('may grow to what is free after the file of an earlier attempt is gone', { skip: noRoot }, async () => {
    await using filesystem = await smallFilesystem({ type: 'ext4', sizeBytes: 64 * mebibyte })
    const path = join(filesystem.directory, 'disk.img')
    await writeFile(path, Buffer.alloc(30 * mebibyte, 1))
    await using target = await openTarget({ path, preallocate: false, log })
    assert.ok(target.capacityBytes > 40 * mebibyte, `${target.capacityBytes}`)
    await using limited = await openTarget({ path, preallocate: false, log, capacityBytes: mebibyte })
    assert.equal(limited.capacityBytes, mebibyte)
  })

  it(
    'may promise more than is free, if it is allowed to, and says so when its data does not fit',
    { skip: noRoot },
    async () => {
      await using filesystem = await smallFilesystem({ type: 'ext4', sizeBytes: 32 * mebibyte })
      const path = join(filesystem.directory, 'disk.img')
      const limits = { capacityBytes: 64 * mebibyte, overcommit: '0.06' }
      await using target = await openTarget({ path, preallocate: false, log, ...limits })
      assert.ok(target.capacityBytes < 32 * mebibyte, 'what fits is told as it is')
      await assert.rejects(target.begin(64 * mebibyte + 1, signal, 'ours'), withCode('CDI_IMAGE_TOO_LARGE', /./))
      await target.begin(64 * mebibyte, signal, 'ours')
      await target.write(63 * mebibyte, [Buffer.alloc(mebibyte, 1)])
      await target.finish(signal)
      assert.equal((await stat(path)).size, 64 * mebibyte)
      await assert.rejects(
        async () => {
          for (let at = 0; at < 40 * mebibyte; at += mebibyte) await target.write(at, [Buffer.alloc(mebibyte, 2)])
          await target.finish(signal)
        },
        withCode('CDI_TARGET_FULL', /no space left on device/),
      )
    },
  )

  it(
    'may be as large as a volume that is larger than what was asked for, if it may promise more',
    { skip: noRoot },
    async () => {
      const sizeBytes = 256 * mebibyte
      await using filesystem = await smallFilesystem({ type: 'ext4', sizeBytes })
      const path = join(filesystem.directory, 'disk.img')
      // The storage rounded up, and so it did for the device that is copied.
      const limits = { capacityBytes: 100 * mebibyte, overcommit: '0.12' }
      await using target = await openTarget({ path, preallocate: false, log, ...limits })
      assert.equal(target.capacityBytes, 100 * mebibyte)
      await target.begin(sizeBytes, signal, 'ours')
      await target.finish(signal)
      await assert.rejects(target.begin(2 * sizeBytes, signal, 'ours'), withCode('CDI_IMAGE_TOO_LARGE', /./))
    },
  )

  it('leaves the file alone that somebody else has made in its place', async () => {
    await using dir = await tempDir('target')
    const path = join(dir.path, 'disk.img')
    const former = await openTarget({ path, preallocate: false, log })
    await former.begin(mebibyte, signal, 'ours')
    await using successor = await openTarget({ path, preallocate: false, log })
    await successor.begin(mebibyte, signal, 'ours')
    await former.discard()
    assert.equal((await stat(path)).size, mebibyte)
    await successor.discard()
    await assert.rejects(stat(path))
  })

  it('on a full volume says so in the words that the controller looks for', { skip: noRoot }, async () => {
    await using filesystem = await smallFilesystem({ type: 'ext4', sizeBytes: 32 * mebibyte })
    const path = join(filesystem.directory, 'disk.img')
    await using target = await openTarget({ path, preallocate: false, log })
    await target.begin(target.capacityBytes, signal, 'ours')
    await writeFile(join(filesystem.directory, 'somebody-else'), Buffer.alloc(target.capacityBytes - 4 * mebibyte, 1))
    await assert.rejects(
      async () => {
        for (let at = 0; at < target.capacityBytes; at += mebibyte) {
          await target.write(at, [Buffer.alloc(Math.min(mebibyte, target.capacityBytes - at), 1)])
        }
        await target.finish(signal)
      },
      withCode('CDI_TARGET_FULL', /^unable to write to file: no space left on device$/),
    )
    await target.discard()
    assert.deepEqual(await readdir(filesystem.directory), ['lost+found', 'somebody-else'])
  })

  it('that is preallocated on a full volume says so too', { skip: noRoot }, async () => {
    await using filesystem = await smallFilesystem({ type: 'ext4', sizeBytes: 32 * mebibyte })
    await using target = await openTarget({ path: join(filesystem.directory, 'disk.img'), preallocate: true, log })
    await writeFile(join(filesystem.directory, 'somebody-else'), Buffer.alloc(target.capacityBytes - 4 * mebibyte, 1))
    await assert.rejects(
      target.begin(target.capacityBytes, signal, 'ours'),
      withCode('CDI_TARGET_FULL', /no space left on device/),
    )
  })
})

describe('path of a target', () => {
  it('that is a directory, a character device or in no directory is refused', async () => {
    await using dir = await tempDir('target')
    await mkdir(join(dir.path, 'sub'))
    const open = (path: string): Promise<unknown> => openTarget({ path, preallocate: false, log })
    await assert.rejects(open(join(dir.path, 'sub')), withCode('CDI_TARGET_INVALID', /is a directory/))
    await assert.rejects(open('/dev/null'), withCode('CDI_TARGET_INVALID', /is a character device/))
    await assert.rejects(open(join(dir.path, 'none', 'disk.img')), withCode('CDI_TARGET_INVALID', /does not exist/))
  })
})
