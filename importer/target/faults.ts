/** What the operating system said about a target, as errors that a user can act on. */
import { CdiError } from '../../src/errors.ts'

/** The words that the controller looks for (contract: import §15). */
const fullTexts: Readonly<Record<string, string>> = {
  ENOSPC: 'no space left on device',
  EDQUOT: 'disk quota exceeded',
}

/** The fault of a write, flush or allocation: CDI_TARGET_FULL, or CDI_TARGET_IO for all else. CdiErrors pass. */
export function writeFault(path: string, cause: unknown): CdiError {
  if (cause instanceof CdiError) return cause
  const code = errnoOf(cause)
  const full = fullTexts[code]
  if (full !== undefined) return volumeFull(path, full, cause)
  if (code === 'EFBIG') {
    return new CdiError(
      'CDI_TARGET_INVALID',
      `unable to write to file: the file system of ${path} allows no file so large`,
      {
        cause,
        details: { path },
      },
    )
  }
  const text = cause instanceof Error ? cause.message : String(cause)
  return new CdiError('CDI_TARGET_IO', `unable to write to file: ${text}`, { cause, details: { path, errno: code } })
}

function volumeFull(path: string, text: string, cause: unknown): CdiError {
  return new CdiError('CDI_TARGET_FULL', `unable to write to file: ${text}`, { cause, details: { path } })
}

/** The fault of opening a target: CDI_TARGET_INVALID, or what {@link writeFault} says when the storage is to blame. */
export function openFault(path: string, cause: unknown): CdiError {
  if (cause instanceof CdiError) return cause
  const code = errnoOf(cause)
  if (code in fullTexts || code === 'EIO') return writeFault(path, cause)
  const text = cause instanceof Error ? cause.message : String(cause)
  return new CdiError('CDI_TARGET_INVALID', `${path} cannot be written to: ${text}`, {
    cause,
    details: { path, errno: code },
  })
}

/** A disk that does not fit, in the words of the contract (import §6). */
export function tooLarge({ sizeText, capacityBytes }: { sizeText: string; capacityBytes: number }): CdiError {
  return new CdiError(
    'CDI_IMAGE_TOO_LARGE',
    `virtual image size ${sizeText} is larger than the reported available storage ${capacityBytes}. A larger PVC is required`,
    { details: { capacityBytes } },
  )
}

/** `ENOSPC`, or an empty text. */
export function errnoOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : ''
}
