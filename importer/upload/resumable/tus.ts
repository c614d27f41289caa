/**
 * tus 1.0.0 at `/v1beta1/upload-tus[/ID]`: creation (with upload, with deferred length), expiration, checksum,
 * termination. https://tus.io/protocols/resumable-upload
 */
import type { OutgoingHttpHeaders } from 'node:http'
import { uploadStateHeader } from '../../../src/api/upload-env.ts'
import { RequestRefusal } from '../answers.ts'
import type { Protocol } from '../context.ts'
import { digestsOf } from '../digest-headers.ts'
import type { Exchange } from '../exchange.ts'
import { PieceMismatch } from '../piece.ts'
import type { Checksum } from '../../sources/checksum.ts'
import { addressOf } from './address.ts'
import {
  checksumMismatchStatus,
  formatHttpDate,
  parseTusChecksum,
  parseTusCount,
  parseTusLength,
  parseTusMetadata,
  tusChecksumAlgorithms,
  tusExtensions,
  tusPieceType,
  tusVersion,
  wholeChecksum,
} from './tus-headers.ts'
import { answerWith, patienceMs } from './upload.ts'
import type { Upload } from './upload.ts'
import type { Uploads } from './uploads.ts'
import { CdiError } from '../../../src/errors.ts'

const address = addressOf('upload-tus')

export interface TusOptions {
  readonly uploads: Uploads
  /** {@link patienceMs} unless told. */
  readonly patienceMs?: number
}

export function tusProtocol(options: TusOptions): Protocol {
  const handler = new Tus(options)
  return { serves: address.serves, handle: (exchange) => handler.handle(exchange) }
}

class Tus {
  readonly #uploads: Uploads
  readonly #patienceMs: number

  constructor({ uploads, ...rest }: TusOptions) {
    this.#uploads = uploads
    this.#patienceMs = rest.patienceMs ?? patienceMs
  }

  async handle(exchange: Exchange): Promise<void> {
    try {
      await this.#dispatch(exchange)
    } catch (thrown) {
      const answer = answerWith(thrown, { 'tus-resumable': tusVersion, 'cache-control': 'no-store' })
      await exchange.answer(thrown instanceof PieceMismatch ? { ...answer, status: checksumMismatchStatus } : answer)
    }
  }

