/** Whether a DataImportCron may be created or changed (contract/golden-images.md §4.2). */
import { maxServiceNameLength } from '../../api/names.ts'
import { isCronSchedule } from './cron-schedule.ts'
import { dataVolumeSpecCause, nameTooLongMessage } from './datavolume-spec.ts'
import { fieldsOf, isGiven, isSameSpec, listOf, textOf } from './fields.ts'
import type { Fields } from './fields.ts'
import type { AdmissionRequest } from './review.ts'
import { admitted, invalid, rejected, verdictOf } from './verdict.ts'
import type { Cause, Verdict } from './verdict.ts'

/** Names of these objects become values of labels. */
const maxLabelLength = maxServiceNameLength

export function validateDataImportCron({ operation, name, object, oldObject }: AdmissionRequest): Verdict {
  const spec = fieldsOf(object['spec'])
  if (operation === 'UPDATE') {
    return isSameSpec(oldObject['spec'], spec)
      ? admitted
      : rejected(invalid('spec', 'Cannot update DataImportCron Spec'))
  }
  const template = fieldsOf(fieldsOf(spec['template'])['spec'])
  return verdictOf(
    () => (name.length > maxLabelLength ? tooLong('metadata.name') : undefined),
    () => (textOf(spec['managedDataSource']).length > maxLabelLength ? tooLong('spec.managedDataSource') : undefined),
    () => templateCause(template),
    () => dataVolumeSpecCause(template, 'Template'),
    () => settingsCause(spec),
  )
}

function tooLong(field: string): Cause {
  return invalid(field, nameTooLongMessage(maxLabelLength))
}

function templateCause(template: Fields): Cause | undefined {
  const { registry, pvc } = fieldsOf(template['source'])
  if (!isGiven(registry) && !isGiven(pvc)) return invalid('spec.template.spec.source', 'Missing source')
  const sets =
    isGiven(template['sourceRef']) ||
    textOf(template['contentType']) !== '' ||
    listOf(template['checkpoints']).length > 0 ||
    isGiven(template['finalCheckpoint'])
  return sets
    ? invalid('spec.template.spec', 'Unsettable fields: SourceRef, ContentType, Checkpoints, FinalCheckpoint')
    : undefined
}

function settingsCause(spec: Fields): Cause | undefined {
  const { schedule, importsToKeep, garbageCollect, managedDataSource } = spec
  if (textOf(schedule) !== '' && !isCronSchedule(textOf(schedule))) {
    return invalid('spec.schedule', 'Illegal cron schedule')
  }
  if (typeof importsToKeep === 'number' && importsToKeep < 0) {
    return invalid('spec.importsToKeep', 'Illegal ImportsToKeep value')
  }
  if (isGiven(garbageCollect) && !['', 'Outdated', 'Never'].includes(garbageCollect as string)) {
    return invalid('spec.garbageCollect', 'Illegal GarbageCollect value')
  }
  return textOf(managedDataSource) === ''
    ? invalid('spec.managedDataSource', 'Illegal ManagedDataSource value')
    : undefined
}
