/** How the volume of an upload is opened as a target, and how it is finished. */
import { growFile } from '../routes/resize.ts'
import { usableFor } from '../run.ts'
import type { OpenTarget } from '../target/open-target.ts'
import type { Target } from '../target/target.ts'
import type { Volume } from './transfer.ts'

/** The options of `openTarget` and `reopenTarget` that the volume decides. */
export function targetOptions({
  targetPath,
  preallocate,
  requestedBytes,
  mayOvercommit = false,
  filesystemOverhead,
}: Volume): Omit<OpenTarget, 'log'> {
  return {
    path: targetPath,
    preallocate,
    ...(mayOvercommit ? { overcommit: filesystemOverhead } : {}),
    ...(requestedBytes === undefined ? {} : { capacityBytes: requestedBytes }),
  }
}

/**
 * Grows a disk that is there as a whole to what the volume is to hold, and makes it durable. Resolves with its size in bytes;
 * the target is left open. Throws CDI_TARGET_*.
 */
export async function finishDisk(
  volume: Volume,
  { target, diskSizeBytes, signal }: { target: Target; diskSizeBytes: number; signal: AbortSignal },
): Promise<number> {
  const wantedBytes = usableFor(volume, target)
  const finalSizeBytes = volume.resize ? await growFile({ target, diskSizeBytes, wantedBytes, signal }) : diskSizeBytes
  await target.finish(signal)
  return finalSizeBytes
}
