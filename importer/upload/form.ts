/**
 * An upload inside of a form (`multipart/form-data`, RFC 7578), as browsers and `curl -F file=@disk.img` send it. The
 * content of the part `file` is handed on as it arrives; all other parts are passed over.
 */
import { MultipartReader, malformedForm, parseParameterized } from './multipart.ts'
import type { PartHeaders } from './multipart.ts'

/** The name of the part that is the upload. */
const partName = 'file'

export interface FormFile {
  /** The header `Content-Type` of the request. */
  readonly contentType: string | undefined
  /** Of the request. */
  readonly body: AsyncIterable<Buffer>
  /** Called once at most, with the content of the part; reading on waits for it. */
  readonly take: (content: AsyncIterable<Buffer>) => Promise<void>
}

/**
 * Resolves when the form has ended and its file was taken. Throws CDI_UPLOAD_MALFORMED for what is no form, breaks off
 * inside, has no such part or has two; and whatever `take` and the body throw.
 */
export async function takeFormFile({ contentType, body, take }: FormFile): Promise<void> {
  const form = new MultipartReader({ body, boundary: boundaryOf(contentType) })
  let isTaken = false
  for (let headers = await form.next(); headers !== undefined; headers = await form.next()) {
    if (nameOf(headers) !== partName) continue
    if (isTaken) throw malformedForm(`it has more than one part named ${partName}`)
    isTaken = true
    await take(form.content())
  }
  if (!isTaken) throw malformedForm(`it has no part named ${partName}`)
  await form.drain()
}

function boundaryOf(contentType = ''): string {
  const { value, parameters } = parseParameterized(contentType)
  if (value !== 'multipart/form-data') throw malformedForm(`its Content-Type is not multipart/form-data`)
  const boundary = parameters.get('boundary') ?? ''
  // RFC 2046 §5.1.1.
  if (!/^[\x20-\x7e]{0,69}[\x21-\x7e]$/.test(boundary)) throw malformedForm('its Content-Type names no usable boundary')
  return boundary
}

function nameOf(headers: PartHeaders): string | undefined {
  const { value, parameters } = parseParameterized(headers.get('content-disposition') ?? '')
  return value === 'form-data' ? parameters.get('name') : undefined
}
