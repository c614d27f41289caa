/**
 * The resumable upload of this server: there is one at a time, as there is one slot. It is found by its id; those that
 * were there before are remembered for a while, to be told from ids that never were.
 */
import type { UploadResumption } from '../../../src/api/upload-env.ts'
import { RequestRefusal } from '../answers.ts'
import type { UploadContext } from '../context.ts'
import type { ImageJournal } from '../image-journal.ts'
import { ImageTransfer } from '../image-transfer.ts'
import { RawTransfer } from '../raw-transfer.ts'
import type { RawProgress, RawTransferOptions } from '../raw-transfer.ts'
import { bounded, parseResumption } from '../resume-journal.ts'
import type { JournalEntry, ResumeJournal } from '../resume-journal.ts'
import { parseChecksum } from '../../sources/checksum.ts'
import type { Checksum, ChecksumAlgorithm } from '../../sources/checksum.ts'
import type { Transfer, UploadResult, Volume } from '../transfer.ts'
import { openReceiver } from './receivers.ts'
import { ResumableTransfer } from './resumable-transfer.ts'
import { defaultExpiry, newUploadId, Upload } from './upload.ts'
import type { Expiry } from './upload.ts'

/** So many ids of uploads that are over are remembered. */
const mostFormer = 64

export interface UploadsOptions {
  readonly context: UploadContext
  readonly journal: ResumeJournal
  readonly imageJournal: ImageJournal
  /** {@link defaultExpiry} unless told. */
  readonly expiry?: Expiry
  /** Milliseconds since the epoch. */
  readonly now?: () => number
}

/** What a client tells of a new upload. */
export interface NewUpload {
  /** Of the whole in bytes; absent while the client does not know it. */
  readonly length?: number
  /** Of the whole. */
  readonly checksums: readonly Checksum[]
}

/** What is noted of an upload whatever becomes of it. */
type Told = Pick<Upload, 'id' | 'byRanges' | 'checksums'>

/** What is known of an upload before its hold is there. */
interface Identity extends Told {
  readonly length: number | undefined
}

export class Uploads {
  readonly #context: UploadContext
  readonly #journal: ResumeJournal
  readonly #imageJournal: ImageJournal
  readonly #expiry: Expiry
  readonly #now: () => number
  #current: Upload | undefined
  /** Newest last. */
  readonly #former = new Set<string>()
  #beginning: { readonly length: number; readonly upload: Promise<Upload> } | undefined

  constructor({ context, journal, imageJournal, expiry = defaultExpiry, now = Date.now }: UploadsOptions) {
    this.#context = context
    this.#journal = journal
    this.#imageJournal = imageJournal
    this.#expiry = expiry
    this.#now = now
  }

  /** The one that is there, if it is not over. */
  get current(): Upload | undefined {
    return this.#current?.hold.state === 'over' ? undefined : this.#current
  }

