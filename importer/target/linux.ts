/**
 * What Node's fs lacks, by the programs of util-linux: one call covers a large extent, so the few milliseconds of a
 * child do not matter and no native module is needed. Both work for an unprivileged user who may write to the target.
 */
import { readFile } from 'node:fs/promises'
import type { BigIntStats } from 'node:fs'
import { writeFault } from './faults.ts'

export interface FallocateOptions {
  readonly path: string
  /**
   * `allocate` reserves storage and makes a file longer. `punch` makes a range read as zero and gives its storage back;
   * on a device the kernel does it without fallback, so it succeeds only if the device itself guarantees zeros
   * (unlike a discard).
   */
  readonly mode: 'allocate' | 'punch'
  readonly offset: number
  readonly length: number
  readonly signal?: AbortSignal
}

/** Runs fallocate(1). False if the file system, device or machine cannot do it; throws CDI_TARGET_FULL or _IO. */
export async function fallocate({ path, mode, offset, length, signal }: FallocateOptions): Promise<boolean> {
  const how = mode === 'punch' ? ['--punch-hole', '--keep-size'] : []
  // Loaded only when needed: most imports of files run no program, and this takes 80 ms and 16 MB.
  const { execa } = await import('execa')
  const result = await execa('fallocate', [...how, '--offset', String(offset), '--length', String(length), path], {
    reject: false,
    stdin: 'ignore',
    stdout: 'ignore',
    maxBuffer: 64 * 1024,
    env: { LC_ALL: 'C' },
    ...(signal ? { cancelSignal: signal } : {}),
  })
  if (!result.failed) return true
  signal?.throwIfAborted()
  const text = result.stderr
  if (text.includes('No space left')) throw writeFault(path, errno('ENOSPC', text))
  if (text.includes('quota exceeded')) throw writeFault(path, errno('EDQUOT', text))
  if (text.includes('Input/output error')) throw writeFault(path, errno('EIO', text))
  return false
}

function errno(code: string, message: string): Error {
  return Object.assign(new Error(message), { code })
}

/** Size of a block device in bytes. Throws if the kernel does not tell it. */
export async function deviceBytes(facts: BigIntStats): Promise<number> {
  // Device numbers as the kernel packs them (gnu_dev_major and gnu_dev_minor of glibc).
  const major = ((facts.rdev >> 8n) & 0xfffn) | ((facts.rdev >> 32n) & 0xfffff000n)
  const minor = (facts.rdev & 0xffn) | ((facts.rdev >> 12n) & 0xffffff00n)
  const sectors = await readFile(`/sys/dev/block/${major}:${minor}/size`, 'utf8')
  return Number(sectors.trim()) * 512
}
