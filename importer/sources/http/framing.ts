/** Where the body of a response ends (RFC 9112 §6): told by its length, by chunks, or by the end of the connection. */

/** What a framing made of one buffer. `payload` and `rest` are views of it. */
export interface Framed {
  readonly payload?: Buffer
  /** Not yet looked at, or beyond the end of the body. */
  readonly rest?: Buffer
}

export interface Framing {
  /** The whole body was seen. */
  readonly done: boolean
  /** The end of the connection is the end of the body, not a loss. */
  readonly endsWithConnection: boolean
  /** Bytes of payload still to come, if that is known. */
  readonly remaining?: number
  /** Takes the next bytes. Throws a SyntaxError when they break the rules. */
  take(input: Buffer): Framed
}

export class LengthFraming implements Framing {
  readonly endsWithConnection = false
  remaining: number

  constructor(lengthBytes: number) {
    this.remaining = lengthBytes
  }

  get done(): boolean {
    return this.remaining === 0
  }

  take(input: Buffer): Framed {
    if (input.length <= this.remaining) {
      this.remaining -= input.length
      return { payload: input }
    }
    const end = this.remaining
    this.remaining = 0
    return { payload: input.subarray(0, end), rest: input.subarray(end) }
  }
}

export class UntilCloseFraming implements Framing {
  readonly done = false
  readonly endsWithConnection = true

  take(input: Buffer): Framed {
    return { payload: input }
  }
}

/** Longest chunk-size line or trailer line that is accepted; extensions are legal but nobody sends kilobytes of them. */
const longestLineBytes = 4096

/** `Transfer-Encoding: chunked` (RFC 9112 §7.1). */
export class ChunkedFraming implements Framing {
  readonly endsWithConnection = false
  done = false
  #state: 'size' | 'data' | 'dataEnd' | 'trailer' = 'size'
  #line = ''
  #left = 0

  take(input: Buffer): Framed {
    let at = 0
    while (at < input.length && !this.done) {
      if (this.#state === 'data') {
        const end = Math.min(input.length, at + this.#left)
        this.#left -= end - at
        if (this.#left === 0) this.#state = 'dataEnd'
        return after(input, at, end)
      }
      const newline = input.indexOf(0x0a, at)
      this.#line += input.toString('latin1', at, newline === -1 ? input.length : newline)
      if (this.#line.length > longestLineBytes) throw new SyntaxError('a chunk line is too long')
      at = newline === -1 ? input.length : newline + 1
      if (newline !== -1) this.#endLine()
    }
    return at < input.length ? { rest: input.subarray(at) } : {}
  }

  #endLine(): void {
    const line = this.#line.replace(/\r$/, '')
    this.#line = ''
    switch (this.#state) {
      case 'size': {
        const digits = /^([0-9a-fA-F]{1,13})[ \t]*(?:;.*)?$/.exec(line)?.[1]
        if (digits === undefined) throw new SyntaxError('a chunk size is not a hexadecimal number')
        this.#left = Number.parseInt(digits, 16)
        this.#state = this.#left === 0 ? 'trailer' : 'data'
        break
      }
      case 'dataEnd':
        if (line !== '') throw new SyntaxError('a chunk is longer than its size')
        this.#state = 'size'
        break
      case 'trailer':
        if (line === '') this.done = true
        break
      case 'data':
        break
    }
  }
}

function after(input: Buffer, start: number, end: number): Framed {
  const payload = input.subarray(start, end)
  return end < input.length ? { payload, rest: input.subarray(end) } : { payload }
}
