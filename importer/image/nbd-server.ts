/**
 * A read-only NBD server on a unix socket in a private directory: the door through which qemu-img reads a source that
 * is ours. Fixed newstyle negotiation with simple replies, requests answered as they become ready and not in turn
 * (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md).
 *
 * NBD can only say "I/O error"; the real fault goes out of band to {@link NbdServer.failure}, so that the one who runs
 * qemu-img reports that instead.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import type { Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What is served. */
export interface NbdExport {
  /**
   * What clients see, in bytes: a multiple of 512. qemu counts in sectors, and its client waits for ever for the missing
   * bytes when a simple reply to a read across an odd end is shorter than a sector.
   */
  readonly sizeBytes: number
  /** Bytes at `offset`; only asked for what lies inside. A rejection becomes EIO and {@link NbdServer.failure}. */
  read(offset: number, length: number): Promise<NbdPieces>
}

/** What a read hands over: its bytes in order, and what to call when they were sent. */
export interface NbdPieces {
  readonly pieces: readonly Buffer[]
  readonly release?: () => void
}

export interface NbdServer extends AsyncDisposable {
  readonly socketPath: string
  /** The first error that a read ended with. */
  readonly failure: unknown
  /** Bytes sent to clients so far, headers not counted. */
  readonly servedBytes: number
}

const optionMagic = 0x49484156454f5054n
const optionReplyMagic = 0x3e889045565a9n
const requestMagic = 0x25609513
const simpleReplyMagic = 0x67446698

const handshake = { fixedNewstyle: 1, noZeroes: 2 } as const
const option = { exportName: 1, abort: 2, list: 3, info: 6, go: 7 } as const
const reply = {
  ack: 1,
  server: 2,
  info: 3,
  unsupported: 0x8000_0001,
  invalid: 0x8000_0003,
  unknown: 0x8000_0006,
} as const
const information = { export: 0, blockSize: 3 } as const
/** HAS_FLAGS, READ_ONLY, SEND_FLUSH, CAN_MULTI_CONN. */
const transmissionFlags = 1 | 2 | 4 | 256
const command = { read: 0, write: 1, disconnect: 2, flush: 3 } as const
const errno = { none: 0, notPermitted: 1, io: 5, invalid: 22 } as const

const maxReadBytes = 32 * 1024 * 1024
const maxOptionBytes = 8192
/** Requests of one connection under way at most; the next is read when one is answered. */
const maxInFlight = 32
/** Unsent replies of one connection, in bytes, above which no further request is taken. */
const maxUnsentBytes = 16 * 1024 * 1024

/** Starts serving. The socket lies in a directory (mode 0700) of its own below `directory`, gone after disposal. */
export async function startNbdServer(served: NbdExport, directory: string = tmpdir()): Promise<NbdServer> {
  if (served.sizeBytes % 512 !== 0)
    throw new RangeError(`an export of ${served.sizeBytes} bytes ends inside of a sector`)
  const home = await mkdtemp(join(directory, 'nbd-'))
  const socketPath = join(home, 's')
  const connections = new Set<Socket>()
  const state = { failure: undefined as unknown, servedBytes: 0 }
  const server: Server = createServer((socket) => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
    // A client that goes away is its own affair: whoever started it looks at its exit code.
    socket.on('error', () => socket.destroy())
    new Connection(socket, served, state).start()
  })
  try {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    server.once('error', reject).listen(socketPath, resolve)
    await promise
  } catch (error) {
    await rm(home, { recursive: true, force: true })
    throw error
  }
  return {
    socketPath,
    get failure() {
      return state.failure
    },
    get servedBytes() {
      return state.servedBytes
    },
    async [Symbol.asyncDispose]() {
      const closed = Promise.withResolvers<void>()
      server.close(() => closed.resolve())
      for (const socket of connections) socket.destroy()
      await closed.promise
      await rm(home, { recursive: true, force: true })
    },
  }
}

/** One client: collects bytes until the next message is whole, and answers it. */
class Connection {
  readonly #socket: Socket
  readonly #served: NbdExport
  readonly #state: { failure: unknown; servedBytes: number }
  #phase: 'flags' | 'options' | 'transmission' = 'flags'
  #input: Buffer = Buffer.alloc(0)
  #skipBytes = 0
  #inFlight = 0
  #noZeroes = false

  constructor(socket: Socket, served: NbdExport, state: { failure: unknown; servedBytes: number }) {
    this.#socket = socket
    this.#served = served
    this.#state = state
  }

