/**
 * An upload that goes through the pipeline of imports (importer/run.ts) as it arrives, as standard input does: encodings,
 * formats, archives, with bounded memory. It lives in this process only; requests that bring its pieces may come and go.
 */
import { CdiError, toCdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { noJournal } from '../journal.ts'
import { Progress } from '../progress.ts'
import { runImport } from '../run.ts'
import type { ImportResult } from '../run.ts'
import { Digest } from '../sources/checksum.ts'
import type { Checksum } from '../sources/checksum.ts'
import { PushSource } from './push-source.ts'
import type { Transfer, UploadResult, Volume } from './transfer.ts'

export interface StreamTransferOptions {
  readonly log: Log
  readonly volume: Volume
  /** Length of the whole, if it is known: what cannot fit is then refused at once. */
  readonly sizeBytes?: number
  /** Of the whole, as uploaded; all of them have to be right. */
  readonly checksums: readonly Checksum[]
}

export class StreamTransfer implements Transfer {
  readonly #log: Log
  readonly #source: PushSource
  readonly #digests: readonly Digest[]
  readonly #stop = new AbortController()
  readonly #received = Promise.withResolvers<void>()
  readonly #running: Promise<ImportResult>
  /** Why the pipeline takes no more. */
  #fault: CdiError | undefined
  #isEnded = false

  /** Begins at once; the volume is touched when the first bytes have shown what they are. */
  constructor({ log, volume, sizeBytes, checksums }: StreamTransferOptions) {
    this.#log = log
    this.#source = new PushSource({ name: 'the upload', ...(sizeBytes === undefined ? {} : { sizeBytes }) })
    this.#digests = checksums.map((checksum) => new Digest(checksum))
    this.#running = runImport(
      { log, progress: new Progress(), journal: noJournal, onReceived: () => this.#received.resolve() },
      { ...volume, source: { type: 'upload', source: this.#source } },
      this.#stop.signal,
    )
    this.#received.promise.catch(() => {})
    this.#running.then(
      () => this.#received.resolve(),
      (thrown: unknown) => {
        const error = toCdiError(thrown)
        this.#fault ??= error
        // Whoever pushes is let go, and finds the fault.
        this.#source.fail(error)
        this.#received.reject(error)
      },
    )
  }

  get offset(): number {
    return this.#source.pushedBytes
  }

  async append(body: AsyncIterable<Buffer>, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted()
    if (this.#isEnded) throw new CdiError('CDI_INTERNAL', 'bytes behind the end of an upload')
    for await (const chunk of body) {
      if (this.#source.isFailed) break
      for (const digest of this.#digests) digest.update(chunk)
      const taken = this.#source.push(chunk)
      // Between chunks only: half a chunk cannot be taken back.
      if (taken !== undefined) await taken
      signal.throwIfAborted()
    }
    if (!this.#source.isFailed) return
    await this.#running.catch(() => {})
    throw this.#fault ?? new CdiError('CDI_INTERNAL', 'the pipeline went on without the upload')
  }

  /**
   * Nothing follows. Resolves when everything was received and is right, so that only the volume has work left; `finish`
   * waits for that. Rejects with the pipeline's CdiError.
   */
  received(): Promise<void> {
    if (!this.#isEnded) {
      this.#isEnded = true
      try {
        if (this.offset === 0) throw new CdiError('CDI_UPLOAD_EMPTY', 'the upload has no content')
        for (const digest of this.#digests) digest.verify()
        this.#source.end()
      } catch (error) {
        this.#source.fail(error)
      }
    }
    return this.#received.promise
  }

  async finish(): Promise<UploadResult> {
    await this.received()
    const result = await this.#running
    this.#log.info({ ...result, bytes: this.offset }, 'Upload Complete')
    const { preallocationApplied, diskSizeBytes } = result
    return { preallocationApplied, ...(diskSizeBytes === undefined ? {} : { diskSizeBytes }) }
  }

  async drop(reason: CdiError): Promise<void> {
    this.#stop.abort(reason)
    await this.#running.catch(() => {})
  }
}
