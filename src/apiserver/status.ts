/** Answers that say what went wrong: `metav1.Status`, which kubectl and client libraries understand. */

const reasons: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  500: 'InternalError',
  503: 'ServiceUnavailable',
}

export interface StatusDetails {
  readonly group?: string
  readonly kind?: string
  readonly name?: string
  readonly causes?: readonly { readonly reason: string; readonly message: string; readonly field: string }[]
}

export function statusOf(code: number, message: string, details?: StatusDetails): object {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: reasons[code] ?? '',
    ...(details === undefined ? {} : { details }),
    code,
  }
}
