/**
 * What a client is told, for every protocol: one table from faults to status and text (contract: upload §6.3). Texts of
 * faults name what is wrong, and then what can be done about it.
 */
import { uploadErrorHeader } from '../../src/api/upload-env.ts'
import { toCdiError } from '../../src/errors.ts'
import type { CdiError, ErrorCode } from '../../src/errors.ts'
import type { Answer } from './exchange.ts'
import { SlotRefusal } from './slot.ts'

/** The text that clients and the controller look for. */
const noCapacity = 'effective image size is larger than the reported available storage'

/** Seconds after which a client may try again where that can help. */
const retryAfterSeconds = '5'

/** A request that is refused for what it is, before anything is done. */
export class RequestRefusal extends Error {
  readonly status: number

  constructor(status: number, message: string) {
    super(message)
    this.name = 'RequestRefusal'
    this.status = status
  }
}

/** Faults that the uploaded bytes or the request are to blame for; they come again if the same is sent again. */
const badRequest: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_ARCHIVE_INVALID',
  'CDI_ARCHIVE_UNSAFE',
  'CDI_CHECKSUM_INVALID',
  'CDI_CHECKSUM_MISMATCH',
  'CDI_CONVERT_FAILED',
  'CDI_DECODE_CORRUPT',
  'CDI_DECODE_TRUNCATED',
  'CDI_DECODE_WINDOW',
  'CDI_ENCODING_UNSUPPORTED',
  'CDI_FORMAT_INVALID',
  'CDI_FORMAT_UNSUPPORTED',
  'CDI_IMAGE_BACKING_FILE',
  'CDI_IMAGE_ENCRYPTED',
  'CDI_SOURCE_CHANGED',
  'CDI_SOURCE_TRUNCATED',
  'CDI_UPLOAD_EMPTY',
  'CDI_UPLOAD_MALFORMED',
])

/** The answer to a request that failed with `thrown`. Never throws. */
export function answerTo(thrown: unknown): Answer {
  if (thrown instanceof SlotRefusal) return refusal(thrown)
  if (thrown instanceof RequestRefusal) return { status: thrown.status, text: thrown.message }
  const fault = toCdiError(thrown)
  const answer = answerToFault(fault)
  return { ...answer, headers: { ...answer.headers, [uploadErrorHeader]: fault.code } }
}

function refusal({ reason, message }: SlotRefusal): Answer {
  switch (reason) {
    case 'busy':
      return { status: 503, text: message, headers: { 'retry-after': retryAfterSeconds } }
    case 'done':
      return { status: 409, text: message }
    case 'gone':
      return { status: 410, text: message }
    default:
      return reason satisfies never
  }
}

function answerToFault({ code, message, remedy }: CdiError): Answer {
  const text = `Saving stream failed: ${message}`
  if (code === 'CDI_IMAGE_TOO_LARGE' || code === 'CDI_TARGET_FULL') {
    return { status: 400, text: `Saving stream failed: ${noCapacity}: ${message}. ${remedy}` }
  }
  if (code === 'CDI_SCRATCH_REQUIRED') {
    const what = 'This image can only be converted from a local copy'
    const next = 'the upload server is being replaced by one with scratch space, upload again in a moment.'
    return { status: 503, text: `${text}. ${what}: ${next}`, headers: { 'retry-after': retryAfterSeconds } }
  }
  if (code === 'CDI_ABORTED') return { status: 503, text, headers: { 'retry-after': retryAfterSeconds } }
  if (code === 'CDI_SOURCE_STALLED') return { status: 408, text }
  return badRequest.has(code) ? { status: 400, text: `${text}. ${remedy}` } : { status: 500, text }
}
