/**
 * Whether an upload may go on to the server of its claim (contract/upload.md §5.3): pure decisions over the token's claims
 * and over what was looked up. A refusal is final; "wait" may become something else by itself within seconds.
 *
 * Better than what clients knew before (contract §13): what waiting cannot mend has a status of its own (404, 409) where
 * nobody relies on 503, a volume that was filled through a populator is told as finished at once, and a claim whose prime
 * is not there yet is waited for.
 */
import { annotations } from '../src/api/annotations.ts'
import { cdiGroup } from '../src/api/kinds.ts'
import type { PersistentVolumeClaim } from '../src/api/kinds.ts'
import type { ObjectKey } from '../src/kube/object.ts'
import type { TokenClaims } from '../src/tokens/token.ts'

/** The target claim, and the one that is filled in its place if there is one. */
export interface Looked {
  readonly target: PersistentVolumeClaim | undefined
  readonly prime: PersistentVolumeClaim | undefined
}

export interface Refusal {
  readonly verdict: 'refuse'
  readonly status: number
  /** Plain text, not escaped yet. */
  readonly message: string
}

export interface Waiting {
  readonly verdict: 'wait'
  /** What is missing, told when patience ends. */
  readonly message: string
}

export interface Passage {
  readonly verdict: 'forward'
  /** The claim whose server takes the data. */
  readonly claim: { readonly namespace: string; readonly name: string }
  readonly isArchive: boolean
}

export type Decision = Refusal | Waiting | Passage

/** The credential in an `Authorization` header: `Bearer` and a token68 (RFC 6750 §2.1); undefined if it is none. */
export function bearerToken(authorization: string | undefined): string | undefined {
  return /^Bearer +([\w.~+/-]+=*) *$/i.exec(authorization ?? '')?.[1]
}

/** The claim that a token is for; undefined if it is a token for something else. */
export function claimOfToken(claims: TokenClaims): Required<ObjectKey> | undefined {
  const { operation, name, namespace, resource } = claims
  const isUpload = operation === 'Upload' && resource?.resource === 'persistentvolumeclaims'
  return isUpload && name && namespace ? { namespace, name } : undefined
}

/** Anything else cannot be the name of an object, and must not become part of an API server's path. */
const subdomain = /^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$/

/** Whether there can be an object of this name in this namespace. */
export function mayExist({ namespace, name }: Required<ObjectKey>): boolean {
  return subdomain.test(name) && !name.includes('..') && /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(namespace)
}

/** Whether a prime claim is filled in place of this one. */
export function isPopulated({ spec }: PersistentVolumeClaim): boolean {
  const reference = spec?.dataSourceRef
  return reference?.apiGroup === cdiGroup && reference.kind === 'VolumeUploadSource'
}

export function decide({ namespace, name }: Required<ObjectKey>, { target, prime }: Looked): Decision {
  if (target === undefined) {
    return refuse(404, `rejecting Upload Request for PVC ${name} that doesn't exist`)
  }
  if (isPopulated(target)) {
    if (!target.metadata.annotations?.[annotations.populatorPvcPrime]) {
      // The prime is gone once it was filled; the phase that was copied from it stays.
      return isFinished(target) ? finished(name) : wait(name, "PVC' wasn't created yet")
    }
    if (prime === undefined) return wait(name, "PVC' wasn't created yet")
  }
  const claim = isPopulated(target) && prime ? prime : target
  const notes = claim.metadata.annotations ?? {}
  if (notes[annotations.uploadTarget] === undefined) return refuse(409, `PVC ${name} is not an upload target`)
  if (isFinished(claim)) return finished(name)
  const contentType = notes[annotations.contentType] ?? ''
  if (contentType !== '' && contentType !== 'kubevirt' && contentType !== 'archive') {
    return refuse(503, `rejecting upload request for PVC ${name} - upload content-type ${contentType} is invalid`)
  }
  if (!isTrue(notes[annotations.podReady])) return wait(name, 'its upload server is not ready')
  return {
    verdict: 'forward',
    claim: { namespace, name: claim.metadata.name },
    isArchive: contentType === 'archive',
  }
}

function refuse(status: number, message: string): Refusal {
  return { verdict: 'refuse', status, message }
}

/** Clients rely on 503 here. */
function finished(name: string): Refusal {
  return refuse(503, `rejecting Upload Request for PVC ${name} that already finished uploading`)
}

function wait(name: string, what: string): Waiting {
  return { verdict: 'wait', message: `rejecting Upload Request for PVC ${name}, ${what}: context deadline exceeded` }
}

function isFinished({ metadata }: PersistentVolumeClaim): boolean {
  return metadata.annotations?.[annotations.podPhase] === 'Succeeded'
}

/** As Go parses booleans, in which the annotation may be written. */
function isTrue(text: string | undefined): boolean {
  return ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text ?? '')
}
