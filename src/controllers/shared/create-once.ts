/** Makes what bears a name that only we make: if it is there already, that was a moment ago, and no cache shows it yet. */
import { isAlreadyExists } from '../../kube/api-error.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Kind, KubeObject, NewObject } from '../../kube/object.ts'

export async function createOnce<T extends KubeObject>(
  client: Pick<KubeClient, 'create'>,
  kind: Kind<T>,
  object: NewObject<T>,
): Promise<void> {
  try {
    await client.create(kind, object)
  } catch (error) {
    if (!isAlreadyExists(error)) throw error
  }
}
