/** Whether an ObjectTransfer (deprecated) may be created or changed (contract/platform.md §8.2). */
import { kinds } from '../../api/kinds.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Kind, ObjectKey } from '../../kube/object.ts'
import { fieldsOf, isSameSpec, textOf } from './fields.ts'
import type { Fields } from './fields.ts'
import type { AdmissionRequest } from './review.ts'
import { admitted, invalid, rejected } from './verdict.ts'
import type { Cause, Verdict } from './verdict.ts'

const warnings = ['ObjectTransfer feature is deprecated, and will be deleted soon']

const transferable: Readonly<Record<string, Kind>> = {
  DataVolume: kinds.dataVolume,
  PersistentVolumeClaim: kinds.pvc,
}

export interface Transfer {
  readonly kind: Kind
  readonly target: ObjectKey & { readonly namespace: string }
}

/** What shall be moved where, or what is wrong with the wish. What the target leaves out is that of the source. */
export function transferOf(spec: Fields): Transfer | { readonly cause: Cause } {
  const source = fieldsOf(spec['source'])
  const target = fieldsOf(spec['target'])
  const [namespace, name] = [textOf(target['namespace']), textOf(target['name'])]
  if (namespace === '' && name === '') {
    return { cause: invalid('spec.target', 'Target namespace and/or target name must be supplied') }
  }
  const kindName = textOf(source['kind'])
  const kind = Object.hasOwn(transferable, kindName) ? transferable[kindName] : undefined
  if (!kind) return { cause: invalid('spec.source.kind', `Unsupported kind "${kindName}"`) }
  return {
    kind,
    target: { namespace: namespace || textOf(source['namespace']), name: name || textOf(source['name']) },
  }
}

/** Looks up and decides. */
export async function validateObjectTransfer(
  { operation, object, oldObject }: AdmissionRequest,
  { client }: { readonly client: Pick<KubeClient, 'get'> },
  signal: AbortSignal,
): Promise<Verdict> {
  if (operation === 'UPDATE') {
    return isSameSpec(oldObject['spec'], object['spec'])
      ? admitted
      : rejected(invalid('spec', 'ObjectTransfer spec is immutable'))
  }
  const transfer = transferOf(fieldsOf(object['spec']))
  if ('cause' in transfer) return rejected(transfer.cause)
  const { kind, target } = transfer
  if (target.name !== '' && (await client.get(kind, target, signal))) {
    return rejected(invalid('spec.target', `ObjectTransfer target "${target.namespace}/${target.name}" already exists`))
  }
  return { allowed: true, warnings }
}
