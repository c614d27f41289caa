/** A server's object that is read from front to end, across as many connections as it takes. */
import { CdiError } from '../../../src/errors.ts'
import { Peekable } from '../peekable.ts'
import { Patience, refuseToResume } from '../resumable.ts'
import type { ForwardSource, Sink } from '../source.ts'
import type { ClientResponse } from './client.ts'
import type { HeaderLine } from './head.ts'
import { factsOf, guardLines } from './opened.ts'
import type { Opened } from './opened.ts'
import { refusal } from './status.ts'
import { changed, checkSameVersion, parseContentRange } from './validator.ts'

export function httpForward(opened: Opened, first: ClientResponse, sizeBytes: number | undefined): ForwardSource {
  const transfer = new ForwardTransfer(opened, first, sizeBytes)
  const peekable = new Peekable((sink, signal) => transfer.run(sink, signal))
  return {
    kind: 'forward',
    name: opened.name,
    ...factsOf(opened),
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
    peek: (signal, leastBytes) => peekable.peek(signal, leastBytes),
    stream: (sink, signal) => peekable.stream(sink, signal),
    async [Symbol.asyncDispose]() {
      await opened.client[Symbol.asyncDispose]()
      await peekable[Symbol.asyncDispose]()
    },
  }
}

/** One pass over the whole body, across as many connections as it takes. */
class ForwardTransfer {
  readonly #opened: Opened
  #sizeBytes: number | undefined
  #first: ClientResponse
  #done = 0
  #ended = false

  constructor(opened: Opened, first: ClientResponse, sizeBytes: number | undefined) {
    this.#opened = opened
    this.#first = first
    this.#sizeBytes = sizeBytes
  }

  async run(sink: Sink, signal: AbortSignal): Promise<void> {
    const patience = new Patience(this.#opened.patience)
    let sinkFault: { readonly error: unknown } | undefined
    const onSinkError = (error: unknown): never => {
      sinkFault = { error }
      throw error
    }
    const following: Sink = (chunk) => {
      this.#done += chunk.length
      patience.progressed()
      if (this.#sizeBytes !== undefined && this.#done > this.#sizeBytes) {
        return onSinkError(changed(`it has more than the announced ${this.#sizeBytes} bytes`))
      }
      try {
        return sink(chunk)?.catch(onSinkError)
      } catch (error) {
        return onSinkError(error)
      }
    }
    // The first answer was asked for with another signal than the one that rules the transfer.
    const onAbort = (): void => this.#first.discard()
    signal.addEventListener('abort', onAbort)
    let read = (to: Sink): Promise<void> => this.#first.body(to)
    try {
      while (!this.#ended) {
        try {
          await read(following)
          this.#ended = true
        } catch (error) {
          if (sinkFault !== undefined) throw sinkFault.error
          signal.throwIfAborted()
          this.#checkResumable(error)
          await patience.wait(error, signal)
          read = async (to) => {
            const again = await this.#reopen(signal)
            await again(to)
          }
        }
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
    this.#checkLength()
  }

  #checkResumable(error: unknown): void {
    if (this.#done > 0 && this.#opened.validator === undefined && error instanceof CdiError) {
      throw refuseToResume(error, this.#done)
    }
  }

  /** Asks for the rest; what comes back reads it. */
  async #reopen(signal: AbortSignal): Promise<(sink: Sink) => Promise<void>> {
    const { client, validator, explain } = this.#opened
    const headers: HeaderLine[] =
      this.#done === 0 || validator === undefined
        ? []
        : [['Range', `bytes=${this.#done}-`], ...guardLines(this.#opened)]
    const response = await client.send({ method: 'GET', headers }, signal)
    let reader: ((sink: Sink) => Promise<void>) | undefined
    try {
      reader = this.#readerOf(response)
    } catch (error) {
      response.discard()
      throw error
    }
    if (reader === undefined) throw await refusal(response, this.#done === 0 ? 200 : 206, { explain, signal })
    return reader
  }

  /** What reads the body from where we are; undefined if the answer is a refusal. */
  #readerOf(response: ClientResponse): ((sink: Sink) => Promise<void>) | undefined {
    const { validator } = this.#opened
    const offset = this.#done
    switch (response.status) {
      case 206: {
        checkSameVersion(validator, response)
        const { first, last, totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
        if (first !== offset || (this.#sizeBytes ?? totalBytes) !== totalBytes) {
          throw changed(`asked for bytes from ${offset} the server sent ${response.headers.get('content-range')}`)
        }
        // A part of the rest is no end: without a total nobody knows where that is.
        if (totalBytes === undefined) {
          throw new CdiError('CDI_SOURCE_CHANGED', 'the server does not tell how long what it sends again is')
        }
        this.#sizeBytes = totalBytes
        return async (sink) => {
          await response.body(sink)
          if (last === totalBytes - 1) return
          throw new CdiError('CDI_SOURCE_INTERRUPTED', `the server sent bytes up to ${last} of ${totalBytes} only`)
        }
      }
      case 200:
        checkSameVersion(validator, response)
        if (offset > 0 && validator?.etag === undefined) {
          throw new CdiError(
            'CDI_SOURCE_CHANGED',
            `the source cannot be resumed at byte ${offset}: the server has no ranges and no ETag for it`,
          )
        }
        return (sink) => response.body(skipping(offset, sink))
      case 416: {
        const { totalBytes } = parseContentRange(response.headers.get('content-range')) ?? {}
        // The cut came after the last byte of a body whose length was not told.
        if (totalBytes === offset) {
          response.discard()
          return () => Promise.resolve()
        }
        if (totalBytes === undefined) return undefined
        throw changed(`it has ${totalBytes} bytes now`)
      }
      case 412:
        throw changed('the server says that it is not the same any more')
      default:
        return undefined
    }
  }

  #checkLength(): void {
    if (this.#sizeBytes === undefined || this.#done === this.#sizeBytes) return
    throw new CdiError(
      'CDI_SOURCE_TRUNCATED',
      `the source ended after ${this.#done} of the announced ${this.#sizeBytes} bytes`,
      { details: { sizeBytes: this.#sizeBytes, receivedBytes: this.#done } },
    )
  }
}

function skipping(bytes: number, sink: Sink): Sink {
  let left = bytes
  return (chunk) => {
    if (left === 0) return sink(chunk)
    const skipped = Math.min(left, chunk.length)
    left -= skipped
    return skipped < chunk.length ? sink(chunk.subarray(skipped)) : undefined
  }
}
