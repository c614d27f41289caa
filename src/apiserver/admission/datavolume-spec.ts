/**
 * The rules about the spec of a DataVolume, in the order of contract/platform.md §8.1; also those of the template of a
 * DataImportCron. Pure: nothing is looked up.
 */
import { maxNameLength } from '../../api/names.ts'
import { compareQuantities, QuantityError } from '../../quantity.ts'
import { fieldsOf, isGiven, isSameSpec, textOf, textsOf } from './fields.ts'
import type { Fields } from './fields.ts'
import { quantityMessage } from './quantities.ts'
import { contentTypeCause, sourceCause, sourceMembers } from './source.ts'
import { duplicate, firstCause, invalid } from './verdict.ts'
import type { Cause } from './verdict.ts'

/** Access modes of Kubernetes, in the order in which messages list them. */
const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod']

export const nameTooLongMessage = (limit: number): string => `Name cannot be longer than ${limit} characters`

/** The first rule that a spec breaks. @param root path of the spec in messages: `spec` or `Template` */
export function dataVolumeSpecCause(spec: Fields, root: string): Cause | undefined {
  const { pvc, storage, source, sourceRef } = spec
  if (!isGiven(pvc) && !isGiven(storage)) return invalid(`${root}.PVC`, 'Missing Data volume PVC')
  if (isGiven(pvc) && isGiven(storage)) {
    return duplicate(`${root}.storage`, 'Duplicate storage definition, both target storage and target pvc defined')
  }
  const claim = fieldsOf(pvc ?? storage)
  const where = isGiven(pvc) ? `${root}.PVC` : `${root}.Storage`
  const isFilledByOthers = isGiven(claim['dataSource']) || isGiven(claim['dataSourceRef'])
  return firstCause(
    () => sizeCause(spec, claim, isGiven(pvc) ? 'PVC' : 'Storage', where),
    () => classNameCause(claim, where),
    () => accessModesCause(claim, isGiven(pvc), where),
    () => (isFilledByOthers ? externalPopulationCause(spec, claim, where) : undefined),
    () => {
      if (isFilledByOthers) return undefined
      if (isGiven(source) === isGiven(sourceRef)) {
        return invalid(root, 'Data volume should have either Source or SourceRef, or be externally populated')
      }
      return isGiven(sourceRef)
        ? firstCause(
            () => sourceRefCause(fieldsOf(sourceRef), root),
            () => contentTypeCause(spec['contentType'], root),
          )
        : ownSourceCause(spec, root)
    },
  )
}

function sizeCause(spec: Fields, claim: Fields, what: 'PVC' | 'Storage', where: string): Cause | undefined {
  const at = `${where}.resources.requests.size`
  const size = fieldsOf(fieldsOf(claim['resources'])['requests'])['storage']
  if (typeof size !== 'string' && typeof size !== 'number') {
    return what === 'Storage' && takesSizeFromSource(spec) ? undefined : invalid(at, `${what} size is missing`)
  }
  try {
    if (compareQuantities(size, 0) <= 0) return invalid(at, `${what} size can't be equal or less than zero`)
    return compareQuantities(size, '1Mi') < 0 ? invalid(at, `${what} size should be at least 1MiB`) : undefined
  } catch (error) {
    if (error instanceof QuantityError) return invalid(at, quantityMessage)
    throw error
  }
}

function takesSizeFromSource({ source, sourceRef }: Fields): boolean {
  const { pvc, snapshot } = fieldsOf(source)
  return isGiven(sourceRef) || isGiven(pvc) || isGiven(snapshot)
}

function classNameCause(claim: Fields, where: string): Cause | undefined {
  return textOf(claim['storageClassName']).length > maxNameLength
    ? invalid(`${where}.storageClassName`, nameTooLongMessage(maxNameLength))
    : undefined
}

function accessModesCause(claim: Fields, isPvc: boolean, where: string): Cause | undefined {
  const at = `${where}.accessModes`
  const modes = textsOf(claim['accessModes'])
  if (isPvc && modes.length === 0) return invalid(at, 'Required value: at least 1 access mode is required')
  if (isPvc && modes.length > 1) return invalid(at, 'PVC multiple accessModes')
  const unknown = modes.find((mode) => !accessModes.includes(mode))
  if (unknown === undefined) return undefined
  const known = accessModes.map((mode) => `"${mode}"`).join(', ')
  return invalid(at, `Unsupported value: "${unknown}": supported values: ${known}`)
}

/** Somebody else fills the claim: it says with what, and the DataVolume nothing. */
function externalPopulationCause(spec: Fields, claim: Fields, where: string): Cause | undefined {
  const { dataSource, dataSourceRef } = claim
  if (isGiven(spec['source']) || isGiven(spec['sourceRef'])) {
    return invalid(where, 'External population is incompatible with Source and SourceRef')
  }
  if (isGiven(dataSource) && isGiven(dataSourceRef)) {
    const identity = (reference: unknown): object => {
      const { apiGroup, kind, name } = fieldsOf(reference)
      return { apiGroup: apiGroup === '' ? undefined : apiGroup, kind, name }
    }
    if (!isSameSpec(identity(dataSource), identity(dataSourceRef))) {
      return invalid(where, 'DataSourceRef and DataSource must match')
    }
  }
  return firstCause(
    () => (isGiven(dataSource) ? referenceCause(fieldsOf(dataSource), 'DataSource', where) : undefined),
    () => (isGiven(dataSourceRef) ? referenceCause(fieldsOf(dataSourceRef), 'DataSourceRef', where) : undefined),
    () =>
      textOf(fieldsOf(dataSourceRef)['namespace']) === ''
        ? undefined
        : invalid(`${where}.dataSourceRef.namespace`, 'Invalid value: DataSourceRef namespace not supported'),
  )
}

function referenceCause(reference: Fields, what: string, where: string): Cause | undefined {
  const at = `${where}.${what === 'DataSource' ? 'dataSource' : 'dataSourceRef'}`
  const kind = textOf(reference['kind'])
  if (textOf(reference['name']) === '') return invalid(`${at}.name`, `Required value: ${what} name`)
  if (kind === '') return invalid(`${at}.kind`, `Required value: ${what} kind`)
  return textOf(reference['apiGroup']) === '' && kind !== 'PersistentVolumeClaim'
    ? invalid(`${at}.apiGroup`, `Required value: ${what} apiGroup when kind is not 'PersistentVolumeClaim'`)
    : undefined
}

function sourceRefCause(sourceRef: Fields, root: string): Cause | undefined {
  const at = `${root}.SourceRef`
  const kind = textOf(sourceRef['kind'])
  if (kind === '') return invalid(`${at}.Kind`, 'Missing sourceRef kind')
  if (kind !== 'DataSource') {
    return invalid(`${at}.Kind`, `Unsupported sourceRef kind ${kind}, currently only DataSource is supported`)
  }
  return textOf(sourceRef['name']) === '' ? invalid(`${at}.Name`, 'Missing sourceRef name') : undefined
}

function ownSourceCause(spec: Fields, root: string): Cause | undefined {
  const { source, contentType } = spec
  const members = sourceMembers(source)
  if (members.length === 0) return invalid(`${root}.source`, 'Missing Data volume source')
  if (members.length > 1) return invalid(`${root}.source`, 'Multiple Data volume sources')
  return firstCause(
    () => contentTypeCause(contentType, root),
    () => sourceCause({ source, contentType: textOf(contentType), root }),
  )
}
