/** Which media types a request brings and takes (RFC 9110 §8.3, §12.5.1), as far as JSON is concerned. */

/** Whether a `Content-Type` is JSON. */
export function isJson(contentType: string | undefined): boolean {
  return essenceOf(contentType ?? '') === 'application/json'
}

/** Whether JSON is among what an `Accept` header takes; without the header anything is. */
export function acceptsJson(accept: string | undefined): boolean {
  if (accept === undefined || accept.trim() === '') return true
  return accept
    .split(',')
    .some((range) => ['application/json', 'application/*', '*/*'].includes(essenceOf(range)) && !isRefused(range))
}

function essenceOf(range: string): string {
  return (range.split(';', 1)[0] ?? '').trim().toLowerCase()
}

/** A weight of zero says "anything but". */
function isRefused(range: string): boolean {
  return /;\s*q\s*=\s*0(\.0{0,3})?\s*(;|$)/i.test(range)
}
