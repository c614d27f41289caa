/**
 * The rules about `spec.source` that DataVolumes, DataImportCrons and VolumeImportSources have in common
 * (contract/platform.md §8.1). The first broken rule speaks.
 */
import { messages } from '../../api/names.ts'
import { checksumProblem } from './checksum.ts'
import { fieldsOf, isGiven, textOf } from './fields.ts'
import type { Fields } from './fields.ts'
import { parseReference, parseRequestUri } from './url.ts'
import { firstCause, invalid } from './verdict.ts'
import type { Cause } from './verdict.ts'

/** The names of the members of a source that are given. A member that is null is none. */
export function sourceMembers(source: unknown): string[] {
  return Object.entries(fieldsOf(source)).flatMap(([name, value]) => (isGiven(value) ? [name] : []))
}

export interface SourceInput {
  readonly source: unknown
  /** As the user wrote it; `''` means kubevirt. */
  readonly contentType: string
  /** Path of the spec in messages: `spec` or `Template`. */
  readonly root: string
}

/** The content type itself. */
export function contentTypeCause(contentType: unknown, root: string): Cause | undefined {
  if (!isGiven(contentType) || ['', 'kubevirt', 'archive'].includes(contentType as string)) return undefined
  return invalid(`${root}.contentType`, 'ContentType not one of: kubevirt, archive')
}

/** The one given member of a source against its rules. */
export function sourceCause({ source, contentType, root }: SourceInput): Cause | undefined {
  const [member = ''] = sourceMembers(source)
  const given = fieldsOf(fieldsOf(source)[member])
  const at = `${root}.source`
  const isArchive = contentType === 'archive'
  switch (member) {
    case 'http':
      return firstCause(
        () => urlCause(given, at),
        () => checksumCause(given, at),
      )
    case 's3':
    case 'gcs':
      return urlCause(given, at)
    case 'blank':
      return isArchive ? invalid(at, 'SourceType cannot be blank and the contentType be archive') : undefined
    case 'registry':
      return registryCause(given, isArchive, at)
    case 'imageio':
      return firstCause(
        () => urlCause(given, at),
        () => imageioCause(given, `${at}.Imageio`),
      )
    case 'vddk':
      return firstCause(
        () => urlCause(given, at),
        () =>
          areWritten(given, ['secretRef', 'uuid', 'backingFile', 'thumbprint'])
            ? undefined
            : notValid(`${at}.VDDK`, 'source VDDK is not valid'),
      )
    case 'pvc':
      return areWritten(given, ['name', 'namespace']) ? undefined : notValid(`${at}.PVC`, 'source PVC is not valid')
    case 'snapshot':
      return areWritten(given, ['name', 'namespace'])
        ? undefined
        : notValid(`${at}.Snapshot`, 'source snapshot is not valid')
    default:
      return undefined
  }
}

function areWritten(given: Fields, names: readonly string[]): boolean {
  return names.every((name) => textOf(given[name]) !== '')
}

/** The field's path stands in the message too. */
function notValid(at: string, why: string): Cause {
  return invalid(at, `${at} ${why}`)
}

function urlCause(given: Fields, at: string): Cause | undefined {
  const text = textOf(given['url'])
  if (text === '') return notValid(at, 'source URL is empty')
  const url = parseRequestUri(text)
  if (url === undefined) return notValid(at, `Invalid source URL: ${text}`)
  if (!['http', 'https', 'gs'].includes(url.scheme)) return notValid(at, `Invalid source URL scheme: ${text}`)
  // `http:host` and `http:///path` name no server; the worker could never fetch them.
  return url.authority === '' ? notValid(at, `Invalid source URL: ${text}`) : undefined
}

function checksumCause(given: Fields, at: string): Cause | undefined {
  const text = textOf(given['checksum'])
  const problem = text === '' ? undefined : checksumProblem(text)
  return problem === undefined ? undefined : invalid(`${at}.http.checksum`, `Invalid checksum format: ${problem}`)
}

function registryCause(given: Fields, isArchive: boolean, at: string): Cause | undefined {
  const url = textOf(given['url'])
  const imageStream = given['imageStream']
  const pullMethod = textOf(given['pullMethod'])
  const where = `${at}.registry`
  if (isArchive) return invalid(where, messages.registryNeedsKubevirt)
  if (isGiven(given['url']) === isGiven(imageStream)) {
    return invalid(where, 'Source registry should have either URL or ImageStream')
  }
  if (isGiven(given['url'])) {
    const parsed = parseReference(url)
    if (parsed === undefined) return invalid(`${where}.url`, `Illegal registry source URL ${url}`)
    if (!['docker', 'oci-archive'].includes(parsed.scheme)) {
      return invalid(`${where}.url`, `Illegal registry source URL scheme ${url}`)
    }
  }
  if (!['', 'pod', 'node'].includes(pullMethod)) {
    return invalid(`${where}.pullMethod`, `ImportMethod ${pullMethod} is neither pod, node or ""`)
  }
  if (!isGiven(imageStream)) return undefined
  if (textOf(imageStream) === '') return invalid(`${where}.imageStream`, 'Source registry ImageStream is not valid')
  return pullMethod === 'node'
    ? undefined
    : invalid(`${where}.imageStream`, 'Source registry ImageStream is supported only with node pull import method')
}

function imageioCause(given: Fields, at: string): Cause | undefined {
  if (!areWritten(given, ['secretRef', 'diskId'])) return notValid(at, 'source Imageio is not valid')
  return areWritten(given, ['certConfigMap']) || given['insecureSkipVerify'] === true
    ? undefined
    : notValid(at, 'source Imageio requires CertConfigMap or InsecureSkipVerify')
}
