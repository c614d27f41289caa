/** After an import: a file is grown to what its claim promised (contract: import §4). */
import type { Target } from '../target/target.ts'

export interface GrowFile {
  readonly target: Target
  /** What the file has. */
  readonly diskSizeBytes: number
  /** What it should have at least. */
  readonly wantedBytes: number
  readonly signal: AbortSignal
}

/** Grows the disk, never shrinks it; a device is as large as it is. Resolves with the size in bytes. */
export async function growFile({ target, diskSizeBytes, wantedBytes, signal }: GrowFile): Promise<number> {
  if (target.kind === 'block' || wantedBytes <= diskSizeBytes) return diskSizeBytes
  await target.begin(wantedBytes, signal)
  return wantedBytes
}
