/**
 * "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload-11, interop version 8) at
 * `/v1beta1/upload-resumable[/ID]`.
 */
import type { OutgoingHttpHeaders } from 'node:http'
import { CdiError } from '../../../src/errors.ts'
import { RequestRefusal } from '../answers.ts'
import type { Protocol } from '../context.ts'
import { digestsOf } from '../digest-headers.ts'
import type { Answer, Exchange } from '../exchange.ts'
import { addressOf } from './address.ts'
import {
  Problem,
  completedUpload,
  draftPieceType,
  draftStateHeaders,
  formatLimits,
  inconsistentLength,
  mismatchingOffset,
  parseDraftRequest,
} from './draft-headers.ts'
import type { DraftRequest } from './draft-headers.ts'
import { sendInterim } from './interim.ts'
import { OffsetMismatch, answerWith, defaultExpiry, patienceMs } from './upload.ts'
import type { Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'

const address = addressOf('upload-resumable')
/** How often a client is told how far it has come. */
const progressMs = 2000

export interface DraftOptions {
  readonly uploads: Uploads
  /** {@link patienceMs} unless told. */
  readonly patienceMs?: number
}

export function draftProtocol(options: DraftOptions): Protocol {
  const handler = new Draft(options)
  return { serves: address.serves, handle: (exchange) => handler.handle(exchange) }
}

class Draft {
  readonly #uploads: Uploads
  readonly #patienceMs: number

  constructor({ uploads, ...rest }: DraftOptions) {
    this.#uploads = uploads
    this.#patienceMs = rest.patienceMs ?? patienceMs
  }

  async handle(exchange: Exchange): Promise<void> {
    const { method, path } = exchange
    const id = address.idOf(path)
    try {
      if (method === 'OPTIONS') return await this.#describe(exchange)
      if (id === undefined) {
        if (method === 'POST' || method === 'PUT' || method === 'PATCH') return await this.#create(exchange)
        throw new RequestRefusal(405, 'a new upload is made by POST, PUT or PATCH')
      }
      const upload = this.#uploads.find(id)
      return await this.#serve(exchange, upload)
    } catch (thrown) {
      await exchange.answer(answerToDraft(thrown))
    }
    return undefined
  }

  async #serve(exchange: Exchange, upload: Upload): Promise<void> {
    switch (exchange.method) {
      case 'HEAD':
        return this.#tell(exchange, upload)
      case 'PATCH':
        return this.#append(exchange, upload)
      case 'DELETE':
        return this.#cancel(exchange, upload)
      default:
        throw new RequestRefusal(405, 'an upload takes HEAD, PATCH and DELETE')
    }
  }

  async #describe(exchange: Exchange): Promise<void> {
    await exchange.answer({
      status: 204,
      headers: { 'accept-patch': draftPieceType, 'upload-limit': formatLimits(defaultExpiry.streamMs / 1000) },
    })
  }

  async #create(exchange: Exchange): Promise<void> {
    const told = parse(exchange, 0)
    const { complete, length, interop } = told
    if (complete === undefined) {
      throw new RequestRefusal(
        400,
        'a resumable upload has the header Upload-Complete, ?1 or ?0; others go to /v1beta1/upload',
      )
    }
    const { representation, content } = digestsOf((name) => exchange.header(name))
    const upload = await this.#uploads.begin({
      checksums: representation,
      ...(length === undefined ? {} : { length }),
    })
    const location = address.locationOf(upload.id)
    sendInterim(exchange, { interop, headers: { location, 'upload-limit': formatLimits(upload.maxAgeSeconds) } })
    await this.#take(exchange, upload, { ...told, offset: 0 }, content)
    if (complete) return this.#finish(exchange, upload, { location })
    await exchange.answer({ status: 201, headers: { location, ...stateHeaders(upload) } })
  }

  async #tell(exchange: Exchange, upload: Upload): Promise<void> {
    const wasComplete = upload.isComplete
    await upload.interrupt()
    const { fault, isSuspended } = upload.hold
    if (fault !== undefined && wasComplete && !isSuspended) throw new Processed(fault)
    upload.assertThere()
    await upload.answer(exchange, {
      status: 204,
      headers: { ...stateHeaders(upload), 'cache-control': 'no-store' },
    })
  }

  async #append(exchange: Exchange, upload: Upload): Promise<void> {
    const told = parse(exchange)
    const { complete, offset, isPiece } = told
    if (!isPiece) throw new RequestRefusal(415, `what is appended is sent as Content-Type: ${draftPieceType}`)
    if (complete === undefined || offset === undefined) {
      throw new RequestRefusal(400, 'what is appended has the headers Upload-Complete and Upload-Offset')
    }
    if (upload.isComplete) {
      if (exchange.hasBody || offset !== upload.transfer.offset) throw completedUpload()
      return this.#finish(exchange, upload, {})
    }
    upload.assertThere()
    const { content } = digestsOf((name) => exchange.header(name))
    await this.#take(exchange, upload, { ...told, offset }, content)
    if (complete) return this.#finish(exchange, upload, {})
    await exchange.answer({ status: 204, headers: stateHeaders(upload) })
    return undefined
  }

  async #cancel(exchange: Exchange, upload: Upload): Promise<void> {
    upload.assertThere()
    if (upload.isComplete) throw completedUpload()
    await upload.hold.drop(new CdiError('CDI_ABORTED', 'its client gave it up'))
    await exchange.answer({ status: 204 })
  }

  async #take(
    exchange: Exchange,
    upload: Upload,
    { length, offset, interop }: DraftRequest & { offset: number },
    checksums: ReturnType<typeof digestsOf>['content'],
  ): Promise<void> {
    const known = upload.transfer.length
    if (length !== undefined && known !== undefined && length !== known) {
      throw inconsistentLength(`the length was ${known} and cannot become ${length}`)
    }
    const end = offset + (exchange.announcedBytes ?? 0)
    const most = length ?? known
    if (most !== undefined && end > most)
      throw inconsistentLength(`the upload has ${most} bytes, but this one ends at ${end}`)
    if (!exchange.hasBody) {
      await upload.interrupt()
      if (offset !== upload.transfer.offset) throw mismatchingOffset(upload.transfer.offset, offset)
      if (length !== undefined) upload.transfer.setLength(length)
      return
    }
    let progress: NodeJS.Timeout | undefined
    try {
      await upload.append(exchange, {
        offset,
        checksums,
        onReading: () => {
          if (length !== undefined) upload.transfer.setLength(length)
          progress = setInterval(() => {
            sendInterim(exchange, { interop, headers: { 'upload-offset': durableOffset(upload) } })
          }, progressMs)
        },
      })
    } finally {
      clearInterval(progress)
    }
  }

  async #finish(exchange: Exchange, upload: Upload, headers: OutgoingHttpHeaders): Promise<void> {
    const { offset, length } = upload.transfer
    if (length !== undefined && offset < length) {
      throw inconsistentLength(`the upload is said to be complete, but only ${offset} of ${length} bytes are there`)
    }
    upload.transfer.setLength(offset)
    let outcome
    try {
      outcome = await upload.outcome(this.#patienceMs)
    } catch (thrown) {
      if (upload.hold.isSuspended) throw thrown
      throw new Processed(thrown)
    }
    const state = { ...headers, ...draftStateHeaders({ complete: true, offset, length: offset }) }
    if (outcome === 'done') return upload.answer(exchange, { status: 200, headers: state })
    await exchange.answer({ status: 202, text: 'all bytes are there, the volume is being finished', headers: state })
    return undefined
  }
}

