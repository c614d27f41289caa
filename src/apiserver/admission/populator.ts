/** Whether a VolumeImportSource or VolumeUploadSource may be created or changed (contract/platform.md §8.2). */
import { maxServiceNameLength } from '../../api/names.ts'
import { nameTooLongMessage } from './datavolume-spec.ts'
import { fieldsOf, listOf, textOf } from './fields.ts'
import type { Fields } from './fields.ts'
import type { AdmissionRequest } from './review.ts'
import { contentTypeCause, sourceCause, sourceMembers } from './source.ts'
import { specChange } from './spec-change.ts'
import { admitted, firstCause, invalid, rejected, verdictOf } from './verdict.ts'
import type { Cause, Verdict } from './verdict.ts'

const maxLength = maxServiceNameLength

export function validateVolumeImportSource(request: AdmissionRequest): Verdict {
  const spec = fieldsOf(request.object['spec'])
  return validate(request, 'VolumeImportSource', () => importCause(spec))
}

export function validateVolumeUploadSource(request: AdmissionRequest): Verdict {
  return validate(request, 'VolumeUploadSource', () => undefined)
}

function validate(
  { operation, name, object, oldObject }: AdmissionRequest,
  kind: string,
  own: () => Cause | undefined,
): Verdict {
  const spec = fieldsOf(object['spec'])
  if (operation === 'UPDATE') {
    const change = specChange(fieldsOf(oldObject['spec']), spec)
    if (change === 'none') return admitted
    if (change === 'forbidden') return rejected(invalid('spec', `Cannot update ${kind} Spec`))
  }
  return verdictOf(
    () => (name.length > maxLength ? invalid('metadata.name', nameTooLongMessage(maxLength)) : undefined),
    () => contentTypeCause(spec['contentType'], 'spec'),
    own,
  )
}

function importCause(spec: Fields): Cause | undefined {
  const { source, contentType, checkpoints, targetClaim } = spec
  const members = sourceMembers(source)
  return firstCause(
    () => (members.length === 0 ? invalid('spec.source', 'Missing VolumeImport source') : undefined),
    () => (members.length > 1 ? invalid('spec.source', 'Multiple VolumeImport sources') : undefined),
    () =>
      listOf(checkpoints).length > 0 && textOf(targetClaim) === ''
        ? invalid('spec.targetClaim', 'Unable to do multi-stage import without specifying a target claim')
        : undefined,
    () => sourceCause({ source, contentType: textOf(contentType), root: 'spec' }),
  )
}
