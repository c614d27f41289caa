/**
 * Sends a disk: asks what is at the target already, sends the rest in sections through several streams, and lets the
 * target finish. Whatever breaks on the way, it asks again and goes on from there.
 */
import { randomBytes } from 'node:crypto'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { Progress } from '../progress.ts'
import type { Clock } from '../sources/clock.ts'
import type { Extent } from '../target/coverage.ts'
import { rangesOf, sectionDigest } from '../upload/clone/wire.ts'
import { RangeSet } from '../upload/range-set.ts'
import type { CloneState } from '../upload/clone/wire.ts'
import { compareStretches } from './compare.ts'
import type { SourceDisk } from './disk.ts'
import { Packing } from './packing.ts'
import type { Patience } from './patience.ts'
import { missingOf, planWindows } from './plan.ts'
import type { Window } from './plan.ts'
import { SectionReader } from './sections.ts'
import type { Section } from './sections.ts'
import type { CloneTarget } from './target.ts'

/** Two keep both sides busy, the third bridges pauses of either. */
export const streams = 3
/** Large enough that hardly anything has to be told of a window without data, small enough that all streams end together. */
const windowBytes = 64 * 1024 * 1024
const finishPauseMs = 500

export interface SendDisk {
  readonly disk: SourceDisk
  /** Where there may be data; in order. */
  readonly data: readonly Extent[]
  readonly target: CloneTarget
  readonly patience: Patience
  readonly progress: Progress
  readonly clock: Clock
  readonly log: Log
  readonly signal: AbortSignal
}

/**
 * Resolves when the volume is finished. Throws CDI_SOURCE_CHANGED (what was sent is dropped), CDI_CLONE_SOURCE,
 * CDI_CLONE_REFUSED, CDI_CLONE_TLS, CDI_CLONE_UNREACHABLE, CDI_CHECKSUM_MISMATCH.
 */
export async function sendDisk(options: SendDisk): Promise<{ preallocationApplied: boolean }> {
  const { disk, target, patience, log, signal } = options
  const sending = new Sending(options)
  for (;;) {
    try {
      const state = await target.state(signal)
      const there = await sending.usable(state)
      if (there === 'done') return { preallocationApplied: state?.preallocationApplied ?? false }
      await sending.send(there)
      await disk.assertUnchanged()
      const end = await sending.finish()
      if (end !== undefined) return { preallocationApplied: end.preallocationApplied ?? false }
      log.warn({}, 'the target lacks something that it had taken, it is sent again')
    } catch (thrown) {
      if (thrown instanceof CdiError && thrown.code === 'CDI_SOURCE_CHANGED') await sending.giveUp()
      await patience.after(thrown, signal)
    }
  }
}

class Sending {
  readonly #options: SendDisk
  readonly #packing = new Packing()
  readonly #readers: SectionReader[] = []
  #readBytes = 0
  #dataBytes = 0
  #sections = 0
  #packedSections = 0
  #isCounted = false
  /**
   * What the copy is called at the target: by its source, and by the attempt that began it. What is noted of another attempt
   * may be older than what lies there now, and says nothing of it.
   */
  #id: string
  /** What of another attempt was compared and is the same. */
  #proved: { readonly id: string; readonly same: RangeSet } = { id: '', same: new RangeSet() }

  constructor(options: SendDisk) {
    this.#options = options
    this.#id = newId(options.disk)
  }