/** All bytes came, but what they are could not be made a volume: resuming would not help. */
class Processed extends Error {
  constructor(cause: unknown) {
    super('the upload could not be processed', { cause })
    this.name = 'Processed'
  }
}

function parse(exchange: Exchange, offset?: number): DraftRequest {
  return parseDraftRequest({
    header: (name) => exchange.header(name),
    announcedBytes: exchange.hasBody ? exchange.announcedBytes : 0,
    ...(offset === undefined ? {} : { offset }),
  })
}

function stateHeaders(upload: Upload): OutgoingHttpHeaders {
  const { offset, length } = upload.transfer
  const { isComplete, maxAgeSeconds } = upload
  return draftStateHeaders({ complete: isComplete, offset, length, ...(isComplete ? {} : { maxAgeSeconds }) })
}

/** What need not be sent again whatever happens. */
function durableOffset({ raw, transfer }: Upload): number {
  const first = raw?.durable[0]
  if (raw === undefined) return transfer.offset
  return first?.start === 0 ? first.end : 0
}

function answerToDraft(thrown: unknown): Answer {
  if (thrown instanceof Processed) return answerWith(thrown.cause, draftStateHeaders({ complete: true }))
  if (thrown instanceof OffsetMismatch) return answerToDraft(mismatchingOffset(thrown.expected, thrown.provided))
  if (thrown instanceof Problem) {
    return {
      status: thrown.status,
      text: JSON.stringify(thrown.document),
      headers: { ...thrown.headers, 'content-type': 'application/problem+json' },
    }
  }
  return answerWith(thrown, draftStateHeaders({ complete: false }))
}
