/** What it means when GCS refuses, in its own words. */
import { parseErrorDocument } from '../http/error-document.ts'
import type { ResponseHead } from '../http/head.ts'
import type { Explanation } from '../http/status.ts'

/** `NoSuchKey: The specified key does not exist. (404 Not Found)`; undefined if the answer is not one of GCS. */
export function explainGcs(
  { status, reason }: ResponseHead,
  body: Buffer,
  { anonymous }: { anonymous: boolean },
): Explanation | undefined {
  const document = parseErrorDocument(body)
  if (document === undefined) return undefined
  const remark = anonymous && (status === 401 || status === 403) ? '; asked without credentials' : ''
  const words = [`${document.code}:`, document.message, document.details].filter(Boolean).join(' ')
  return { code: 'CDI_SOURCE_STATUS', text: `${words} (${`${status} ${reason}`.trim()}${remark})` }
}
