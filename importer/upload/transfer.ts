/**
 * One upload on its way into the volume, whatever protocol brings it: bytes are appended in order by one request or by
 * many, then it is finished, or it is dropped. There are two of them: a stream through the pipeline
 * (stream-transfer.ts), and a raw disk whose bytes are written where they will stay (raw-transfer.ts).
 */
import type { CdiError } from '../../src/errors.ts'
import type { ImportRequest } from '../request.ts'

/** Where uploads of this server go, and how: an import without its source and without a checksum. */
export type Volume = Omit<ImportRequest, 'source' | 'checksum' | 'format'> & {
  /** A raw disk may have holes for which there is no room. */
  readonly mayOvercommit?: boolean
}

/** What the controller and the log are told of a finished upload. */
export interface UploadResult {
  /** Every byte of the target is backed by storage because it was asked for. */
  readonly preallocationApplied: boolean
  /** Size of the disk in bytes; absent for archives. */
  readonly diskSizeBytes?: number
}

/** Its owner is the slot (slot.ts), which finishes or drops it; requests append. Calls of `append` do not overlap. */
export interface Transfer {
  /** Bytes taken so far from the beginning; an append continues here. */
  readonly offset: number
  /**
   * Takes the next piece. Resolves when its bytes are taken (streaming) or durable (raw). Rejects with the body's own
   * error if it breaks off and with the signal's reason: what arrived until then stays counted and another append may
   * follow. Rejects with the pipeline's CdiError if the upload as a whole has failed.
   */
  append(body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void>
  /**
   * Nothing follows: verifies, grows, fsyncs. Rejects with the pipeline's CdiError, and then nothing is left in the
   * volume. Called once.
   */
  finish(): Promise<UploadResult>
  /** Gives up and resolves when nobody writes any more; a file is removed. Never rejects; safe after anything above. */
  drop(reason: CdiError): Promise<void>
  /**
   * The program ends: stops writing, but leaves what another one can go on with. Never rejects. Absent: there is nothing
   * to go on with, and the transfer is dropped.
   */
  suspend?(reason: CdiError): Promise<void>
}
