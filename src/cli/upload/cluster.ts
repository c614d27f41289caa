/** The volume in the cluster: made if it is not there, waited for, looked at. */
import { Cache } from '../../kube/cache.ts'
import { ApiError, ConnectionError, isAlreadyExists, isForbidden, isNotFound } from '../../kube/client.ts'
import type { KubeClient } from '../../kube/client.ts'
import type { Clock } from '../../kube/clock.ts'
import type { Event } from '../../api/core.ts'
import type { CDIConfig } from '../../api/cdiconfig.gen.ts'
import { kinds } from '../../api/kinds.ts'
import { reasons } from '../../api/phases.ts'
import { CdiError } from '../../errors.ts'
import type { Log } from '../../log.ts'
import { claimManifest, dataVolumeManifest } from './manifests.ts'
import type { NewVolume } from './manifests.ts'
import { assertTakesUpload, describeVolume, isFinished, isReady, restartsOf, stateText } from './volume.ts'
import type { Volume, Wanted } from './volume.ts'
import { waitFor } from './watch-object.ts'

export interface ClusterOptions {
  readonly client: KubeClient
  readonly clock: Clock
  readonly log: Log
  readonly target: { readonly kind: 'dv' | 'pvc'; readonly namespace: string; readonly name: string }
  /** Tells the user one line. */
  readonly say: (text: string) => void
}

/** What ends the wait for the volume to be finished. */
export type Ending = 'finished' | 'restarted'

export class Cluster {
  readonly #o: ClusterOptions

  constructor(options: ClusterOptions) {
    this.#o = options
  }

  /** The volume as it is now, undefined if it is not there. */
  async get(signal: AbortSignal): Promise<Volume | undefined> {
    const { client, target } = this.#o
    const key = { namespace: target.namespace, name: target.name }
    if (target.kind === 'dv') {
      const object = await client.get(kinds.dataVolume, key, signal)
      return object && { kind: 'dv', object }
    }
    const object = await client.get(kinds.pvc, key, signal)
    return object && { kind: 'pvc', object }
  }

  /** CDIConfig, which every user may read; undefined where that is not so. */
  async config(signal: AbortSignal): Promise<CDIConfig | undefined> {
    try {
      return await this.#o.client.get(kinds.cdiConfig, { name: 'config' }, signal)
    } catch (error) {
      if (isForbidden(error)) return undefined
      throw error
    }
  }

  /**
   * The volume, made if it is not there.
   * @param newVolume called only then
   */
  async ensure(
    { archive, newVolume }: { archive: boolean; newVolume: () => NewVolume },
    signal: AbortSignal,
  ): Promise<{ readonly volume: Volume; readonly isNew: boolean }> {
    const found = await this.get(signal)
    if (found !== undefined) {
      assertTakesUpload(found, { archive })
      return { volume: found, isNew: false }
    }
    const { target, client } = this.#o
    const wanted = newVolume()
    if (target.kind === 'dv' && (await client.get(kinds.pvc, target, signal)) !== undefined) {
      throw new CdiError(
        'CDI_UPLOAD_TARGET',
        `${describeVolume({ ...target, kind: 'pvc' })} exists without a DataVolume: upload into it with --pvc ${target.name}`,
      )
    }
    try {
      const volume: Volume =
        target.kind === 'dv'
          ? { kind: 'dv', object: await client.create(kinds.dataVolume, dataVolumeManifest(wanted), signal) }
          : { kind: 'pvc', object: await client.create(kinds.pvc, claimManifest(wanted), signal) }
      return { volume, isNew: true }
    } catch (error) {
      // Somebody else, or an answer that was lost.
      if (isAlreadyExists(error)) return this.ensure({ archive, newVolume }, signal)
      throw error
    }
  }

  /** UID of the claim that is uploaded into; undefined while there is none. */
  async claimUid(signal: AbortSignal): Promise<string | undefined> {
    const { client, target } = this.#o
    const pvc = await client.get(kinds.pvc, { namespace: target.namespace, name: target.name }, signal)
    return pvc?.metadata.uid
  }

