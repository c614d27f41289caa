/** Whether the installation may be deleted (contract/platform.md §8.2). */
import { labels } from '../../api/names.ts'
import { kinds } from '../../api/kinds.ts'
import type { KubeClient } from '../../kube/client.ts'
import { fieldsOf, isFields, textOf } from './fields.ts'
import type { Fields } from './fields.ts'
import type { AdmissionRequest } from './review.ts'
import { admitted, refused } from './verdict.ts'
import type { Verdict } from './verdict.ts'

/** So many are looked up: the message tells one from several, and no more. */
const enough = 2

/** Whether the DataVolumes matter at all: the installation works and shall not be deleted under them. */
export function blocksUninstall(cdi: Fields): boolean {
  const phase = textOf(fieldsOf(cdi['status'])['phase'])
  const strategy = textOf(fieldsOf(cdi['spec'])['uninstallStrategy'])
  return phase !== '' && phase !== 'Error' && strategy === 'BlockUninstallIfWorkloadsExist'
}

/** @param count DataVolumes that nobody makes anew by itself */
export function validateUninstall(count: number): Verdict {
  return count === 0
    ? admitted
    : refused(
        `rejecting the uninstall request, since there are still ${count} DataVolumes present. ` +
          'Either delete all DataVolumes or change the uninstall strategy before uninstalling CDI',
      )
}

/** Looks up and decides. Changes nothing, so a dry run gets the true answer. */
export async function validateCdi(
  { operation, name, oldObject }: AdmissionRequest,
  { client }: { readonly client: Pick<KubeClient, 'get' | 'list'> },
  signal: AbortSignal,
): Promise<Verdict> {
  if (operation !== 'DELETE') return admitted
  // Old API servers do not tell what is being deleted.
  const known = isFields(oldObject['metadata'])
  const cdi = known ? oldObject : fieldsOf(name === '' ? undefined : await client.get(kinds.cdi, { name }, signal))
  if (!blocksUninstall(cdi)) return admitted
  const { items } = await client.list(kinds.dataVolume, {
    labelSelector: `!${labels.dataImportCron}`,
    limit: enough,
    signal,
  })
  return validateUninstall(items.length)
}
