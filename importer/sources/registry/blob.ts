/**
 * Blobs of a registry by ranges. A blob never changes, since its name is its digest, so a transfer may always be resumed,
 * whatever is said of versions by the place that the registry sends us to.
 */
import { CdiError } from '../../../src/errors.ts'
import type { ClientRequest, ClientResponse } from '../http/client.ts'
import { httpRanged } from '../http/ranged.ts'
import { announcedLength, refusal } from '../http/status.ts'
import { parseContentRange, rangeHeader } from '../http/validator.ts'
import { resumable } from '../resumable.ts'
import type { OpenRange } from '../resumable.ts'
import type { ByteRange, RangedSource, Sink } from '../source.ts'
import type { RegistryClient } from './client.ts'
import type { Descriptor } from './manifest.ts'
import { parallel } from './transport.ts'

/** Fetched when opening and kept: what tells the kind of layer, and the beginning of the transfer. */
const firstBytes = 256 * 1024

export interface OpenBlob {
  readonly client: RegistryClient
  readonly descriptor: Pick<Descriptor, 'digest' | 'sizeBytes'>
}

/**
 * Opens a blob with a first request, which also tells whether the place knows ranges; if not, `parallel` is 1 and every
 * stream is read from the beginning. Throws as {@link RegistryClient.get} does, and CDI_REGISTRY_DIGEST if the blob has
 * another size than the manifest says.
 */
export async function openBlob({ client, descriptor }: OpenBlob, signal: AbortSignal): Promise<RangedSource> {
  const { digest, sizeBytes } = descriptor
  const blob = new BlobRequests({ client, descriptor })
  try {
    const { beginning, ranges } = await blob.begin(signal)
    const source = httpRanged(
      {
        client: blob,
        patience: client.patience,
        name: `docker://${client.repositoryName}@${digest}`,
        contentType: undefined,
        validator: undefined,
        parallel,
        guard: 'If-Range',
        immutable: true,
        explain: client.explainInTransfer(blob.what),
      },
      sizeBytes,
      beginning,
    )
    return { ...source, validator: digest, ...(ranges ? {} : { parallel: 1, stream: blob.streamWhole }) }
  } catch (error) {
    await blob[Symbol.asyncDispose]()
    throw error
  }
}

/** Requests for one blob over the connections of all; closing it ends its own streams and nothing else. */
class BlobRequests implements AsyncDisposable {
  readonly what: string
  /** For a place without ranges: everything from the beginning, of which a part is handed out. */
  readonly streamWhole: RangedSource['stream']
  readonly #client: RegistryClient
  readonly #digest: string
  readonly #sizeBytes: number
  readonly #url: URL
  readonly #closing = new AbortController()

  constructor({ client, descriptor: { digest, sizeBytes } }: OpenBlob) {
    this.what = `reading blob ${digest} of ${client.repositoryName}`
    this.#client = client
    this.#digest = digest
    this.#sizeBytes = sizeBytes
    this.#url = client.urlOf(`blobs/${digest}`)
    const open: OpenRange = (range, sink, signal) => this.#readWhole(range, sink, signal)
    const stream = resumable({ ...client.patience, open, guarded: true })
    this.streamWhole = async (range, sink, signal) => {
      const { offset, length } = range
      if (offset < 0 || offset + length > sizeBytes) {
        throw new RangeError(`${offset}+${length} is beyond ${sizeBytes} bytes`)
      }
      await stream(range, sink, signal)
    }
  }

  send(request: ClientRequest, signal: AbortSignal): Promise<ClientResponse> {
    const either = AbortSignal.any([signal, this.#closing.signal])
    return this.#client.http.send({ ...request, url: this.#url }, either)
  }

  /** The first bytes, and whether the place knows ranges. */
  begin(signal: AbortSignal): Promise<{ beginning: Buffer; ranges: boolean }> {
    const first = { offset: 0, length: Math.min(firstBytes, this.#sizeBytes) }
    if (first.length === 0) return Promise.resolve({ beginning: Buffer.alloc(0), ranges: true })
    return this.#client.trying(this.what, () => this.#askForFirst(first, signal), signal)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(new CdiError('CDI_ABORTED', 'the source was closed'))
    // Streams end in their own time; nothing of them is left open.
    await Promise.resolve()
  }

  async #askForFirst(first: ByteRange, signal: AbortSignal): Promise<{ beginning: Buffer; ranges: boolean }> {
    const answer = await this.send({ method: 'GET', headers: [['Range', rangeHeader(first)]] }, signal)
    if (answer.status !== 200 && answer.status !== 206) {
      throw await this.#client.refusalOf(answer, { what: this.what, expected: 206, signal })
    }
    const ranges = answer.status === 206
    this.#check(answer, ranges ? first : undefined)
    const bytes = Buffer.allocUnsafeSlow(first.length)
    let filled = 0
    await readPiece(answer, first, (chunk) => {
      filled += chunk.copy(bytes, filled)
    })
    if (filled === 0) throw new CdiError('CDI_SOURCE_INTERRUPTED', 'HTTP request errored: an empty answer')
    return { beginning: bytes.subarray(0, filled), ranges: ranges || filled === this.#sizeBytes }
  }

  async #readWhole(range: ByteRange, sink: Sink, signal: AbortSignal): Promise<void> {
    const answer = await this.send({ method: 'GET' }, signal)
    if (answer.status !== 200) {
      throw await refusal(answer, 200, { explain: this.#client.explainInTransfer(this.what), signal })
    }
    this.#check(answer, undefined)
    await readPiece(answer, range, sink)
  }

  /** The size in the manifest is binding: what the place tells, if anything, must be the same. */
  #check(answer: ClientResponse, range: ByteRange | undefined): void {
    const { first, last = Infinity, totalBytes } = parseContentRange(answer.headers.get('content-range')) ?? {}
    const toldBytes = range === undefined ? announcedLength(answer, undefined) : totalBytes
    if (toldBytes !== undefined && toldBytes !== this.#sizeBytes) {
      answer.discard()
      throw new CdiError(
        'CDI_REGISTRY_DIGEST',
        `blob ${this.#digest} has ${toldBytes} bytes instead of the ${this.#sizeBytes} of the manifest`,
        { details: { sizeBytes: this.#sizeBytes, toldBytes } },
      )
    }
    if (range !== undefined && (first !== range.offset || last >= range.offset + range.length)) {
      answer.discard()
      throw new CdiError('CDI_SOURCE_CHANGED', `${this.what}: another range was sent than the one asked for`)
    }
  }
}

/** Hands a piece of a body to the sink and gives up what comes behind it. */
async function readPiece(answer: ClientResponse, { offset, length }: ByteRange, sink: Sink): Promise<void> {
  const end = offset + length
  let at = 0
  let done = false
  const finish = (): void => {
    done = true
    // Of an answer that ends here nothing is left to be given up, and its connection lives on.
    answer.discard()
  }
  try {
    await answer.body((chunk) => {
      const start = at
      at += chunk.length
      if (at <= offset) return undefined
      if (start >= end) return finish()
      const piece = chunk.subarray(Math.max(0, offset - start), Math.min(chunk.length, end - start))
      const taken = sink(piece)
      if (at <= end) return taken
      if (taken === undefined) return finish()
      return taken.then(finish)
    })
  } catch (error) {
    if (!done) throw error
  }
}