  start(): void {
    const greeting = Buffer.alloc(18)
    greeting.write('NBDMAGICIHAVEOPT', 'latin1')
    greeting.writeUInt16BE(handshake.fixedNewstyle | handshake.noZeroes, 16)
    this.#socket.write(greeting)
    this.#socket.on('data', (chunk: Buffer) => {
      this.#input = this.#input.length === 0 ? chunk : Buffer.concat([this.#input, chunk])
      this.#consume()
    })
    this.#socket.on('drain', () => this.#consume())
  }

  /** Takes whole messages off the input while the client is not too far ahead of us. */
  #consume(): void {
    while (!this.#socket.destroyed) {
      if (this.#skipBytes > 0) {
        const skipped = Math.min(this.#skipBytes, this.#input.length)
        this.#input = this.#input.subarray(skipped)
        this.#skipBytes -= skipped
        if (this.#skipBytes > 0) break
      }
      if (this.#inFlight >= maxInFlight || this.#socket.writableLength > maxUnsentBytes) {
        this.#socket.pause()
        return
      }
      const taken = this.#message()
      if (taken === 0) break
      this.#input = this.#input.subarray(taken)
    }
    if (this.#socket.isPaused()) this.#socket.resume()
  }

  /** Handles the message at the beginning of the input; returns its length, 0 if it is not whole yet. */
  #message(): number {
    switch (this.#phase) {
      case 'flags':
        return this.#clientFlags()
      case 'options':
        return this.#option()
      case 'transmission':
        return this.#request()
      default:
        return this.#phase satisfies never
    }
  }

  #clientFlags(): number {
    if (this.#input.length < 4) return 0
    const flags = this.#input.readUInt32BE(0)
    this.#noZeroes = (flags & handshake.noZeroes) !== 0
    // Without fixed newstyle a client cannot understand refusals; with unknown flags we would not understand it.
    if ((flags & ~(handshake.fixedNewstyle | handshake.noZeroes)) !== 0) this.#socket.destroy()
    this.#phase = 'options'
    return 4
  }

  #option(): number {
    if (this.#input.length < 16) return 0
    const name = this.#input.readUInt32BE(8)
    const length = this.#input.readUInt32BE(12)
    if (this.#input.readBigUInt64BE(0) !== optionMagic || length > maxOptionBytes) {
      this.#socket.destroy()
      return 16
    }
    if (this.#input.length < 16 + length) return 0
    const data = this.#input.subarray(16, 16 + length)
    switch (name) {
      case option.exportName:
        this.#startTransmission()
        break
      case option.abort:
        this.#optionReply(name, reply.ack)
        this.#socket.end()
        break
      case option.list:
        this.#optionReply(name, reply.server, Buffer.alloc(4))
        this.#optionReply(name, reply.ack)
        break
      case option.info:
      case option.go:
        this.#describe(name, data)
        break
      default:
        // Structured replies, TLS, block status: nothing that a reader of a flat file would gain from.
        this.#optionReply(name, reply.unsupported)
    }
    return 16 + length
  }

  #startTransmission(): void {
    const answer = Buffer.alloc(this.#noZeroes ? 10 : 134)
    answer.writeBigUInt64BE(BigInt(this.#served.sizeBytes), 0)
    answer.writeUInt16BE(transmissionFlags, 8)
    this.#socket.write(answer)
    this.#phase = 'transmission'
  }

  #describe(name: number, data: Buffer): void {
    const nameLength = data.length >= 6 ? data.readUInt32BE(0) : undefined
    if (nameLength === undefined || data.length < 6 + nameLength) return this.#optionReply(name, reply.invalid)
    // One nameless export; another name is a mistake of the caller.
    if (nameLength > 0) return this.#optionReply(name, reply.unknown)
    const facts = Buffer.alloc(12)
    facts.writeUInt16BE(information.export, 0)
    facts.writeBigUInt64BE(BigInt(this.#served.sizeBytes), 2)
    facts.writeUInt16BE(transmissionFlags, 10)
    this.#optionReply(name, reply.info, facts)
    const sizes = Buffer.alloc(14)
    sizes.writeUInt16BE(information.blockSize, 0)
    sizes.writeUInt32BE(1, 2)
    sizes.writeUInt32BE(65536, 6)
    sizes.writeUInt32BE(maxReadBytes, 10)
    this.#optionReply(name, reply.info, sizes)
    this.#optionReply(name, reply.ack)
    if (name === option.go) this.#phase = 'transmission'
  }

  #optionReply(name: number, type: number, data: Buffer = Buffer.alloc(0)): void {
    const header = Buffer.alloc(20)
    header.writeBigUInt64BE(optionReplyMagic, 0)
    header.writeUInt32BE(name, 8)
    header.writeUInt32BE(type, 12)
    header.writeUInt32BE(data.length, 16)
    this.#socket.write(Buffer.concat([header, data]))
  }

  #request(): number {
    if (this.#input.length < 28) return 0
    if (this.#input.readUInt32BE(0) !== requestMagic) {
      this.#socket.destroy()
      return 28
    }
    const type = this.#input.readUInt16BE(6)
    const cookie = this.#input.readBigUInt64BE(8)
    const offset = this.#input.readBigUInt64BE(16)
    const length = this.#input.readUInt32BE(24)
    switch (type) {
      case command.read:
        if (length === 0 || length > maxReadBytes || offset + BigInt(length) > BigInt(this.#served.sizeBytes)) {
          this.#send(cookie, errno.invalid)
        } else {
          void this.#read(cookie, Number(offset), length)
        }
        break
      case command.write:
        // Its data follows and must be taken off the wire.
        this.#skipBytes = length
        this.#send(cookie, errno.notPermitted)
        break
      case command.flush:
        this.#send(cookie, errno.none)
        break
      case command.disconnect:
        this.#socket.end()
        break
      default:
        this.#send(cookie, errno.invalid)
    }
    return 28
  }

  /** Never rejects: what goes wrong is kept and told as EIO. */
  async #read(cookie: bigint, offset: number, length: number): Promise<void> {
    this.#inFlight++
    try {
      const { pieces, release } = await this.#served.read(offset, length)
      this.#state.servedBytes += length
      this.#send(cookie, errno.none, pieces, release)
    } catch (error) {
      this.#state.failure ??= error
      this.#send(cookie, errno.io)
    }
    this.#inFlight--
    this.#consume()
  }

  #send(cookie: bigint, error: number, pieces: readonly Buffer[] = [], release?: () => void): void {
    const header = Buffer.allocUnsafe(16)
    header.writeUInt32BE(simpleReplyMagic, 0)
    header.writeUInt32BE(error, 4)
    header.writeBigUInt64BE(cookie, 8)
    // Corked, header and pieces leave in one writev without being joined first.
    this.#socket.cork()
    this.#socket.write(header)
    for (const [index, piece] of pieces.entries()) {
      // Also called, with an error, when the connection is lost before.
      this.#socket.write(piece, index === pieces.length - 1 ? release : undefined)
    }
    this.#socket.uncork()
  }
}
