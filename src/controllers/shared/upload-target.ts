/** Which claims an upload server fills: those that a client shall fill, and those that are copied from another claim. */
import { annotations } from '../../api/names.ts'
import type { PersistentVolumeClaim } from '../../api/kinds.ts'
import type { ObjectKey } from '../../kube/object.ts'
import { annotationOf, hasAnnotation, isAnnotatedTrue } from './annotated.ts'

/** Whether a client shall fill the claim, whoever made it (contract/upload.md §4.1). */
export function isUploadTarget(claim: PersistentVolumeClaim): boolean {
  return hasAnnotation(claim, annotations.uploadTarget) && !isAnnotatedTrue(claim, annotations.externalPopulation)
}

/** Whether the claim is to be copied from another one, by a pod that sends to an upload server (contract/clone.md §7). */
export function isCloneTarget(claim: PersistentVolumeClaim): boolean {
  return hasAnnotation(claim, annotations.cloneRequest)
}

/** Whether an upload server fills the claim, or has filled it. */
export function isServed(claim: PersistentVolumeClaim): boolean {
  return isUploadTarget(claim) || isCloneTarget(claim)
}

/** Whether the copy into the claim is complete; such a claim is left alone from then on. */
export function isCopied(claim: PersistentVolumeClaim): boolean {
  return hasAnnotation(claim, annotations.cloneOf)
}

/** The claim that a clone target is to be copied from; undefined if it names none, or not as `<namespace>/<name>`. */
export function cloneSourceOf(claim: PersistentVolumeClaim): (ObjectKey & { readonly namespace: string }) | undefined {
  const [namespace, name, ...rest] = (annotationOf(claim, annotations.cloneRequest) ?? '').split('/')
  return namespace && name && rest.length === 0 ? { namespace, name } : undefined
}

/**
 * The name that the certificate of a clone target's one client bears (contract/clone.md §7.1), longer than X.509 wants it.
 * Always made of what the claim is and never read from where it is recorded: whoever may change annotations could have a
 * certificate made in any name.
 */
export function cloneClientName(claim: PersistentVolumeClaim): string {
  const { namespace = '', name } = claim.metadata
  return `${annotationOf(claim, annotations.cloneRequest) ?? ''}-${namespace}/${name}`
}
