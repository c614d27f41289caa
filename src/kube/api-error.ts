/** What the API server, or the way to it, answered instead of an object. */

/** One field of an object that the API server refused (`Status.details.causes`). */
export interface ErrorCause {
  readonly reason?: string
  readonly message?: string
  readonly field?: string
}

/** The parts of `metav1.Status` that are read. */
interface Status {
  readonly message?: string
  readonly reason?: string
  readonly details?: { readonly causes?: readonly ErrorCause[]; readonly retryAfterSeconds?: number }
}

/** An answer other than 2xx. `message` is the API server's own text: conditions and events quote it. */
export class ApiError extends Error {
  /** HTTP status. */
  readonly status: number
  /** `NotFound`, `Conflict`, `AlreadyExists`, `Forbidden`, …; empty when the answer was no `metav1.Status`. */
  readonly reason: string
  /** `Status.details` as received. */
  readonly details: unknown
  readonly causes: readonly ErrorCause[]
  /** Method and path, for the log. */
  readonly request: string
  /** How long the server asked to wait. */
  readonly retryAfterMs: number | undefined

  constructor(facts: {
    status: number
    message: string
    reason?: string
    details?: unknown
    causes?: readonly ErrorCause[]
    request?: string
    retryAfterMs?: number
  }) {
    super(facts.message)
    this.name = 'ApiError'
    this.status = facts.status
    this.reason = facts.reason ?? ''
    this.details = facts.details
    this.causes = facts.causes ?? []
    this.request = facts.request ?? ''
    this.retryAfterMs = facts.retryAfterMs
  }
}

/** No answer: the connection could not be made, broke, or stayed silent too long. */
export class ConnectionError extends Error {
  /** Nothing of the request reached the server, so that any request may be sent again. */
  readonly unsent: boolean

  constructor(message: string, { cause, unsent = false }: { cause?: unknown; unsent?: boolean } = {}) {
    super(message, { cause })
    this.name = 'ConnectionError'
    this.unsent = unsent
  }
}

/** Makes an ApiError of an answer's body, which is a `metav1.Status`, or text of a proxy in between. */
export function apiErrorOf(answer: {
  status: number
  body: unknown
  request: string
  retryAfter?: string | undefined
}): ApiError {
  const { status, body, request } = answer
  const parsed: Status = typeof body === 'object' && body !== null ? body : {}
  const text = typeof body === 'string' ? body.trim().slice(0, 1024) : ''
  const seconds = Number(answer.retryAfter ?? parsed.details?.retryAfterSeconds ?? Number.NaN)
  return new ApiError({
    status,
    message: parsed.message ?? (text === '' ? `the API server answered with status ${status}` : text),
    reason: parsed.reason ?? reasonOf(status),
    details: parsed.details,
    causes: parsed.details?.causes ?? [],
    request,
    ...(Number.isFinite(seconds) && seconds >= 0 ? { retryAfterMs: seconds * 1000 } : {}),
  })
}

function reasonOf(status: number): string {
  switch (status) {
    case 401:
      return 'Unauthorized'
    case 403:
      return 'Forbidden'
    case 404:
      return 'NotFound'
    case 429:
      return 'TooManyRequests'
    default:
      return ''
  }
}

/** The object, or what holds it, is not there. */
export function isNotFound(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 404
}

/** The object was changed since it was read; read again and decide anew. */
export function isConflict(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 409 && error.reason !== 'AlreadyExists'
}

/** An object of this name is there already. */
export function isAlreadyExists(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 409 && error.reason === 'AlreadyExists'
}

/** Not allowed: by RBAC, a quota, an admission plug-in, or because the namespace is being deleted. */
export function isForbidden(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 403
}

/** The object breaks its schema or validation. */
export function isInvalid(error: unknown): error is ApiError {
  return error instanceof ApiError && error.status === 422
}

/** The namespace is going away: nothing new can be made in it. */
export function isNamespaceTerminating(error: unknown): error is ApiError {
  return isForbidden(error) && error.causes.some((cause) => cause.reason === 'NamespaceTerminating')
}

/** The resource version lies too far back; only a new list helps. */
export function isExpired(error: unknown): error is ApiError {
  return error instanceof ApiError && (error.status === 410 || error.reason === 'Expired' || error.reason === 'Gone')
}
