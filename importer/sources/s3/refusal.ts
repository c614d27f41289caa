/** What it means when an S3 store refuses, for people and for the retries. */
import type { ErrorCode } from '../../../src/errors.ts'
import { parseErrorDocument } from '../http/error-document.ts'
import type { ResponseHead } from '../http/head.ts'
import type { Explanation } from '../http/status.ts'
import { isRegion } from './address.ts'

export interface S3Refusal extends Explanation {
  /** The store's own code, if it told one. */
  readonly storeCode?: string
}

/** Codes of credentials that were good once. */
const expiredCodes = new Set(['ExpiredToken', 'ExpiredTokenException', 'InvalidToken', 'TokenRefreshRequired'])

export function isExpiry({ storeCode }: S3Refusal): boolean {
  return storeCode !== undefined && expiredCodes.has(storeCode)
}

/**
 * Puts a refused answer into words: `NoSuchKey: The specified key does not exist. (404 Not Found)`. `details.region` is
 * where the bucket lies if the store says so. Undefined if the answer says nothing beyond its status.
 */
export function explainS3(
  answer: ResponseHead,
  body: Buffer,
  { anonymous }: { anonymous: boolean },
): S3Refusal | undefined {
  const document = parseErrorDocument(body)
  const region = answer.headers.get('x-amz-bucket-region') ?? document?.region
  const details = region !== undefined && isRegion(region) ? { region } : {}
  const { status, reason } = answer
  const remarks = [`${status} ${reason}`.trim(), redirection(answer)]
  if (anonymous && (status === 401 || status === 403)) remarks.push('asked without credentials, since none were found')
  const told =
    document === undefined ? `expected status code 200, got ${status}` : `${document.code}: ${document.message}`
  if (document === undefined && remarks.filter(Boolean).length === 1 && region === undefined) return undefined
  return {
    code: codeOf(document?.code),
    text: `${told} (${remarks.filter(Boolean).join('; ')})`,
    details,
    ...(document === undefined ? {} : { storeCode: document.code }),
  }
}

function codeOf(storeCode: string | undefined): ErrorCode {
  return storeCode === 'InvalidObjectState' ? 'CDI_SOURCE_ARCHIVED' : 'CDI_SOURCE_STATUS'
}

/** Where a redirect leads to, without what may be secret in it. Signed requests do not follow. */
function redirection({ status, headers }: ResponseHead): string | undefined {
  const target = status >= 300 && status < 400 ? URL.parse(headers.get('location') ?? '') : null
  return target === null ? undefined : `it points to ${target.origin}, use that address`
}
