/**
 * What the state of a DataVolume or claim means for somebody who wants to upload into it (contract/upload.md §4.4, §10).
 * Pure: states in, verdicts out.
 */
import { annotations } from '../../api/annotations.ts'
import type { PersistentVolumeClaim } from '../../api/core.ts'
import type { DataVolume } from '../../api/datavolume.gen.ts'
import { phases } from '../../api/phases.ts'
import { CdiError } from '../../errors.ts'
import { tryParseQuantity } from '../../quantity.ts'

export type Volume =
  | { readonly kind: 'dv'; readonly object: DataVolume }
  | { readonly kind: 'pvc'; readonly object: PersistentVolumeClaim }

export interface Wanted {
  readonly archive: boolean
  readonly forceBind: boolean
}

/** `DataVolume ns/name`. */
export function describeVolume({
  kind,
  namespace,
  name,
}: {
  kind: 'dv' | 'pvc'
  namespace: string
  name: string
}): string {
  return `${kind === 'dv' ? 'DataVolume' : 'claim'} ${namespace}/${name}`
}

function nameOf({ kind, object }: Volume): string {
  return describeVolume({ kind, namespace: object.metadata.namespace ?? '', name: object.metadata.name })
}

/** Throws CDI_UPLOAD_TARGET if an existing volume can never take this upload. */
export function assertTakesUpload(volume: Volume, { archive }: Pick<Wanted, 'archive'>): void {
  const name = nameOf(volume)
  const refuse = (text: string): never => {
    throw new CdiError('CDI_UPLOAD_TARGET', `${name} ${text}`)
  }
  if (volume.object.metadata.deletionTimestamp !== undefined) refuse('is being deleted')
  if (isFinished(volume)) refuse('is filled already')
  if (volume.kind === 'dv' && volume.object.spec.source?.upload === undefined) {
    refuse('exists and is not for uploads: its source is not `upload`')
  }
  if (volume.kind === 'pvc' && !isUploadClaim(volume.object)) {
    refuse(`exists and is not for uploads: it has no annotation ${annotations.uploadTarget}`)
  }
  const wanted = archive ? 'archive' : 'kubevirt'
  const type = contentTypeOf(volume)
  if (type !== wanted) {
    refuse(`is for content type ${type}: upload it ${archive ? 'without' : 'with'} --archive, or into another volume`)
  }
}

function isUploadClaim({ metadata, spec }: PersistentVolumeClaim): boolean {
  return (
    metadata.annotations?.[annotations.uploadTarget] !== undefined || spec?.dataSourceRef?.kind === 'VolumeUploadSource'
  )
}

function contentTypeOf(volume: Volume): string {
  const told =
    volume.kind === 'dv'
      ? volume.object.spec.contentType
      : volume.object.metadata.annotations?.[annotations.contentType]
  return told === undefined || told === '' ? 'kubevirt' : told
}

/** The size of the disk that was asked for; undefined where it is not written down. */
export function capacityOf(volume: Volume): number | undefined {
  const requests =
    volume.kind === 'dv'
      ? (volume.object.spec.storage ?? volume.object.spec.pvc)?.resources?.requests
      : volume.object.spec?.resources?.requests
  return tryParseQuantity(requests?.['storage'])
}

/** The data is in it. */
export function isFinished(volume: Volume): boolean {
  if (volume.kind === 'dv') return volume.object.status?.phase === phases.succeeded
  return volume.object.metadata.annotations?.[annotations.podPhase] === 'Succeeded'
}

/** How often its upload server has been restarted. */
export function restartsOf({ kind, object }: Volume): number {
  if (kind === 'dv') return object.status?.restartCount ?? 0
  return Number(object.metadata.annotations?.[annotations.podRestarts] ?? 0)
}

/**
 * Whether the upload server is there. Throws when there is no point in waiting: CDI_UPLOAD_TARGET,
 * CDI_UPLOAD_WAITS_FOR_CONSUMER, CDI_UPLOAD_FAILED.
 */
export function isReady(volume: Volume, wanted: Wanted): boolean {
  assertTakesUpload(volume, wanted)
  if (volume.kind === 'pvc') return volume.object.metadata.annotations?.[annotations.podReady] === 'true'
  const phase = volume.object.status?.phase
  if ((phase === phases.waitForFirstConsumer || phase === phases.pendingPopulation) && !wanted.forceBind) {
    throw new CdiError(
      'CDI_UPLOAD_WAITS_FOR_CONSUMER',
      `${nameOf(volume)} is in phase ${phase}: no pod uses it, and its storage class binds only for one`,
    )
  }
  if (phase === phases.failed) throw new CdiError('CDI_UPLOAD_FAILED', `${nameOf(volume)} failed: ${stateText(volume)}`)
  return phase === phases.uploadReady
}

/** What a person wants to know while waiting: phase and whatever the conditions say, on one line. */
export function stateText(volume: Volume): string {
  if (volume.kind === 'pvc') {
    const { annotations: notes = {} } = volume.object.metadata
    return texts([
      volume.object.status?.phase ?? 'Pending',
      notes[annotations.conditionBoundMessage],
      notes[annotations.conditionRunningMessage],
    ])
  }
  const { phase, conditions = [] } = volume.object.status ?? {}
  const messages = conditions
    .filter(({ type, status }) => status !== 'True' && (type === 'Bound' || type === 'Running'))
    .map(({ message }) => message)
  return texts([phase === undefined || phase === '' ? 'Pending' : phase, ...messages])
}

function texts(parts: readonly (string | undefined)[]): string {
  const [first = '', ...more] = [...new Set(parts.filter((part) => part !== undefined && part !== ''))]
  return more.length === 0 ? first : `${first}: ${more.join('; ')}`
}
