/** A namespace that is being deleted takes nothing new; what was to be made there is not missed. */
import { isNamespaceTerminating } from '../../kube/api-error.ts'
import type { ReconcileResult } from '../../kube/controller.ts'
import type { ObjectKey } from '../../kube/object.ts'

type Reconcile = (key: ObjectKey) => Promise<ReconcileResult>

/** A reconcile that ends quietly when the namespace of its object is going away. */
export function untilNamespaceGoes(reconcile: Reconcile): Reconcile {
  return async (key) => {
    try {
      return await reconcile(key)
    } catch (error) {
      if (isNamespaceTerminating(error)) return {}
      throw error
    }
  }
}
