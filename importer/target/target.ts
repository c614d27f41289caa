/**
 * Where the disk goes: a block device or a regular file. Writes may come in any order and in parallel as long as they do
 * not overlap. Everything not written reads as zero after `finish`: a file by being new, a device by being zeroed for
 * sure (punch hole without fallback, or written zeros; never a mere discard). The number of dirty bytes is bounded:
 * `write` waits for the storage when it has fallen behind.
 */
export interface Target extends AsyncDisposable {
  readonly kind: 'file' | 'block'
  readonly path: string
  /** Bytes that fit: size of the device, or what the file may grow to. */
  readonly capacityBytes: number
  /** Every byte will be backed by storage: zeros are written or allocated, never left out. */
  readonly preallocate: boolean
  /**
   * Declares the size of the disk, before the first write. Makes the file that long, or prepares the device so that
   * what is never written reads as zero. Throws CDI_IMAGE_TOO_LARGE if it does not fit. Called again to grow; never
   * shrinks.
   *
   * `writer` says who writes. `foreign` (the default): another process, by `path`; what it leaves out reads as zero from
   * now on, except on a preallocated device, which that process has to overwrite as a whole. `ours`: only
   * `write` and `zero` below; zeroing may then wait for `finish`, when the gaps are known, and writes may go beyond the
   * declared size, which grows with them.
   */
  begin(diskSizeBytes: number, signal: AbortSignal, writer?: Writer): Promise<void>
  /**
   * Writes buffers one after the other at `offset`, where nothing was written before. Blocks of zeros are found and left
   * out or zeroed. The buffers are lent until the promise settles.
   */
  write(offset: number, buffers: readonly Buffer[]): Promise<void>
  /** Makes a range read as zero (allocated when preallocating), whether or not it was written before. */
  zero(offset: number, length: number): Promise<void>
  /**
   * To be called with the bytes that another process (qemu-img) has written to `path` since the last call: bounds
   * dirty bytes for writers that are not ours.
   */
  written(bytes: number): Promise<void>
  /** Makes everything durable (fsync). Only then may the volume be called done. */
  finish(signal: AbortSignal): Promise<void>
  /** Gives up: removes a regular file; leaves a device as it is. Safe to call after a failure of anything above. */
  discard(): Promise<void>
}

/** Who writes to a target: this process through the target, or another one by the path. */
export type Writer = 'ours' | 'foreign'
