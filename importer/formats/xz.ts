/**
 * xz (https://tukaani.org/xz/xz-file-format.txt): streams one after the other, padded with zeros. Two implementations
 * behind one interface: the `xz` program where there is one (it decodes blocks in parallel), else lzma-native.
 */
import type { Sink } from '../sources/source.ts'
import type { Decoder, Decoding } from './decoder.ts'

/** Chooses by what is installed, when the first byte comes. */
export const xzDecoder: Decoder = {
  encoding: 'xz',
  name: 'xz program or lzma-native',
  start: (sink, signal) => new ChosenXz(sink, signal),
}

class ChosenXz implements Decoding {
  readonly #sink: Sink
  readonly #signal: AbortSignal
  #chosen: Decoding | undefined

  constructor(sink: Sink, signal: AbortSignal) {
    this.#sink = sink
    this.#signal = signal
  }

  async write(chunk: Buffer): Promise<void> {
    await (await this.#choose()).write(chunk)
  }

  async end(): Promise<void> {
    await (await this.#choose()).end()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#chosen?.[Symbol.asyncDispose]()
  }

  async #choose(): Promise<Decoding> {
    if (this.#chosen) return this.#chosen
    this.#signal.throwIfAborted()
    // Loaded only when there is xz data: what runs programs takes 80 ms and 16 MB.
    const { findXzProgram, xzChildDecoder } = await import('./xz-child.ts')
    const hasProgram = await findXzProgram(this.#signal)
    const decoder = hasProgram ? xzChildDecoder() : (await import('./xz-native.ts')).xzNativeDecoder
    this.#chosen = decoder.start(this.#sink, this.#signal)
    return this.#chosen
  }
}