  /** Resolves when the upload server is ready. Throws CDI_UPLOAD_NOT_READY after `waitMs`, and what `isReady` throws. */
  async untilReady({ waitMs, ...wanted }: Wanted & { waitMs: number }, signal: AbortSignal): Promise<void> {
    const { clock, target } = this.#o
    const tooLate = new AbortController()
    const either = AbortSignal.any([signal, tooLate.signal])
    let state = 'nothing is known'
    let warning = ''
    const cancel = clock.after(waitMs, () => {
      const text = `${describeVolume(target)} is not ready for an upload after ${waitMs / 1000} s: ${state}${warning}`
      tooLate.abort(new CdiError('CDI_UPLOAD_NOT_READY', text))
    })
    try {
      const fatal = this.#abortOnFatalEvent(
        wanted,
        (text) => {
          warning = `. ${text}`
        },
        tooLate,
        either,
      )
      await this.#follow((volume) => {
        state = stateText(volume)
        return isReady(volume, wanted) ? true : undefined
      }, either)
      tooLate.abort()
      await fatal
    } finally {
      cancel()
      tooLate.abort()
    }
  }

  /** Resolves when the volume is finished, or its upload server was restarted. Throws when there will be no end. */
  untilEnd(restartsBefore: number, signal: AbortSignal): Promise<Ending> {
    return this.#follow((volume) => {
      if (isFinished(volume)) return 'finished'
      if (volume.kind === 'dv' && volume.object.status?.phase === 'Failed') {
        throw new CdiError('CDI_UPLOAD_FAILED', `${describeVolume(this.#o.target)} failed: ${stateText(volume)}`)
      }
      return restartsOf(volume) > restartsBefore ? 'restarted' : undefined
    }, signal)
  }

  /** Whether the volume is finished now; false when that cannot be found out. Throws CDI_UPLOAD_TARGET if it is gone. */
  async isFinished(signal: AbortSignal): Promise<boolean> {
    let volume: Volume | undefined
    try {
      volume = await this.get(signal)
    } catch (error) {
      signal.throwIfAborted()
      if (!(error instanceof ConnectionError) && !(error instanceof ApiError)) throw error
      this.#o.log.warn({ err: error }, 'cannot look at the volume')
      return false
    }
    return isFinished(this.#present(volume))
  }

  #present(volume: Volume | undefined): Volume {
    if (volume !== undefined && volume.object.metadata.deletionTimestamp === undefined) return volume
    throw new CdiError('CDI_UPLOAD_TARGET', `${describeVolume(this.#o.target)} was deleted`)
  }

  /** Tells every new state, and waits until `decide` gives a value. */
  #follow<R>(decide: (volume: Volume) => R | undefined, signal: AbortSignal): Promise<R> {
    const { client, clock, log, target, say } = this.#o
    const { namespace, name } = target
    let told = ''
    const look = (found: Volume | undefined): R | undefined => {
      const volume = this.#present(found)
      const value = decide(volume)
      const text = stateText(volume)
      if (value === undefined && text !== told) say(text)
      told = text
      return value
    }
    const common = { client, clock, log, namespace, name }
    return target.kind === 'dv'
      ? waitFor(
          { ...common, kind: kinds.dataVolume, decide: (object) => look(object && { kind: 'dv', object }) },
          signal,
        )
      : waitFor({ ...common, kind: kinds.pvc, decide: (object) => look(object && { kind: 'pvc', object }) }, signal)
  }

  async #abortOnFatalEvent(
    wanted: Wanted,
    onWarning: (text: string) => void,
    stop: AbortController,
    signal: AbortSignal,
  ): Promise<void> {
    const error = await this.#followWarnings(wanted, onWarning, signal)
    if (error !== undefined) stop.abort(error)
  }

  /**
   * Tells warnings about the volume as they come, until the signal; resolves with an error that makes waiting useless.
   * Not everybody may see events: then there are none.
   */
  async #followWarnings(
    { forceBind }: Pick<Wanted, 'forceBind'>,
    onWarning: (text: string) => void,
    outer: AbortSignal,
  ): Promise<CdiError | undefined> {
    const { client, clock, log, target, say } = this.#o
    const { namespace, name } = target
    const fieldSelector = `involvedObject.name=${name}`
    const since = clock.now() - 1000
    try {
      await client.list(kinds.event, { namespace, fieldSelector, limit: 1, signal: outer })
    } catch (error) {
      if (!outer.aborted && !isForbidden(error) && !isNotFound(error)) log.warn({ err: error }, 'cannot see events')
      return undefined
    }
    const stop = new AbortController()
    const signal = AbortSignal.any([outer, stop.signal])
    const cache = new Cache<Event>({ client, clock, log, kind: kinds.event, namespace, fieldSelector })
    let fatal: CdiError | undefined
    cache.onChange(({ new: event }) => {
      if (event === undefined || timeOf(event) < since || signal.aborted) return
      const verdict = judgeEvent(event, { kind: target.kind, forceBind })
      if (verdict === undefined) return
      say(verdict.text)
      onWarning(verdict.text)
      if (verdict.error === undefined) return
      fatal = verdict.error
      stop.abort()
    })
    await cache.start(signal)
    return fatal
  }
}

function timeOf({ lastTimestamp, eventTime, metadata }: Event): number {
  return Date.parse(lastTimestamp ?? eventTime ?? metadata.creationTimestamp ?? '')
}

/** What an event about the volume means to somebody who waits for it; undefined when it is nothing. Pure. */
export function judgeEvent(
  { type, reason = '', message = '' }: Pick<Event, 'type' | 'reason' | 'message'>,
  { kind, forceBind }: { kind: 'dv' | 'pvc'; forceBind: boolean },
): { readonly text: string; readonly error?: CdiError } | undefined {
  const text = `${reason}: ${message}`
  if (reason === reasons.errClaimNotValid) return { text, error: new CdiError('CDI_UPLOAD_TARGET', text) }
  if (reason === 'WaitForFirstConsumer' && kind === 'pvc' && !forceBind) {
    return { text, error: new CdiError('CDI_UPLOAD_WAITS_FOR_CONSUMER', text) }
  }
  return type === 'Warning' ? { text } : undefined
}
