/** The disk of a clone, section by section: the server's side of {@link import('./wire.ts')}. */
import { CdiError } from '../../../src/errors.ts'
import type { Extent } from '../../target/coverage.ts'
import { RequestRefusal, answerTo } from '../answers.ts'
import type { Protocol } from '../context.ts'
import type { Exchange } from '../exchange.ts'
import { Permits } from '../permits.ts'
import { PieceMismatch } from '../piece.ts'
import type { RawTransfer } from '../raw-transfer.ts'
import { idPattern } from '../resume-journal.ts'
import { parseContentRange } from '../resumable/content-range.ts'
import { answerState, diskStateOf } from '../resumable/disk-state.ts'
import { answerWith, patienceMs } from '../resumable/upload.ts'
import type { Upload } from '../resumable/upload.ts'
import type { Uploads } from '../resumable/uploads.ts'
import { SectionRoom, takeSection } from './section-body.ts'
import { cloneDigestPath, cloneDiskPath, cloneIdHeader, digestHeader, mostDigestBytes, tookHeader } from './wire.ts'
import type { CloneState } from './wire.ts'

/** Sections that are taken at the same time, each with a buffer of its own; others wait. */
const mostSections = 4

export interface CloneDiskOptions {
  readonly uploads: Uploads
  /** {@link patienceMs} unless told. */
  readonly patienceMs?: number
}

export function cloneDiskProtocol(options: CloneDiskOptions): Protocol {
  const handler = new CloneDisk(options)
  return {
    serves: (path) => path === cloneDiskPath || path === cloneDigestPath,
    handle: (exchange) => handler.handle(exchange),
  }
}

class CloneDisk {
  readonly #uploads: Uploads
  readonly #patienceMs: number
  readonly #permits = new Permits(mostSections)
  readonly #rooms: SectionRoom[] = []
  /** The last one, which may have failed. */
  #last: Upload | undefined

  constructor({ uploads, ...rest }: CloneDiskOptions) {
    this.#uploads = uploads
    this.#patienceMs = rest.patienceMs ?? patienceMs
  }

  async handle(exchange: Exchange): Promise<void> {
    try {
      await this.#dispatch(exchange)
    } catch (thrown) {
      const refusal = answerWith(thrown, { 'cache-control': 'no-store' })
      // Sent again it may arrive as it was read; unlike a disk that is wrong as a whole.
      await exchange.answer(thrown instanceof PieceMismatch ? { ...refusal, status: 422 } : refusal)
    }
  }

  #dispatch(exchange: Exchange): Promise<void> {
    if (exchange.path === cloneDigestPath) return this.#digest(exchange)
    switch (exchange.method) {
      case 'PUT':
        return this.#put(exchange)
      case 'GET':
        return this.#tell(exchange)
      case 'POST':
        return this.#finish(exchange)
      case 'DELETE':
        return this.#drop(exchange)
      default:
        throw new RequestRefusal(405, 'the methods are GET, PUT, POST and DELETE')
    }
  }

  async #put(exchange: Exchange): Promise<void> {
    const place = parseContentRange(exchange.header('content-range') ?? '')
    const digest = exchange.header(digestHeader)
    if (digest === undefined) throw new RequestRefusal(400, `a section has the header ${digestHeader}`)
    const isPacked = isZstd(exchange.header('content-encoding'))
    const id = idOf(exchange)
    const upload = await this.#uploads.beginRanges({ id, length: place.total, checksums: [] })
    this.#last = upload
    assertSame(upload, id)
    const raw = rawOf(upload)
    let thereMs = 0
    await upload.take(exchange, async (body, signal) => {
      using _permit = await this.#permits.take(signal)
      const room = this.#rooms.pop() ?? new SectionRoom()
      try {
        const data = await takeSection(body, { room, place, isPacked, digest })
        thereMs = performance.now()
        await raw.fill(place, data, signal)
      } finally {
        this.#rooms.push(room)
      }
    })
    const tookMs = Math.ceil(performance.now() - thereMs)
    await exchange.answer({ status: 204, headers: { [tookHeader]: String(tookMs) } })
  }

  async #tell(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    if (upload.hold.state === 'open') await upload.transfer.settle()
    await answer(upload, exchange, 200)
  }

  /** Lets a cloner prove that what an earlier one sent is what its source holds. */
  async #digest(exchange: Exchange): Promise<void> {
    if (exchange.method !== 'GET') throw new RequestRefusal(405, 'the method is GET')
    const upload = this.#mine()
    assertSame(upload, idOf(exchange))
    upload.assertThere()
    const stretch = stretchOf(exchange)
    const digest = await rawOf(upload).digestOf(stretch)
    if (digest === undefined)
      throw new RequestRefusal(409, `bytes ${stretch.start} to ${stretch.end - 1} are not there`)
    await exchange.answer({ status: 204, headers: { [digestHeader]: digest } })
  }

  async #finish(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    assertSame(upload, idOf(exchange))
    upload.assertThere()
    if (!upload.isComplete && rawOf(upload).missing.length > 0) {
      await rawOf(upload).sync()
      await answer(upload, exchange, 409)
      return
    }
    const outcome = await upload.outcome(this.#patienceMs)
    await answer(upload, exchange, outcome === 'done' ? 200 : 202)
  }

  async #drop(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    upload.assertThere()
    if (upload.isComplete) throw new RequestRefusal(409, 'the volume is being finished or is done')
    await upload.hold.drop(new CdiError('CDI_ABORTED', 'its cloner gave it up'))
    await exchange.answer({ status: 204 })
  }

  /** Throws RequestRefusal (404). */
  #mine(): Upload {
    const upload = this.#uploads.current ?? this.#last
    if (upload === undefined) throw new RequestRefusal(404, 'no disk was begun')
    return upload
  }
}

function isZstd(encoding = 'identity'): boolean {
  if (encoding === 'zstd') return true
  if (encoding === 'identity') return false
  throw new RequestRefusal(415, 'sections are packed by zstd or not at all')
}

function idOf(exchange: Exchange): string {
  const id = exchange.header(cloneIdHeader) ?? ''
  if (!idPattern.test(id)) throw new RequestRefusal(400, `the header ${cloneIdHeader} names the disk`)
  return id
}

function stretchOf(exchange: Exchange): Extent {
  const [, first, last] = /^bytes=([0-9]{1,15})-([0-9]{1,15})$/.exec(exchange.header('range') ?? '') ?? []
  const stretch = { start: Number(first), end: Number(last) + 1 }
  if (!(stretch.start < stretch.end && stretch.end - stretch.start <= mostDigestBytes)) {
    throw new RequestRefusal(400, `the header Range names a stretch of ${mostDigestBytes} bytes at most`)
  }
  return stretch
}

function assertSame({ id }: Upload, wanted: string): void {
  if (id !== wanted) throw new RequestRefusal(409, 'another disk is being cloned already: DELETE it first')
}

function rawOf({ raw }: Upload): RawTransfer {
  if (raw === undefined) throw new RequestRefusal(409, 'the volume has been cloned already')
  return raw
}

async function answer(upload: Upload, exchange: Exchange, status: number): Promise<void> {
  const { hold } = upload
  const result =
    hold.state === 'done' ? { preallocationApplied: (await upload.finish()).preallocationApplied } : undefined
  const state: CloneState = {
    ...diskStateOf(upload),
    ...(hold.fault === undefined ? {} : { error: answerTo(hold.fault).text ?? hold.fault.message }),
    ...result,
  }
  await answerState(upload, exchange, { status, state })
}
