/**
 * Status conditions. `lastTransitionTime` changes with the status; `lastHeartbeatTime` with status, reason or message, and
 * not at every look, so that a status that says nothing new is not written.
 */

export type ConditionStatus = 'True' | 'False' | 'Unknown'

export interface Condition {
  type: string
  status: ConditionStatus
  reason?: string
  message?: string
  lastTransitionTime?: string
  lastHeartbeatTime?: string
}

/** What a condition should say. Empty or absent reason and message are the same and are left out. */
export interface ConditionFacts {
  readonly type: string
  readonly status: ConditionStatus
  readonly reason?: string
  readonly message?: string
}

/** The condition of a type. */
export function findCondition<C extends { readonly type: string }>(
  conditions: readonly C[] | undefined,
  type: string,
): C | undefined {
  return conditions?.find((condition) => condition.type === type)
}

/** Whether two conditions say the same, whenever they said it. */
export function sameFacts(one: ConditionFacts, other: ConditionFacts): boolean {
  return (
    one.type === other.type &&
    one.status === other.status &&
    (one.reason ?? '') === (other.reason ?? '') &&
    (one.message ?? '') === (other.message ?? '')
  )
}

/**
 * The list with one condition set; the list itself when it said so already. A new type is appended, others keep their
 * place.
 * @param now RFC 3339, whole seconds (`formatTime`)
 */
export function setCondition(
  conditions: readonly Condition[] | undefined,
  facts: ConditionFacts,
  now: string,
): readonly Condition[] {
  const list = conditions ?? []
  const before = findCondition(list, facts.type)
  if (before !== undefined && sameFacts(before, facts)) return list
  const after: Condition = {
    type: facts.type,
    status: facts.status,
    ...(facts.reason ? { reason: facts.reason } : {}),
    ...(facts.message ? { message: facts.message } : {}),
    lastHeartbeatTime: now,
    lastTransitionTime: before?.status === facts.status && before.lastTransitionTime ? before.lastTransitionTime : now,
  }
  return before === undefined ? [...list, after] : list.map((condition) => (condition === before ? after : condition))
}
