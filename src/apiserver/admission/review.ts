/**
 * The envelope of admission webhooks: `AdmissionReview` of `admission.k8s.io/v1` or `v1beta1`, whose answer bears the same
 * version and the uid of the request (Kubernetes, "Dynamic Admission Control").
 */
import type { User } from '../access.ts'
import { fieldsOf, isFields, textMapOf, textOf, textsOf } from './fields.ts'
import type { Fields } from './fields.ts'
import type { Verdict } from './verdict.ts'

export interface AdmissionRequest {
  readonly operation: string
  /** Of the object; empty for cluster-scoped ones. */
  readonly namespace: string
  /** Empty while the name is still to be generated. */
  readonly name: string
  /** Plural of the resource, e.g. `datavolumes`. */
  readonly resource: string
  readonly user: User
  /** The new state; empty on deletion. */
  readonly object: Fields
  /** The former state; empty on creation. */
  readonly oldObject: Fields
}

/** Thrown for a body that is no review. */
export class ReviewError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'ReviewError'
  }
}

export interface Review {
  readonly apiVersion: string
  readonly uid: string
  readonly request: AdmissionRequest
}

const versions = ['admission.k8s.io/v1', 'admission.k8s.io/v1beta1']

/** Reads a review. @throws {ReviewError} */
export function parseReview(body: unknown): Review {
  const { apiVersion, kind, request } = fieldsOf(body)
  if (kind !== 'AdmissionReview') throw new ReviewError('the body is not an AdmissionReview')
  if (typeof apiVersion !== 'string' || !versions.includes(apiVersion)) {
    throw new ReviewError(`the version of the AdmissionReview is not one of ${versions.join(', ')}`)
  }
  if (!isFields(request)) throw new ReviewError('the AdmissionReview has no request')
  const uid = textOf(request['uid'])
  if (uid === '') throw new ReviewError('the request of the AdmissionReview has no uid')
  const object = fieldsOf(request['object'])
  const oldObject = fieldsOf(request['oldObject'])
  const metadata = metadataOf(object)
  return {
    apiVersion,
    uid,
    request: {
      operation: textOf(request['operation']),
      namespace: textOf(request['namespace']) || metadata.namespace,
      name: textOf(request['name']) || metadata.name,
      resource: textOf(fieldsOf(request['resource'])['resource']),
      user: userOf(request['userInfo']),
      object,
      oldObject,
    },
  }
}

function userOf(value: unknown): User {
  const { username, uid, groups, extra } = fieldsOf(value)
  return {
    name: textOf(username),
    ...(textOf(uid) === '' ? {} : { uid: textOf(uid) }),
    groups: textsOf(groups),
    extra: Object.fromEntries(Object.entries(fieldsOf(extra)).map(([key, values]) => [key, textsOf(values)])),
  }
}

/** The parts of an object's metadata that decisions are made by. */
export interface Metadata {
  readonly name: string
  readonly generateName: string
  readonly namespace: string
  readonly uid: string
  readonly labels: Record<string, string>
  readonly annotations: Record<string, string>
  readonly isBeingDeleted: boolean
}

export function metadataOf(object: Fields): Metadata {
  const metadata = fieldsOf(object['metadata'])
  return {
    name: textOf(metadata['name']),
    generateName: textOf(metadata['generateName']),
    namespace: textOf(metadata['namespace']),
    uid: textOf(metadata['uid']),
    labels: textMapOf(metadata['labels']),
    annotations: textMapOf(metadata['annotations']),
    isBeingDeleted: textOf(metadata['deletionTimestamp']) !== '',
  }
}

/** The answer to a review. */
export function renderReview({ apiVersion, uid }: Pick<Review, 'apiVersion' | 'uid'>, verdict: Verdict): object {
  return { apiVersion, kind: 'AdmissionReview', response: { uid, ...responseOf(verdict) } }
}

function responseOf(verdict: Verdict): object {
  if (verdict.allowed) {
    const { patch = [], warnings = [] } = verdict
    return {
      allowed: true,
      ...(patch.length === 0
        ? {}
        : { patchType: 'JSONPatch', patch: Buffer.from(JSON.stringify(patch)).toString('base64') }),
      ...(warnings.length === 0 ? {} : { warnings }),
    }
  }
  if ('error' in verdict) return { allowed: false, status: { message: verdict.error, code: 400 } }
  const { causes } = verdict
  const message = causes.map((cause) => ` ${cause.message}`).join('')
  // No reason: kubectl would show it, and drop the message of an "Invalid" one.
  return { allowed: false, status: { message, code: 422, details: { causes } } }
}
