/**
 * A request for an upload token, as JSON that nobody has checked: the decisions about it, without the server around them
 * (contract/upload.md §2.4).
 */
import { fieldsOf, isFields, isGiven } from './admission/fields.ts'
import type { Fields } from './admission/fields.ts'
import { knownMembers } from './openapi.ts'
import { uploadGroup, uploadGroupVersion, uploadTokenRequest } from './resource.ts'
import { statusOf } from './status.ts'

export interface TokenRequest {
  /** As sent, with apiVersion and kind if they were left out. */
  readonly object: Fields
  readonly pvcName: string
  /** Members that this API does not know, as paths. */
  readonly unknownFields: readonly string[]
}

/** What is wrong with a request; `code` is the HTTP status. */
export interface TokenRequestProblem {
  readonly code: 400 | 422
  readonly status: object
}

export function parseTokenRequest(body: unknown): TokenRequest | { readonly problem: TokenRequestProblem } {
  if (!isFields(body)) return bad('the body is not a JSON object')
  const { apiVersion = uploadGroupVersion, kind = uploadTokenRequest.kind, metadata, spec, status } = body
  if (apiVersion !== uploadGroupVersion || kind !== uploadTokenRequest.kind) {
    return bad(`the object is not an ${uploadTokenRequest.kind} of ${uploadGroupVersion}`)
  }
  for (const [name, part] of Object.entries({ metadata, spec, status })) {
    if (isGiven(part) && !isFields(part)) return bad(`${name} is not an object`)
  }
  const { pvcName } = fieldsOf(spec)
  if (isGiven(pvcName) && typeof pvcName !== 'string') return bad('spec.pvcName is not a string')
  if (!pvcName) return { problem: withoutName(body) }
  return {
    object: { ...body, apiVersion, kind },
    pvcName: pvcName as string,
    unknownFields: unknownFields(body),
  }
}

function bad(message: string): { readonly problem: TokenRequestProblem } {
  return { problem: { code: 400, status: statusOf(400, message) } }
}

function withoutName(body: Fields): TokenRequestProblem {
  const { name } = fieldsOf(body['metadata'])
  const cause = {
    reason: 'FieldValueRequired',
    message: 'Required value: the name of the claim that shall be filled',
    field: 'spec.pvcName',
  }
  const called = typeof name === 'string' ? name : ''
  return {
    code: 422,
    status: statusOf(
      422,
      `${uploadTokenRequest.kind}.${uploadGroup} ${JSON.stringify(called)} is invalid: ${cause.field}: ${cause.message}`,
      { group: uploadGroup, kind: uploadTokenRequest.kind, name: called, causes: [cause] },
    ),
  }
}

function unknownFields(body: Fields): string[] {
  return Object.entries(knownMembers).flatMap(([part, known]) =>
    Object.keys(part === '' ? body : fieldsOf(body[part]))
      .filter((name) => !known.includes(name))
      .map((name) => (part === '' ? name : `${part}.${name}`)),
  )
}

/** The answer: the request as sent with its token, without what this API does not know. */
export function withToken({ object, pvcName }: TokenRequest, token: string | undefined): object {
  const { apiVersion, kind, metadata } = object
  return {
    kind,
    apiVersion,
    metadata: { ...fieldsOf(metadata) },
    spec: { pvcName },
    status: token === undefined ? {} : { token },
  }
}