  /** What of the target can be gone on with; what belongs to another disk is dropped. */
  async usable(state: CloneState | undefined): Promise<Extent[] | 'done'> {
    const { disk, target, log, signal } = this.#options
    if (state?.state === 'done') return 'done'
    if (state === undefined || state.state === 'failed') {
      this.#id = newId(disk)
      return []
    }
    if (state.id.startsWith(disk.id) && state.length === disk.sizeBytes) {
      const there = rangesOf(state)
      const isOwn = state.id === this.#id
      // What is being finished was whole, whatever became of the source since.
      if (isOwn || state.state === 'finishing' || (await this.#isProved(state.id, there))) {
        this.#id = state.id
        return there
      }
    }
    if (state.state === 'finishing') throw new CdiError('CDI_CLONE_REFUSED', 'the target is finishing another disk')
    log.warn({ id: state.id, length: state.length }, 'the source is another one than before, beginning anew')
    await target.drop(signal)
    this.#id = newId(disk)
    return []
  }

  /**
   * Whether what another attempt sent is at the target, and is what the source holds: both sides are read and compared. A
   * device does not say whether somebody wrote to it since, and a note may be older than what lies at the target.
   */
  async #isProved(id: string, there: readonly Extent[]): Promise<boolean> {
    const { disk, target, patience, log, signal } = this.#options
    // What was compared before a connection broke need not be compared again.
    if (this.#proved.id !== id) this.#proved = { id, same: new RangeSet() }
    const { same } = this.#proved
    const unproved = there.flatMap(({ start, end }) => same.shares(start, end)).filter(({ isInside }) => !isInside)
    if (unproved.length === 0) return true
    const onSame = ({ start, end }: Extent): void => same.add(start, end)
    const isSame = await compareStretches({ disk, target, id, there: unproved, streams, patience, onSame, signal })
    log.info({ bytes: bytesOf(unproved), isSame }, 'compared what another attempt sent')
    return isSame
  }

  /** Sends everything but what is there. */
  async send(there: readonly Extent[]): Promise<void> {
    const { disk, data, log } = this.#options
    const { sizeBytes } = disk
    const missing = missingOf(there, sizeBytes)
    const windows = planWindows({ sizeBytes, missing, data, windowBytes })
    this.#count(windows)
    log.info({ sizeBytes, missingBytes: bytesOf(missing), windows: windows.length }, 'sending the disk')
    const stop = new AbortController()
    const signal = AbortSignal.any([this.#options.signal, stop.signal])
    const running = Array.from({ length: Math.min(streams, windows.length) }, async (_, index) => {
      try {
        const reader = (this.#readers[index] ??= this.#newReader())
        for (let window = windows.shift(); window !== undefined; window = windows.shift()) {
          for await (const section of reader.read(window, signal)) await this.#put(section, signal)
        }
      } catch (error) {
        stop.abort(error)
        throw error
      }
    })
    await Promise.allSettled(running)
    this.#options.signal.throwIfAborted()
    stop.signal.throwIfAborted()
  }

  /** Undefined if the target lacks something. */
  async finish(): Promise<CloneState | undefined> {
    const { disk, target, patience, progress, clock, log, signal } = this.#options
    progress.enter('finish')
    for (;;) {
      const { outcome, state } = await target.finish(this.#id, signal)
      if (outcome === 'missing') return undefined
      patience.progressed()
      if (outcome === 'done') {
        progress.percent(100)
        const { sentBytes } = target
        log.info(
          {
            sizeBytes: disk.sizeBytes,
            readBytes: this.#readBytes,
            dataBytes: this.#dataBytes,
            sentBytes,
            sections: this.#sections,
            packedSections: this.#packedSections,
          },
          'disk sent',
        )
        return state
      }
      await clock.sleep(finishPauseMs, signal)
    }
  }

  /** The target shall not wait for the rest. */
  async giveUp(): Promise<void> {
    const { target, log, signal } = this.#options
    await target.drop(signal).catch((err: unknown) => log.warn({ err }, 'what was sent cannot be dropped'))
  }

  #newReader(): SectionReader {
    return new SectionReader({
      disk: this.#options.disk,
      onRead: (bytes) => {
        this.#readBytes += bytes
        this.#options.progress.bytes(bytes)
      },
    })
  }

  /** What is there already counts as done. */
  #count(windows: readonly Window[]): void {
    if (this.#isCounted) return
    this.#isCounted = true
    const { data, progress } = this.#options
    const total = bytesOf(data)
    const left = windows.reduce((sum, window) => sum + bytesOf(window.data), 0)
    progress.enter('transfer', total, { fromPercent: 0, toPercent: 99 })
    progress.bytes(Math.max(0, total - left))
  }

  async #put(section: Section, signal: AbortSignal): Promise<void> {
    const { disk, target, patience } = this.#options
    const { start, end, head, data } = section
    const place = { start, end, total: disk.sizeBytes }
    const parts = [head, data]
    const digest = sectionDigest(place, section)
    const packed = await this.#packing.pack(parts)
    const body = packed === undefined ? parts : [packed]
    const from = performance.now()
    const tookMs = await target.put({
      id: this.#id,
      place,
      digest,
      isPacked: packed !== undefined,
      parts: body,
      signal,
    })
    this.#packing.sent(bytesIn(body), performance.now() - from - tookMs)
    patience.progressed()
    this.#sections += 1
    this.#dataBytes += data.length
    if (packed !== undefined) this.#packedSections += 1
  }
}

/** 22 base64url characters. */
function newId(disk: SourceDisk): string {
  return `${disk.id}${randomBytes(8).toString('base64url')}`
}

function bytesOf(extents: readonly Extent[]): number {
  return extents.reduce((sum, { start, end }) => sum + end - start, 0)
}

function bytesIn(buffers: readonly Buffer[]): number {
  return buffers.reduce((sum, { length }) => sum + length, 0)
}