  async #dispatch(exchange: Exchange): Promise<void> {
    // For clients and proxies that know only the old methods.
    const method = (exchange.header('x-http-method-override') ?? exchange.method).toUpperCase()
    const id = address.idOf(exchange.path)
    if (method === 'OPTIONS') return this.#describe(exchange)
    if (exchange.header('tus-resumable') !== tusVersion) {
      await exchange.answer({
        status: 412,
        text: `this server speaks tus ${tusVersion}: send Tus-Resumable: ${tusVersion}`,
        headers: { 'tus-version': tusVersion, 'tus-resumable': tusVersion },
      })
      return undefined
    }
    if (id === undefined) {
      if (method === 'POST') return this.#create(exchange)
      throw new RequestRefusal(405, 'a new upload is made by POST')
    }
    const upload = this.#uploads.find(id)
    switch (method) {
      case 'HEAD':
        return this.#tell(exchange, upload)
      case 'PATCH':
        return this.#append(exchange, upload)
      case 'DELETE':
        return this.#terminate(exchange, upload)
      default:
        throw new RequestRefusal(405, 'an upload takes HEAD, PATCH and DELETE')
    }
  }

  async #describe(exchange: Exchange): Promise<void> {
    await exchange.answer({
      status: 204,
      headers: {
        'tus-resumable': tusVersion,
        'tus-version': tusVersion,
        'tus-extension': tusExtensions.join(','),
        'tus-checksum-algorithm': tusChecksumAlgorithms.join(','),
      },
    })
  }

  async #create(exchange: Exchange): Promise<void> {
    if (exchange.header('upload-concat') !== undefined) {
      throw new RequestRefusal(
        400,
        'uploads are not concatenated here; raw disks may come in parallel to upload-ranges',
      )
    }
    const length = parseTusLength(exchange.header('upload-length'), exchange.header('upload-defer-length'))
    const metadata = parseTusMetadata(exchange.header('upload-metadata'))
    const piece = pieceChecksums(exchange)
    const hasBody = exchange.hasBody
    if (hasBody) assertPieceType(exchange)
    if (hasBody) assertRoom(exchange, 0, length)
    const whole = wholeChecksum(metadata)
    const { representation } = digestsOf((name) => exchange.header(name))
    const upload = await this.#uploads.begin({
      checksums: [...(whole === undefined ? [] : [whole]), ...representation],
      ...(length === undefined ? {} : { length }),
    })
    upload.metadata = exchange.header('upload-metadata')
    if (hasBody) await upload.append(exchange, { offset: 0, checksums: piece })
    await this.#finishIfWhole(upload)
    await upload.answer(exchange, {
      status: 201,
      headers: { location: address.locationOf(upload.id), ...stateHeaders(upload) },
    })
  }

  async #tell(exchange: Exchange, upload: Upload): Promise<void> {
    await upload.interrupt()
    upload.assertThere()
    const { length } = upload.transfer
    await upload.answer(exchange, {
      status: 200,
      headers: {
        ...stateHeaders(upload),
        ...(length === undefined ? { 'upload-defer-length': 1 } : { 'upload-length': length }),
        ...(upload.metadata === undefined ? {} : { 'upload-metadata': upload.metadata }),
        'cache-control': 'no-store',
      },
    })
  }

  async #append(exchange: Exchange, upload: Upload): Promise<void> {
    upload.assertThere()
    assertPieceType(exchange)
    const offset = parseTusCount('Upload-Offset', exchange.header('upload-offset'))
    if (offset === undefined) throw new RequestRefusal(400, 'Upload-Offset is missing')
    const length = parseTusCount('Upload-Length', exchange.header('upload-length'))
    if (length !== undefined) setLength(upload, length)
    assertRoom(exchange, offset, upload.transfer.length)
    const isAgain = upload.isComplete && !exchange.hasBody && offset === upload.transfer.offset
    if (!isAgain) await upload.append(exchange, { offset, checksums: pieceChecksums(exchange) })
    await this.#finishIfWhole(upload)
    await upload.answer(exchange, { status: 204, headers: stateHeaders(upload) })
  }

  async #terminate(exchange: Exchange, upload: Upload): Promise<void> {
    upload.assertThere()
    if (upload.isComplete) throw new RequestRefusal(409, 'all bytes are there, the volume is being finished or is done')
    await upload.hold.drop(new CdiError('CDI_ABORTED', 'its client gave it up'))
    await exchange.answer({ status: 204, headers: { 'tus-resumable': tusVersion } })
  }

  /** The last byte ends the upload; for how the rest of the work goes, the client may ask. */
  async #finishIfWhole(upload: Upload): Promise<void> {
    if (upload.transfer.offset === upload.transfer.length) await upload.outcome(this.#patienceMs)
  }
}

function stateHeaders(upload: Upload): OutgoingHttpHeaders {
  return {
    'tus-resumable': tusVersion,
    'upload-offset': upload.transfer.offset,
    // Tells the end from work that goes on behind the last byte.
    [uploadStateHeader]: upload.hold.state,
    ...(upload.isComplete ? {} : { 'upload-expires': formatHttpDate(upload.expiresMs) }),
  }
}

function setLength(upload: Upload, length: number): void {
  const known = upload.transfer.length
  if (known !== undefined && known !== length) {
    throw new RequestRefusal(400, `Upload-Length was ${known} and cannot become ${length}`)
  }
  if (length < upload.transfer.offset) {
    throw new RequestRefusal(400, `Upload-Length is ${length}, but ${upload.transfer.offset} bytes are there already`)
  }
  upload.transfer.setLength(length)
}

function assertPieceType(exchange: Exchange): void {
  const type = exchange.header('content-type')?.split(';')[0]?.trim().toLowerCase()
  if (type !== tusPieceType)
    throw new RequestRefusal(415, `the bytes of an upload are sent as Content-Type: ${tusPieceType}`)
}

function assertRoom(exchange: Exchange, offset: number, length: number | undefined): void {
  const bytes = exchange.announcedBytes ?? 0
  if (length !== undefined && offset + bytes > length) {
    throw new RequestRefusal(413, `the upload has ${length} bytes, but this request brings it to ${offset + bytes}`)
  }
}

function pieceChecksums(exchange: Exchange): Checksum[] {
  const checksum = parseTusChecksum(exchange.header('upload-checksum'))
  const { content } = digestsOf((name) => exchange.header(name))
  return [...(checksum === undefined ? [] : [checksum]), ...content]
}
