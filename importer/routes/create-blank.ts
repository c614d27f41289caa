/** The route without a source: an empty disk (contract: import §15). */
import type { Log } from '../../src/log.ts'
import type { Target } from '../target/target.ts'

export interface CreateBlank {
  readonly target: Target
  readonly diskSizeBytes: number
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Makes a file of zeros, sparse or allocated; `finish` completes it. A device is overwritten with zeros if it is to be
 * preallocated and is not touched otherwise, since a blank device is used as it is. Throws CDI_IMAGE_TOO_LARGE and
 * CDI_TARGET_*.
 */
export async function createBlank({ target, diskSizeBytes, signal, log }: CreateBlank): Promise<void> {
  if (target.kind === 'block' && !target.preallocate) {
    log.info({ path: target.path }, 'blank device left as it is')
    return
  }
  await target.begin(diskSizeBytes, signal, 'ours')
}
