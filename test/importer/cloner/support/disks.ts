/** Disks with data in odd places, and what there is to say of a copy. */
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'

export const kibibyte = 1024
export const mebibyte = 1024 * 1024

export interface Patch {
  readonly offset: number
  readonly bytes: Buffer
}

/** Data at the very beginning and end, across borders of blocks and windows, and alone in the middle of nothing. */
export function oddPatches(sizeBytes: number): Patch[] {
  const at = (offset: number, length: number): Patch => ({ offset, bytes: nonZero(length) })
  return [
    at(0, 512),
    at(4095, 2),
    at(mebibyte - 1, 3),
    at(5 * mebibyte + 777, 100 * kibibyte),
    at(9 * mebibyte, 6 * mebibyte),
    // Every other block: holes too short and just long enough to count.
    ...Array.from({ length: 40 }, (_, index) => at(20 * mebibyte + index * 20 * kibibyte, 4 * kibibyte)),
    at(Math.floor(sizeBytes / 2) - 10, 20),
    at(sizeBytes - 700, 700),
  ]
}

/** Random bytes without a zero. */
function nonZero(length: number): Buffer {
  const bytes = randomBytes(length)
  for (let at = bytes.indexOf(0); at !== -1; at = bytes.indexOf(0, at)) bytes[at] = 1
  return bytes
}

/** Makes a sparse file. */
export async function makeDisk(path: string, sizeBytes: number, patches: readonly Patch[]): Promise<void> {
  await using file = await open(path, 'w')
  await file.truncate(sizeBytes)
  await writePatches(path, patches)
}

export async function writePatches(path: string, patches: readonly Patch[]): Promise<void> {
  await using file = await open(path, 'r+')
  for (const { offset, bytes } of patches) await file.write(bytes, 0, bytes.length, offset)
  await file.sync()
}

/** SHA-256 of the first `lengthBytes` bytes. */
export async function digestOf(path: string, lengthBytes: number): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { end: lengthBytes - 1, highWaterMark: mebibyte })) {
    hash.update(chunk as Buffer)
  }
  return hash.digest('hex')
}

/** Bytes that are backed by storage. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512
}
