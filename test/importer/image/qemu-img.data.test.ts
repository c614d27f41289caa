import assert from 'node:assert/strict'
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { execa } from 'execa'
import { convert, info, lastPercent, qemuFilename } from '../../../importer/image/qemu-img.ts'
import { makeDisk, makeImage, mebibyte, variants } from '../../fixtures/images.ts'
import { makeBlockDevice } from '../../fixtures/block-device.ts'
import { tempDir } from '../../fixtures/server-process.ts'

const never = new AbortController().signal
const qcow2 = variants.find(({ name }) => name === 'qcow2 version 3')!

describe('qemu-img', () => {
  it('opens an image as what it was said to be, whatever it looks like', async () => {
    await using dir = await tempDir('qemu')
    const path = join(dir.path, 'image')
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', path, '8M'])
    const told = await info({ format: 'raw', location: { filePath: path } }, never)
    assert.equal(told.format, 'raw')
    assert.equal(told.backingFile, undefined)
  })

  it('says what is wrong with an image in its own words', async () => {
    await using dir = await tempDir('qemu')
    const path = join(dir.path, 'image')
    await writeFile(path, Buffer.alloc(4096))
    await assert.rejects(info({ format: 'qcow2', location: { filePath: path } }, never), {
      code: 'CDI_FORMAT_INVALID',
      message: /^qemu-img execution failed: exit status 1: .*Image is not in qcow2 format/,
    })
  })

  it('tells a full volume from a bad image', async () => {
    await using dir = await tempDir('qemu')
    const [disk, image, small] = ['disk', 'image', 'small'].map((name) => join(dir.path, name)) as [
      string,
      string,
      string,
    ]
    await makeDisk(disk, { sizeBytes: 64 * mebibyte })
    await makeImage(disk, image, qcow2)
    await using device = await makeBlockDevice(small, 16 * mebibyte)
    await execa('mkfs.ext4', ['-q', device.path])
    const mount = join(dir.path, 'mount')
    await execa('mkdir', [mount])
    await execa('mount', [device.path, mount])
    try {
      const to = join(mount, 'disk.img')
      await execa('truncate', ['-s', '64M', to])
      const from = { format: 'qcow2', location: { filePath: image } } as const
      await assert.rejects(convert({ from, to, targetState: 'zeroed', signal: never }), {
        code: 'CDI_TARGET_FULL',
        message: /no space left on device/,
      })
    } finally {
      await execa('umount', [mount])
    }
  })

  it('works for a user without any privilege, limits included', async () => {
    await using dir = await tempDir('qemu')
    await chmod(dir.path, 0o755)
    const path = join(dir.path, 'image')
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path, '8M'])
    await chmod(path, 0o644)
    const filename = qemuFilename({ format: 'qcow2', location: { filePath: path } })
    const unprivileged = '--reuid=107 --regid=107 --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs'
    const limited = `prlimit --as=${2 ** 30} --cpu=30 qemu-img info --output=json -f qcow2`
    const { stdout } = await execa('setpriv', [...unprivileged.split(' '), ...limited.split(' '), filename])
    assert.equal((JSON.parse(stdout) as Record<string, unknown>)['virtual-size'], 8 * mebibyte)
  })

  it('reads progress from the line that qemu-img draws', () => {
    assert.equal(lastPercent('    (0.00/100%)\r    (12.34/100%)\r'), 12.34)
    assert.equal(lastPercent('    (100.00/100%)\r\n'), 100)
    assert.equal(lastPercent('    (12.'), undefined)
  })
})