  /** Throws RequestRefusal: 410 for an upload that was here, 404 for all else. */
  find(id: string): Upload {
    if (this.#current?.id === id) return this.#current
    if (this.#former.has(id)) throw new RequestRefusal(410, 'this upload is over: another one took its place')
    throw new RequestRefusal(404, 'there is no such upload')
  }

  /** Begins a new upload. Throws SlotRefusal. */
  async begin({ length, checksums }: NewUpload): Promise<Upload> {
    const identity = { id: newUploadId(), byRanges: false, length, checksums }
    const hold = await this.#context.slot.claim(() => this.#transfer(identity))
    return this.#put(identity, hold)
  }

  /**
   * The upload of a raw disk of `length` bytes by ranges: the one that is there, or a new one. Throws SlotRefusal,
   * RequestRefusal (409) if one of another length is there, CDI_IMAGE_TOO_LARGE and CDI_TARGET_*. A new one gets `id`, or
   * one that nobody guesses.
   */
  async beginRanges({
    id = newUploadId(),
    length,
    checksums,
  }: {
    id?: string
    length: number
    checksums: readonly Checksum[]
  }): Promise<Upload> {
    const { current } = this
    if (current?.byRanges === true) return this.#sameLength(current, length)
    // Clients send several pieces at once, and the first of them opens the volume.
    if (this.#beginning !== undefined) return this.#sameLength(await this.#beginning.upload, length)
    const upload = this.#openRanges({ id, byRanges: true, length, checksums }, length)
    this.#beginning = { length, upload }
    try {
      return await upload
    } finally {
      this.#beginning = undefined
    }
  }

  /**
   * Goes on with what an earlier process has noted, in the journal or, if that is empty, in `environment` (JSON of an
   * UploadResumption). To be called before the first request is taken. Never rejects: what cannot be gone on with is
   * forgotten.
   */
  async restore(environment: string): Promise<void> {
    const { log } = this.#context
    const noted = await this.#journal.read()
    const entry = noted === 'none' ? undefined : (noted ?? parseResumption(environment))
    if (entry === undefined) {
      if (noted === undefined && environment !== '') await this.#forget()
      return
    }
    try {
      await this.#resume(entry)
      log.info({ id: entry.id, bytes: this.#current?.transfer.offset }, 'upload of an earlier process goes on')
    } catch (err) {
      log.warn({ err }, 'the upload of an earlier process cannot be gone on with')
      await this.#forget()
    }
  }

  /** What another process could go on with, for the controller. */
  get resumption(): UploadResumption | undefined {
    const { current } = this
    if (current?.raw === undefined || current.hold.state === 'done') return undefined
    return bounded(this.#entry(current, current.transfer.length, { ranges: current.raw.durable }))
  }

  async #resume(entry: JournalEntry): Promise<void> {
    const { id, length, expires, result, verifiedBytes, byRanges = false } = entry
    const expiresMs = Date.parse(expires)
    const isOver = expiresMs <= this.#now() && result === undefined && verifiedBytes === undefined
    if (isOver) throw new Error('the upload has expired')
    const checksums = entry.checksum === undefined ? [] : [parseChecksum(entry.checksum)]
    const identity = { id, byRanges, length, checksums }
    const receiver = await this.#receiverOf(entry, identity)
    const hold = await this.#context.slot.claim(() => this.#transfer(identity, receiver))
    const upload = this.#put(identity, hold)
    upload.expireAt(expiresMs)
    const isWhole = length !== undefined && hold.transfer.offset === length
    if (result !== undefined || verifiedBytes !== undefined || (isWhole && !byRanges)) upload.finish().catch(() => {})
  }

  async #receiverOf(entry: JournalEntry, identity: Identity): Promise<Transfer> {
    const { log } = this.#context
    const { length, result, isImage } = entry
    if (result !== undefined) return finished(result, length ?? 0)
    if (isImage === true) {
      const resumption = await this.#imageJournal.resume()
      if (resumption === undefined) throw new Error('the journal of the image is empty')
      return ImageTransfer.resume({ log, volume: this.#volume, journal: this.#imageJournal }, resumption)
    }
    if (length === undefined || length === 0) throw new Error('the length of the upload is not known')
    const { verifiedBytes } = entry
    return RawTransfer.resume(
      this.#rawOptions(identity, length),
      {
        ranges: entry.ranges.map(([start, end]) => ({ start, end })),
        ...(verifiedBytes === undefined ? {} : { verifiedBytes }),
      },
      new AbortController().signal,
    )
  }

  #rawOptions(identity: Identity, length: number): RawTransferOptions {
    const { log, isVerbatim = false } = this.#context
    const note = this.#noteOf(identity, length)
    return { log, volume: this.#volume, length, checksums: this.#wanted(identity), note, isVerbatim }
  }

  get #volume(): Volume {
    const { volumes, contentType } = this.#context
    return volumes[contentType]
  }

  /** What the client and the claim want of the whole. */
  #wanted({ checksums }: Identity): Checksum[] {
    return [...this.#context.checksums, ...checksums]
  }

  #transfer(identity: Identity, receiver?: Transfer): ResumableTransfer {
    const { log } = this.#context
    const { length } = identity
    return new ResumableTransfer({
      open: (head, known, signal) =>
        openReceiver(
          {
            log,
            volume: this.#volume,
            checksums: this.#wanted(identity),
            note: this.#noteOf(identity, known),
            imageJournal: this.#imageJournal,
            onImage: () => this.#journal.write({ ...this.#entry(identity, known, { ranges: [] }), isImage: true }),
          },
          head,
          known,
          signal,
        ),
      ...(length === undefined ? {} : { length }),
      ...(receiver === undefined ? {} : { receiver }),
    })
  }

  async #openRanges(identity: Identity, length: number): Promise<Upload> {
    if (this.#context.contentType === 'archive') {
      throw new RequestRefusal(400, 'an archive cannot be uploaded in ranges: upload it to /v1beta1/upload-tus')
    }
    const hold = await this.#context.slot.claim(async () => {
      const raw = await RawTransfer.begin(this.#rawOptions(identity, length), new AbortController().signal)
      return this.#transfer(identity, raw)
    })
    return this.#put(identity, hold)
  }

  #sameLength(upload: Upload, length: number): Upload {
    if (upload.transfer.length === length) return upload
    throw new RequestRefusal(
      409,
      `a disk of ${upload.transfer.length} bytes is being uploaded already, not of ${length}: DELETE it first`,
    )
  }

  #put(identity: Identity, hold: Upload['hold']): Upload {
    const { id, byRanges, checksums } = identity
    if (this.#current !== undefined) this.#former.add(this.#current.id)
    for (const oldest of this.#former) {
      if (this.#former.size <= mostFormer) break
      this.#former.delete(oldest)
    }
    const upload = new Upload({
      id,
      byRanges,
      checksums,
      hold,
      expiry: this.#expiry,
      now: this.#now,
      onDone: (result) => this.#noteDone(upload, result),
    })
    this.#current = upload
    return upload
  }

  #noteOf(upload: Told, length: number | undefined): (progress: RawProgress | undefined) => Promise<void> {
    return (progress) => this.#journal.write(progress && this.#entry(upload, length, progress))
  }

  #entry(
    { id, byRanges, checksums }: Told,
    length: number | undefined,
    { ranges, verifiedBytes }: RawProgress,
  ): JournalEntry {
    const checksum = strongest(checksums)
    return {
      id,
      ranges: ranges.map(({ start, end }) => [start, end] as const),
      expires: new Date(this.#now() + this.#expiry.rawMs).toISOString(),
      ...(length === undefined ? {} : { length }),
      ...(checksum === undefined ? {} : { checksum: `${checksum.algorithm}:${checksum.hex}` }),
      ...(byRanges ? { byRanges } : {}),
      ...(verifiedBytes === undefined ? {} : { verifiedBytes }),
    }
  }

  async #noteDone(upload: Upload, result: UploadResult): Promise<void> {
    try {
      await this.#journal.write({ ...this.#entry(upload, upload.transfer.offset, { ranges: [] }), result })
    } catch (err) {
      // A process that is started now finishes once more, or asks for everything again.
      this.#context.log.warn({ err }, 'the end of the upload cannot be noted')
    }
  }

  async #forget(): Promise<void> {
    try {
      await this.#journal.write(undefined)
    } catch (err) {
      this.#context.log.error({ err }, 'the upload of an earlier process cannot be struck out of the journal')
    }
  }
}

const byStrength: readonly ChecksumAlgorithm[] = ['sha512', 'sha256', 'sha1', 'md5']

/** One is remembered; the others were to be checked by the process that was told of them. */
function strongest(checksums: readonly Checksum[]): Checksum | undefined {
  return [...checksums].sort((one, two) => byStrength.indexOf(one.algorithm) - byStrength.indexOf(two.algorithm))[0]
}

/** The transfer of a volume that an earlier process has finished. */
function finished(result: UploadResult, length: number): Transfer {
  return {
    offset: length,
    append: () => Promise.reject(new RequestRefusal(409, 'this volume has been uploaded already')),
    finish: () => Promise.resolve(result),
    drop: () => Promise.resolve(),
  }
}
