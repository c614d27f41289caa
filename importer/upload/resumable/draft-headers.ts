/**
 * The headers of "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload-11, interop version 8), read and
 * written. Versions 5 to 7 (drafts 03 to 08) are taken too: they differ in what may be left out, and nothing is left out
 * here. Pure.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import { RequestRefusal } from '../answers.ts'
import { formatBoolean, formatCounts, parseBoolean, parseCount } from './structured-fields.ts'

/** Interop versions whose clients are told of an upload by 104 responses. */
export const interopVersions: readonly number[] = [5, 6, 7, 8]
/** The first one that names the media type of pieces. */
const firstTypedVersion = 6
/** What a piece must be sent as. */
export const draftPieceType = 'application/partial-upload'

export interface DraftRequest {
  /** The body is all that is left. Absent: the request knows nothing of resumable uploads. */
  readonly complete?: boolean
  readonly offset?: number
  /** Of the whole, by `Upload-Length` or because the body is all that is left. */
  readonly length?: number
  /** Absent if the client did not tell one, or one that is not known here: it must not get a 104 then. */
  readonly interop?: number
  /** The body is labelled as a piece, or need not be. */
  readonly isPiece: boolean
}

export interface DraftInput {
  /** A header by its name in lower case. */
  readonly header: (name: string) => string | undefined
  /** What `Content-Length` says. */
  readonly announcedBytes: number | undefined
  /** Where the body begins within the upload, for requests that begin one. */
  readonly offset?: number
}

/** Reads a request. Throws {@link Problem} if it contradicts itself about the length. */
export function parseDraftRequest({ header, announcedBytes, offset: givenOffset }: DraftInput): DraftRequest {
  const complete = parseBoolean(header('upload-complete'))
  const offset = givenOffset ?? parseCount(header('upload-offset'))
  const told = parseCount(header('upload-length'))
  const implied =
    complete === true && announcedBytes !== undefined && offset !== undefined ? offset + announcedBytes : undefined
  if (told !== undefined && implied !== undefined && told !== implied) {
    throw inconsistentLength(`Upload-Length is ${told}, but the upload ends at ${implied} with this request`)
  }
  const length = told ?? implied
  const interop = parseCount(header('upload-draft-interop-version'))
  const isKnown = interop !== undefined && interopVersions.includes(interop)
  const type = header('content-type')?.split(';')[0]?.trim().toLowerCase()
  return {
    isPiece: type === draftPieceType || (isKnown && interop < firstTypedVersion),
    ...(complete === undefined ? {} : { complete }),
    ...(offset === undefined ? {} : { offset }),
    ...(length === undefined ? {} : { length }),
    ...(isKnown ? { interop } : {}),
  }
}

export interface DraftState {
  readonly complete: boolean
  readonly offset?: number
  readonly length?: number | undefined
  /** Seconds that the upload lives if nothing comes. */
  readonly maxAgeSeconds?: number
}

/** What a response tells of an upload. */
export function draftStateHeaders({ complete, offset, length, maxAgeSeconds }: DraftState): OutgoingHttpHeaders {
  return {
    'upload-complete': formatBoolean(complete),
    ...(offset === undefined ? {} : { 'upload-offset': offset }),
    ...(length === undefined ? {} : { 'upload-length': length }),
    ...(maxAgeSeconds === undefined ? {} : { 'upload-limit': formatLimits(maxAgeSeconds) }),
  }
}

/** `Upload-Limit`. */
export function formatLimits(maxAgeSeconds: number): string {
  return formatCounts({ 'max-age': Math.max(0, Math.floor(maxAgeSeconds)) })
}

const problemBase = 'https://iana.org/assignments/http-problem-types#'

/** A refusal with a document of RFC 9457 as body. */
export class Problem extends RequestRefusal {
  readonly document: Readonly<Record<string, unknown>>
  readonly headers: OutgoingHttpHeaders

  constructor({
    status,
    type,
    title,
    members = {},
    headers = {},
  }: {
    status: number
    type: string
    title: string
    members?: Readonly<Record<string, unknown>>
    headers?: OutgoingHttpHeaders
  }) {
    super(status, title)
    this.name = 'Problem'
    this.document = { type: `${problemBase}${type}`, title, status, ...members }
    this.headers = headers
  }
}

/** The client is elsewhere than we are. */
export function mismatchingOffset(expected: number, provided: number): Problem {
  return new Problem({
    status: 409,
    type: 'mismatching-upload-offset',
    title: `the upload goes on at byte ${expected}, not ${provided}`,
    members: { 'expected-offset': expected, 'provided-offset': provided },
    headers: draftStateHeaders({ complete: false, offset: expected }),
  })
}

export function completedUpload(): Problem {
  return new Problem({
    status: 400,
    type: 'completed-upload',
    title: 'all bytes of this upload are there already',
    headers: draftStateHeaders({ complete: true }),
  })
}

export function inconsistentLength(title: string): Problem {
  return new Problem({ status: 400, type: 'inconsistent-upload-length', title })
}
