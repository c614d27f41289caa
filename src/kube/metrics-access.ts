/**
 * Who may read metrics: whoever the cluster allows to `get` the non-resource URL `/metrics`. The caller's bearer token is
 * shown to the API server (TokenReview), then its user is (SubjectAccessReview).
 */
import { createHash } from 'node:crypto'
import type { KubeClient } from './client.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Kind, KubeObject } from './object.ts'

interface TokenReview extends KubeObject {
  spec: { token: string }
  status?: { authenticated?: boolean; user?: { username?: string; uid?: string; groups?: string[]; extra?: object } }
}

interface SubjectAccessReview extends KubeObject {
  spec: object
  status?: { allowed?: boolean }
}

const tokenReviewKind: Kind<TokenReview> = {
  group: 'authentication.k8s.io',
  version: 'v1',
  plural: 'tokenreviews',
  kind: 'TokenReview',
  namespaced: false,
}

const accessReviewKind: Kind<SubjectAccessReview> = {
  group: 'authorization.k8s.io',
  version: 'v1',
  plural: 'subjectaccessreviews',
  kind: 'SubjectAccessReview',
  namespaced: false,
}

/** The HTTP status for a caller: 200, 401 (nobody known) or 403 (not allowed). */
export type Authorize = (authorization: string | undefined, path: string) => Promise<200 | 401 | 403>

/** A verdict is kept this long, so that a scraper does not cost two requests every time. */
const verdictMs = 30_000
const maxVerdicts = 64

/** Asks the cluster. Rejects when the API server cannot be asked. */
export function clusterAuthorizer({
  client,
  clock = systemClock,
}: {
  client: Pick<KubeClient, 'create'>
  clock?: Clock
}): Authorize {
  const verdicts = new Map<string, { readonly status: 200 | 401 | 403; readonly untilMs: number }>()

  async function review(token: string, path: string): Promise<200 | 401 | 403> {
    const { status } = await client.create(tokenReviewKind, {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenReview',
      metadata: { generateName: '' },
      spec: { token },
    })
    const user = status?.user
    if (!status?.authenticated || !user?.username) return 401
    const access = await client.create(accessReviewKind, {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SubjectAccessReview',
      metadata: { generateName: '' },
      spec: {
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        nonResourceAttributes: { path, verb: 'get' },
      },
    })
    return access.status?.allowed === true ? 200 : 403
  }

  return async (authorization, path) => {
    const token = /^Bearer\s+(\S+)$/i.exec(authorization ?? '')?.[1]
    if (token === undefined) return 401
    const key = createHash('sha256').update(`${path}\n${token}`).digest('base64')
    const known = verdicts.get(key)
    if (known !== undefined && known.untilMs > clock.monotonicMs()) return known.status
    const status = await review(token, path)
    verdicts.delete(key)
    verdicts.set(key, { status, untilMs: clock.monotonicMs() + verdictMs })
    const [oldest] = verdicts.keys()
    if (verdicts.size > maxVerdicts && oldest !== undefined) verdicts.delete(oldest)
    return status
  }
}
