/**
 * Where the disk goes: a block device or a regular file. Writes may come in any order and in parallel as long as they do
 * not overlap. Everything not written reads as zero after `finish`: a file by being new, a device by being zeroed for
 * sure (punch hole without fallback, or written zeros; never a mere discard). The number of dirty bytes is bounded:
 * `write` waits for the storage when it has fallen behind.
 *
 * A disk may be written by several processes one after the other (resumed uploads): the first one calls `sync` and notes
 * the ranges somewhere, the next one opens the target with `keep` and calls `resume` instead of `begin`.
 */
import type { Extent } from './coverage.ts'

export interface Target extends AsyncDisposable {
  readonly kind: 'file' | 'block'
  readonly path: string
  /** Bytes that fit: size of the device, or what the file may grow to. */
  readonly capacityBytes: number
  /** No disk may be larger. More than `capacityBytes` where a sparse file may promise more than there is room for. */
  readonly largestDiskBytes: number
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
   * Instead of the first `begin(diskSizeBytes, signal, 'ours')`, for a disk that an earlier process has begun: `kept` is
   * what that one has written and synced, in order and not touching. All else, whatever lies there, counts as not
   * written. Throws as `begin` does.
   */
  resume(diskSizeBytes: number, kept: readonly Extent[], signal: AbortSignal): Promise<void>
  /**
   * Writes buffers one after the other at `offset`, where nothing was written before. Blocks of zeros are found and left
   * out or zeroed. The buffers are lent until the promise settles.
   */
  write(offset: number, buffers: readonly Buffer[]): Promise<void>
  /**
   * The same where something may have been written before, also by `write`. Must not run together with a `sync` of the
   * same range.
   */
  overwrite(offset: number, buffers: readonly Buffer[]): Promise<void>
  /** Fills the buffer with what the volume holds at `offset`. A stretch that nobody has written may hold anything yet. */
  read(offset: number, into: Buffer): Promise<void>
  /** Makes a range read as zero (allocated when preallocating), whether or not it was written before. */
  zero(offset: number, length: number): Promise<void>
  /**
   * To be called with the bytes that another process (qemu-img) has written to `path` since the last call: bounds
   * dirty bytes for writers that are not ours.
   */
  written(bytes: number): Promise<void>
  /**
   * Makes ranges that this process has written durable, zeros that were left out too: if the process ends now, another
   * one can `resume` with them. For a writer that is `ours`.
   */
  sync(ranges: readonly Extent[], signal: AbortSignal): Promise<void>
  /** The disk ends earlier than was declared: what lies behind is cut off (file) or zeroed (device). */
  cut(diskSizeBytes: number): Promise<void>
  /** Makes everything durable (fsync). Only then may the volume be called done. */
  finish(signal: AbortSignal): Promise<void>
  /** Gives up: removes a regular file; leaves a device as it is. Safe to call after a failure of anything above. */
  discard(): Promise<void>
}

/** Who writes to a target: this process through the target, or another one by the path. */
export type Writer = 'ours' | 'foreign'
