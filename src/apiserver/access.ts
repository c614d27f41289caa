/** Who somebody is, and whether the cluster lets them do something (SubjectAccessReview). */
import { kinds } from '../api/kinds.ts'
import type { KubeClient } from '../kube/client.ts'

/** A user as the API server authenticated it. */
export interface User {
  readonly name: string
  readonly uid?: string
  readonly groups: readonly string[]
  readonly extra: Readonly<Record<string, readonly string[]>>
}

/** What somebody wants to do; the resource is named as in RBAC rules. */
export interface Access {
  readonly namespace: string
  readonly verb: string
  readonly group: string
  readonly version: string
  readonly resource: string
  readonly subresource?: string
  /** Of one object. */
  readonly name?: string
}

export interface AccessAnswer {
  readonly allowed: boolean
  /** Why, in the authorizer's words; may be empty. */
  readonly reason: string
}

/** Asks the cluster. Rejects (ApiError, ConnectionError) when it cannot be asked. */
export type AskAccess = (user: User, access: Access, signal?: AbortSignal) => Promise<AccessAnswer>

export function accessAsker(client: Pick<KubeClient, 'create'>): AskAccess {
  return async (user, access, signal) => {
    const { status } = await client.create(
      kinds.subjectAccessReview,
      {
        apiVersion: 'authorization.k8s.io/v1',
        kind: 'SubjectAccessReview',
        metadata: { generateName: '' },
        spec: {
          user: user.name,
          ...(user.uid ? { uid: user.uid } : {}),
          groups: [...user.groups],
          extra: Object.fromEntries(Object.entries(user.extra).map(([key, values]) => [key, [...values]])),
          resourceAttributes: { ...access },
        },
      },
      signal,
    )
    return { allowed: status?.allowed === true && status.denied !== true, reason: status?.reason ?? '' }
  }
}
