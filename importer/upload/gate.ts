/**
 * Which requests for the plain addresses get through, in the order of the contract (upload §6.2): method, certificate,
 * whether somebody else is uploading, whether the volume is finished. Pure.
 */
import type { SlotRefusal } from './slot.ts'

/** An address that takes a whole upload in one request. */
export interface PlainAddress {
  /** The answer comes when the bytes are received and right, not only when the volume is finished. */
  readonly isAsync: boolean
  /** The body is a form with a part `file`. */
  readonly isForm: boolean
  /** The upload is an archive, whatever the claim says. */
  readonly isArchive: boolean
}

const addresses: Readonly<Record<string, PlainAddress>> = Object.fromEntries(
  ['v1beta1', 'v1alpha1'].flatMap((version) =>
    (
      [
        ['upload', { isAsync: false, isForm: false, isArchive: false }],
        ['upload-async', { isAsync: true, isForm: false, isArchive: false }],
        ['upload-form', { isAsync: false, isForm: true, isArchive: false }],
        ['upload-form-async', { isAsync: true, isForm: true, isArchive: false }],
        ['upload-archive', { isAsync: false, isForm: false, isArchive: true }],
      ] as const
    ).map(([name, address]) => [`/${version}/${name}`, address]),
  ),
)

/** Undefined if the path is none of them. */
export function plainAddress(path: string): PlainAddress | undefined {
  return Object.hasOwn(addresses, path) ? addresses[path] : undefined
}

export interface GateInput {
  readonly method: string
  readonly address: PlainAddress
  /** The client's certificate was verified and bears the right name. */
  readonly isTrusted: boolean
  /** Why the slot is not to be had, if it is not. */
  readonly refusal: SlotRefusal | undefined
}

export type Passage =
  | { readonly kind: 'take' }
  | { readonly kind: 'answer'; readonly status: 200 | 401 | 404 }
  | { readonly kind: 'refuse'; readonly refusal: SlotRefusal }

/** Never throws. */
export function passGate({ method, address, isTrusted, refusal }: GateInput): Passage {
  // virtctl asks so whether there is an asynchronous upload.
  if (method === 'HEAD' && address.isAsync) return { kind: 'answer', status: 200 }
  if (method !== 'POST' && method !== 'PUT') return { kind: 'answer', status: 404 }
  if (!isTrusted) return { kind: 'answer', status: 401 }
  if (refusal !== undefined) return { kind: 'refuse', refusal }
  return { kind: 'take' }
}
