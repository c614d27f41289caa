/** An upload server in this process, over real TLS, with volumes of its own: its slot and its end are at hand. */
import { mkdir, readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { DEFAULT_CIPHERS } from 'node:tls'
import { CdiError } from '../../../../src/errors.ts'
import { silentLog } from '../../../../src/log.ts'
import type { Log } from '../../../../src/log.ts'
import type { ContentType } from '../../../../src/api/podenv.ts'
import { uploadProxyClientName } from '../../../../src/api/upload-env.ts'
import type { Protocol, UploadContext } from '../../../../importer/upload/context.ts'
import { terminationOf, untilEnd } from '../../../../importer/upload/ending.ts'
import type { Linger } from '../../../../importer/upload/exchange.ts'
import { UploadServer } from '../../../../importer/upload/server.ts'
import { Slot } from '../../../../importer/upload/slot.ts'
import type { SlotOptions } from '../../../../importer/upload/slot.ts'
import { systemClock } from '../../../../importer/sources/clock.ts'
import type { Checksum } from '../../../../importer/sources/checksum.ts'
import type { Termination } from '../../../../importer/termination.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import { begin, curl, send } from './client.ts'
import type { CurlResult, PendingRequest, SendOptions, Sent } from './client.ts'
import { makeIdentities, writeIdentities } from './identities.ts'
import type { Identities } from './identities.ts'

let shared: Promise<Identities> | undefined

export interface TestUploadServerOptions {
  /** Where disks go; a file in a directory of its own unless told. */
  readonly device?: string
  /** The volume's mount point, instead of a directory of its own. */
  readonly data?: string
  readonly requestedBytes?: number
  readonly preallocate?: boolean
  readonly scratch?: boolean
  readonly contentType?: ContentType
  readonly checksums?: readonly Checksum[]
  readonly protocols?: (context: UploadContext) => readonly Protocol[] | Promise<readonly Protocol[]>
  readonly slot?: Omit<SlotOptions, 'log'>
  readonly linger?: Linger
  readonly log?: Log
}

type Request = Omit<SendOptions, 'port' | 'identities' | 'as'> & {
  readonly as?: 'proxy' | 'stranger' | 'forged' | 'none'
}

export interface TestUploadServer extends AsyncDisposable {
  readonly port: number
  readonly slot: Slot
  readonly identities: Identities
  /** Path of the disk. */
  readonly disk: string
  /** The volume's directory. */
  readonly data: string
  /** How the program would end. */
  readonly end: Promise<Termination>
  send(request: Request): Promise<Sent>
  begin(request: Request): PendingRequest
  /** `curl ARGS https://…PATH`, with the proxy's certificate. */
  curl(path: string, ...args: string[]): Promise<CurlResult>
  /** Names in the volume's directory. */
  names(): Promise<string[]>
}

export async function startUploadServer(options: TestUploadServerOptions = {}): Promise<TestUploadServer> {
  const { device, requestedBytes, preallocate = false, scratch = false, log = silentLog() } = options
  const place = await tempDir('upload')
  const data = options.data ?? join(place.path, 'data')
  const scratchDirectory = join(place.path, 'scratch')
  await mkdir(data, { recursive: true })
  if (scratch) await mkdir(scratchDirectory)
  shared ??= makeIdentities()
  const identities = await shared
  const files = await writeIdentities(join(place.path, 'tls'), identities)
  const slot = new Slot({ log, ...options.slot })
  const common = {
    filesystemOverhead: '0',
    resize: device === undefined,
    preallocate,
    directIo: false,
    ...(requestedBytes === undefined ? {} : { requestedBytes }),
    ...(scratch ? { scratchDirectory } : {}),
  }
  const disk = device ?? join(data, 'disk.img')
  const context: UploadContext = {
    log,
    slot,
    volumes: {
      kubevirt: { ...common, contentType: 'kubevirt', targetPath: disk },
      archive: { ...common, contentType: 'archive', targetPath: device ?? data },
    },
    contentType: options.contentType ?? 'kubevirt',
    checksums: options.checksums ?? [],
  }
  const unseenFault = Promise.withResolvers<CdiError>()
  const server = new UploadServer({
    context,
    protocols: (await options.protocols?.(context)) ?? [],
    identity: { key: identities.server.keyPem, cert: identities.server.certPem, clientCa: identities.clientCa },
    clientName: uploadProxyClientName,
    tls: { minVersion: 'TLSv1.2', ciphers: DEFAULT_CIPHERS },
    onUnseenFault: unseenFault.resolve,
    ...(options.linger === undefined ? {} : { linger: options.linger }),
  })
  const port = await server.listen(0, '127.0.0.1')
  const stop = new AbortController()
  const end = untilEnd({
    slot,
    unseenFault: unseenFault.promise,
    now: Date.now,
    clock: systemClock,
    signal: stop.signal,
  }).then(terminationOf)
  const full = ({ as = 'proxy', ...request }: Request): SendOptions => ({
    ...request,
    port,
    identities,
    as: as === 'none' ? as : identities[as],
  })
  return {
    port,
    slot,
    identities,
    disk,
    data,
    end,
    send: (request) => send(full(request)),
    begin: (request) => begin(full(request)),
    curl: (path, ...args) =>
      curl([
        '--cacert',
        files.serverCa,
        '--cert',
        files.cert,
        '--key',
        files.key,
        ...args,
        `https://127.0.0.1:${port}${path}`,
      ]),
    names: () => readdir(data),
    async [Symbol.asyncDispose]() {
      const reason = new CdiError('CDI_ABORTED', 'the test is over')
      stop.abort(reason)
      await slot.end(reason)
      await server[Symbol.asyncDispose]()
      await place[Symbol.asyncDispose]()
    },
  }
}

/** Bytes of a file that storage is behind. */
export async function allocatedBytes(path: string): Promise<number> {
  return (await stat(path)).blocks * 512
}
