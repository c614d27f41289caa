/** What the tests of the resumable protocols share: disks, a server that speaks them, and the real client of tus. */
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as tus from 'tus-js-client'
import type { Exchange } from '../../../../importer/upload/exchange.ts'
import { openResumable } from '../../../../importer/upload/resumable/open.ts'
import type { OpenResumable } from '../../../../importer/upload/resumable/open.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { Identities } from '../support/identities.ts'
import { startUploadServer } from '../support/upload-server.ts'
import type { TestUploadServer, TestUploadServerOptions } from '../support/upload-server.ts'

export const mebibyte = 1024 * 1024

/** Data that does not compress, with holes: every third MiB is zeros. */
export function makeDisk(sizeBytes: number): Buffer {
  const disk = Buffer.alloc(sizeBytes)
  const noise = Buffer.alloc(mebibyte)
  let state = 1
  for (let at = 0; at < noise.length; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    noise.writeUInt32LE(state, at)
  }
  for (let at = 0, number = 0; at < sizeBytes; at += mebibyte, number += 1) {
    if (number % 3 === 2) continue
    noise.copy(disk, at)
    if (at + 4 <= sizeBytes) disk.writeUInt32LE(number, at)
  }
  return disk
}

export function hashOf(bytes: Buffer, algorithm = 'sha256'): Buffer {
  return createHash(algorithm).update(bytes).digest()
}

/** As `Repr-Digest` and `Content-Digest` tell it. */
export function digestField(bytes: Buffer): string {
  return `sha-256=:${hashOf(bytes).toString('base64')}:`
}

export interface ResumableServer extends TestUploadServer {
  readonly journalDirectory: string
  /** Bytes of bodies that the protocols have taken, of requests that are still being read too. */
  readonly takenBytes: number
}

/** A server that speaks the resumable protocols, with a journal of its own. */
export async function startResumableServer(
  options: TestUploadServerOptions & Partial<Omit<OpenResumable, 'context'>> = {},
): Promise<ResumableServer> {
  let takenBytes = 0
  const countBody = (exchange: Exchange): Exchange => {
    const body = exchange.body.bind(exchange)
    exchange.body = async function* () {
      for await (const chunk of body()) {
        yield chunk
        takenBytes += chunk.length
      }
    }
    return exchange
  }
  const place = await tempDir('journal')
  const { journalDirectory = join(place.path, 'journal'), resumption = '', expiry, patienceMs, ...rest } = options
  const server = await startUploadServer({
    linger: { idleMs: 200, totalMs: 2000 },
    ...rest,
    protocols: async (context) => {
      const protocols = await openResumable({
        context,
        journalDirectory,
        resumption,
        ...(expiry === undefined ? {} : { expiry }),
        ...(patienceMs === undefined ? {} : { patienceMs }),
      })
      return protocols.map((protocol) => ({
        ...protocol,
        handle: (exchange: Exchange) => protocol.handle(countBody(exchange)),
      }))
    },
  })
  return {
    ...server,
    journalDirectory,
    get takenBytes() {
      return takenBytes
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]()
      await place[Symbol.asyncDispose]()
    },
  }
}

export interface TusClient {
  readonly port: number
  readonly identities: Identities
  readonly path?: string
  readonly options?: Partial<tus.UploadOptions>
}

/** Starts the real client; `done` rejects with its error. */
export function startTus(
  content: Buffer,
  { port, identities, path = 'upload-tus', options = {} }: TusClient,
): { readonly upload: tus.Upload; readonly done: Promise<void> } {
  const over = Promise.withResolvers<void>()
  const upload = new tus.Upload(content, {
    endpoint: `https://127.0.0.1:${port}/v1beta1/${path}`,
    httpStack: new tus.DefaultHttpStack({
      ca: identities.serverCa,
      cert: identities.proxy.certPem,
      key: identities.proxy.keyPem,
      agent: false,
    }),
    retryDelays: [0, 50, 100, 200, 400],
    ...options,
    onSuccess: () => over.resolve(),
    onError: (error) => over.reject(error),
  })
  upload.start()
  return { upload, done: over.promise }
}

/** Waits until it is so; rejects after 10 s. */
export async function until(condition: () => boolean): Promise<void> {
  const limit = AbortSignal.timeout(10_000)
  while (!condition()) await delay(5, undefined, { signal: limit })
}
