/** Admission requests as the API server sends them, and what the verdicts on them say, for the tests of this folder. */
import type { Fields } from '../../../../src/apiserver/admission/fields.ts'
import { parseReview, renderReview } from '../../../../src/apiserver/admission/review.ts'
import type { AdmissionRequest } from '../../../../src/apiserver/admission/review.ts'
import type { PatchStep, Verdict } from '../../../../src/apiserver/admission/verdict.ts'

export interface RequestFacts {
  readonly operation?: string
  readonly object?: unknown
  readonly oldObject?: unknown
  readonly namespace?: string
  readonly name?: string
  readonly user?: unknown
}

/** A review of a resource, named by its plural. */
export function review(resource: string, facts: RequestFacts): Fields {
  const { operation = facts.oldObject === undefined ? 'CREATE' : 'UPDATE', object = null, oldObject = null } = facts
  return {
    apiVersion: 'admission.k8s.io/v1',
    kind: 'AdmissionReview',
    request: {
      uid: '705ab4f5-6393-11e8-b7cc-42010a800002',
      kind: {},
      resource: { group: 'cdi.kubevirt.io', version: 'v1beta1', resource },
      ...(facts.name === undefined ? {} : { name: facts.name }),
      namespace: facts.namespace ?? 'home',
      operation,
      userInfo: facts.user ?? { username: 'alice', groups: ['system:authenticated'], extra: { scope: ['a', 'b'] } },
      object,
      oldObject,
      dryRun: false,
    },
  }
}

export function request(resource: string, facts: RequestFacts): AdmissionRequest {
  return parseReview(review(resource, facts)).request
}

/** What kubectl shows behind `denied the request:` and a blank; `admitted` when it was. */
export function told(verdict: Verdict): string {
  const { response } = renderReview({ apiVersion: 'admission.k8s.io/v1', uid: 'u' }, verdict) as {
    response: { allowed: boolean; status?: { message: string; code: number } }
  }
  return response.allowed ? 'admitted' : `${response.status?.code}:${response.status?.message}`
}

export function patchOf(verdict: Verdict): readonly PatchStep[] {
  return verdict.allowed ? (verdict.patch ?? []) : []
}

/** The object after a patch (RFC 6902, `add`, `replace` and `remove` of members only). */
export function patched(object: unknown, patch: readonly PatchStep[]): unknown {
  const result = structuredClone(object) as Record<string, unknown>
  for (const step of patch) {
    const names = step.path
      .slice(1)
      .split('/')
      .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'))
    const last = names.pop() ?? ''
    let parent = result
    for (const name of names) {
      const next = parent[name]
      if (typeof next !== 'object' || next === null) throw new Error(`${step.path} leads nowhere`)
      parent = next as Record<string, unknown>
    }
    if (step.op === 'remove') delete parent[last]
    else parent[last] = step.value
  }
  return result
}
