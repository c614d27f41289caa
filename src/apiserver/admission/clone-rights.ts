/** Whether a user may read the source of a clone in another namespace (contract/clone.md §2.1). */
import type { AskAccess, User } from '../access.ts'
import { rightsFor } from './clone-source.ts'
import type { CloneSource } from './clone-source.ts'

export async function mayClone(
  user: User,
  source: CloneSource,
  askAccess: AskAccess,
  signal: AbortSignal,
): Promise<boolean> {
  for (const needed of rightsFor(source)) {
    let isAllowed = true
    for (const access of needed) isAllowed &&= (await askAccess(user, access, signal)).allowed
    if (isAllowed) return true
  }
  return false
}

export function insufficientRights({ name }: User, sourceNamespace: string): string {
  return `User ${name} has insufficient permissions in clone source namespace ${sourceNamespace}`
}
