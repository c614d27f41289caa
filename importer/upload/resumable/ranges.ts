/**
 * Raw disks in ranges at `/v1beta1/upload-ranges`, for clients that send several at once:
 *
 *   PUT     with `Content-Range: bytes first-last/total`, in any order, parallel, again if need be; 204 when durable;
 *           with `Cdi-Zeros: 1` and no body where the disk is empty
 *   GET     what is there, as JSON
 *   POST    all was sent: finishes the volume, with `Repr-Digest` if it is to be checked
 *   DELETE  gives up
 *
 * With `Cdi-Upload-Id` a request means the upload of that id only, so that the pieces of two disks are never mixed.
 */
import { rangesBeginHeader, rangesUploadIdHeader, rangesZerosHeader } from '../../../src/api/upload-env.ts'
import { CdiError } from '../../../src/errors.ts'
import { RequestRefusal, answerTo } from '../answers.ts'
import type { Protocol } from '../context.ts'
import { digestsOf } from '../digest-headers.ts'
import type { Exchange } from '../exchange.ts'
import { PieceMismatch } from '../piece.ts'
import { idPattern } from '../resume-journal.ts'
import type { RawTransfer } from '../raw-transfer.ts'
import { parseContentRange } from './content-range.ts'
import { answerState, diskStateOf } from './disk-state.ts'
import type { DiskState } from './disk-state.ts'
import { answerWith, patienceMs } from './upload.ts'
import type { Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'

export interface RangesOptions {
  readonly uploads: Uploads
  /** {@link patienceMs} unless told. */
  readonly patienceMs?: number
}

/** What GET tells, and POST when it is not done. */
export interface RangesState extends DiskState {
  readonly missingBytes: number
  /** RFC 3339. */
  readonly expires: string
  /** Of `failed`. */
  readonly error?: string
  /** Of src/errors.ts. */
  readonly code?: string
}

export function rangesProtocol(options: RangesOptions): Protocol {
  const handler = new Ranges(options)
  return { serves: (path) => path === '/v1beta1/upload-ranges', handle: (exchange) => handler.handle(exchange) }
}

class Ranges {
  readonly #uploads: Uploads
  readonly #patienceMs: number
  /** The last one, which may have failed. */
  #last: Upload | undefined

  constructor({ uploads, ...rest }: RangesOptions) {
    this.#uploads = uploads
    this.#patienceMs = rest.patienceMs ?? patienceMs
  }

  async handle(exchange: Exchange): Promise<void> {
    try {
      await this.#dispatch(exchange)
    } catch (thrown) {
      const refusal = answerWith(thrown, { 'cache-control': 'no-store' })
      await exchange.answer(thrown instanceof PieceMismatch ? { ...refusal, status: 400 } : refusal)
    }
  }

  #dispatch(exchange: Exchange): Promise<void> {
    switch (exchange.method) {
      case 'PUT':
        return this.#put(exchange)
      case 'GET':
      case 'HEAD':
        return this.#tell(exchange)
      case 'POST':
        return this.#finish(exchange)
      case 'DELETE':
        return this.#drop(exchange)
      default:
        throw new RequestRefusal(405, 'the methods are PUT, GET, POST and DELETE')
    }
  }

  async #put(exchange: Exchange): Promise<void> {
    const text = exchange.header('content-range')
    if (text === undefined)
      throw new RequestRefusal(400, 'a piece has the header Content-Range: bytes FIRST-LAST/TOTAL')
    const { start, end, total } = parseContentRange(text)
    const isZeros = exchange.header(rangesZerosHeader) !== undefined
    const { announcedBytes } = exchange
    if (isZeros && exchange.hasBody) throw new RequestRefusal(400, 'zeros are told and not sent: there must be no body')
    if (!isZeros && announcedBytes !== undefined && announcedBytes !== end - start) {
      throw new RequestRefusal(400, `Content-Range tells ${end - start} bytes, Content-Length ${announcedBytes}`)
    }
    const { representation, content } = digestsOf((name) => exchange.header(name))
    this.#assertMeant(exchange, this.#uploads.current)
    const begun = exchange.header(rangesBeginHeader)
    if (begun !== undefined && !idPattern.test(begun)) {
      throw new RequestRefusal(400, `the header ${rangesBeginHeader} has 22 base64url characters`)
    }
    const upload = await this.#uploads.beginRanges({
      ...(begun === undefined ? {} : { id: begun }),
      length: total,
      checksums: representation,
    })
    this.#last = upload
    if (begun !== undefined && upload.id !== begun) {
      throw new RequestRefusal(409, 'somebody else uploads a disk already: DELETE it first')
    }
    await upload.writeAt(rawOf(upload), exchange, { start, end, isZeros, checksums: content })
    await exchange.answer({ status: 204 })
  }

  async #tell(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    if (upload.hold.state === 'open') await upload.transfer.settle()
    await answer(upload, exchange, 200)
  }

  async #finish(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    this.#assertMeant(exchange, upload)
    upload.assertThere()
    const { representation, content } = digestsOf((name) => exchange.header(name))
    if (exchange.hasBody || content.length > 0)
      throw new RequestRefusal(400, 'POST has no body: pieces are sent by PUT')
    if (!upload.isComplete) {
      const raw = rawOf(upload)
      const missing = raw.missing
      if (missing.length > 0) {
        await answer(upload, exchange, 409)
        return
      }
      for (const checksum of representation) raw.expect(checksum)
    }
    const outcome = await upload.outcome(this.#patienceMs)
    await answer(upload, exchange, outcome === 'done' ? 200 : 202)
  }

  async #drop(exchange: Exchange): Promise<void> {
    const upload = this.#mine()
    this.#assertMeant(exchange, upload)
    upload.assertThere()
    if (upload.isComplete) throw new RequestRefusal(409, 'the volume is being finished or is done')
    await upload.hold.drop(new CdiError('CDI_ABORTED', 'its client gave it up'))
    await exchange.answer({ status: 204 })
  }

  /** Throws RequestRefusal (410) if the client means another upload than the one that is there. */
  #assertMeant(exchange: Exchange, upload: Upload | undefined): void {
    const id = exchange.header(rangesUploadIdHeader)
    if (id !== undefined && id !== upload?.id) throw new RequestRefusal(410, 'the upload of this id is over')
  }

  /** Throws RequestRefusal (404). */
  #mine(): Upload {
    const { current } = this.#uploads
    const upload = current?.byRanges === true ? current : this.#last
    if (upload === undefined) throw new RequestRefusal(404, 'no disk is being uploaded in ranges')
    return upload
  }
}

function rawOf({ raw }: Upload): RawTransfer {
  if (raw === undefined) throw new RequestRefusal(409, 'the volume has been uploaded already')
  return raw
}

function answer(upload: Upload, exchange: Exchange, status: number): Promise<void> {
  return answerState(upload, exchange, { status, state: stateOf(upload) })
}

function stateOf(upload: Upload): RangesState {
  const { hold, expiresMs } = upload
  const state = diskStateOf(upload)
  const presentBytes = state.ranges.reduce((sum, [start, end]) => sum + end - start, 0)
  return {
    ...state,
    missingBytes: state.length - presentBytes,
    expires: new Date(expiresMs).toISOString(),
    ...(hold.fault === undefined
      ? {}
      : { error: answerTo(hold.fault).text ?? hold.fault.message, code: hold.fault.code }),
  }
}
