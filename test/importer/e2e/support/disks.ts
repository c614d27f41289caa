/** Packed files, devices full of old bytes, and comparisons for whole imports. */
import assert from 'node:assert/strict'
import { open, readdir, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { mebibyte, noise } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'

export type Packing = 'gz' | 'xz' | 'zst'

const packers: Readonly<Record<Packing, readonly string[]>> = {
  gz: ['gzip', '-1'],
  xz: ['xz', '-0', '-T1'],
  zst: ['zstd', '-q', '-1'],
}

/** Packs `file` beside itself, innermost first, and names it so: `disk` in `['zst', 'gz']` becomes `disk.zst.gz`. */
export async function pack(file: string, packings: readonly Packing[]): Promise<string> {
  let path = file
  for (const packing of packings) {
    const [command = '', ...args] = packers[packing]
    const packed = `${path}.${packing}`
    await execa(command, [...args, '-c', path], { stdout: { file: packed } })
    path = packed
  }
  return path
}

export const allocatedBytes = async (path: string): Promise<number> => (await stat(path)).blocks * 512

/** Byte for byte; the first `bytes` of both if told. */
export async function assertSame(got: string, wanted: string, bytes?: number): Promise<void> {
  const { stdout, exitCode } = await execa(
    'cmp',
    [...(bytes === undefined ? [] : ['-n', String(bytes)]), got, wanted],
    {
      reject: false,
    },
  )
  assert.equal(exitCode, 0, `${got} differs from ${wanted}: ${stdout}`)
}

/** The same for large sparse files, whose holes are not read. */
export async function assertSameDisk(got: string, wanted: string): Promise<void> {
  assert.equal((await stat(got)).size, (await stat(wanted)).size)
  const { stdout } = await execa('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', got, wanted], { reject: false })
  assert.match(stdout, /^Images are identical/)
}

export interface UsedDevice extends AsyncDisposable {
  /** `/dev/loopN` */
  readonly path: string
  /** The file behind it, which holds what the device holds as soon as that was synced. */
  readonly backingFile: string
  /** The old bytes behind the first `bytes` are still there. */
  assertKeptBeyond(bytes: number): Promise<void>
}

const stainEvery = 64 * mebibyte

/**
 * A loop device with noise on it: everywhere, or, above 64 MiB, a MiB of it in every 64 and at the end, so that large
 * devices cost little. Needs root.
 */
export async function usedDevice(sizeBytes: number): Promise<UsedDevice> {
  assert.equal(sizeBytes % 512, 0)
  const dir = await tempDir('used')
  const backingFile = join(dir.path, 'backing')
  const old = noise(mebibyte, 99)
  {
    await using file = await open(backingFile, 'w')
    await file.truncate(sizeBytes)
    for (let at = 0; at < sizeBytes; at += sizeBytes > stainEvery ? stainEvery : mebibyte) {
      await file.write(old, 0, Math.min(mebibyte, sizeBytes - at), at)
    }
    if (sizeBytes > stainEvery) await file.write(old, 0, mebibyte, sizeBytes - mebibyte)
  }
  const { stdout: path } = await execa('losetup', ['--find', '--show', backingFile])
  return {
    path,
    backingFile,
    async assertKeptBeyond(bytes) {
      const from = Math.max(bytes, sizeBytes - mebibyte)
      await using file = await open(path, 'r')
      const kept = Buffer.alloc(sizeBytes - from)
      await file.read(kept, 0, kept.length, from)
      const start = sizeBytes > stainEvery ? from - (sizeBytes - mebibyte) : from % mebibyte
      const whole = Buffer.concat([old, old]).subarray(start, start + kept.length)
      assert.ok(kept.equals(whole), 'bytes beyond the disk were touched')
    },
    async [Symbol.asyncDispose]() {
      await execa('losetup', ['--detach', path])
      await dir[Symbol.asyncDispose]()
    },
  }
}

/** Nothing is left in a directory but what is named. */
export async function assertOnly(directory: string, ...names: readonly string[]): Promise<void> {
  assert.deepEqual((await readdir(directory)).sort(), [...names].sort())
}

/** Puts one file in the place of another, as a publisher does: in one step. */
export const replaceFile = (file: string, by: string): Promise<void> => rename(by, file)
