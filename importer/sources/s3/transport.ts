/**
 * Lets the AWS SDK ask for credentials (token service, single sign-on) the way we reach everything else: through the same
 * proxies, trusting the same roots, on connections that give up.
 */
import { Readable } from 'node:stream'
import { CdiError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { Access } from '../../request.ts'
import type { HeaderLine } from '../http/head.ts'
import { askOnce } from '../http/small-answer.ts'

/** The parts of the SDK's request (HttpRequest of @smithy/types) that are used here. */
interface SdkRequest {
  readonly method: string
  readonly protocol: string
  readonly hostname: string
  readonly port?: number
  readonly path: string
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>
  readonly headers: Readonly<Record<string, string>>
  readonly body?: unknown
}

interface SdkResponse {
  readonly statusCode: number
  readonly headers: Record<string, string>
  readonly body: Readable
}

const longestAnswerBytes = 256 * 1024
/** For one request from beginning to end, in milliseconds. */
const usualLimitMs = 30_000
/** What our client says itself. */
const ours = new Set(['host', 'content-length', 'connection', 'expect'])

/** A `requestHandler` for SDK clients. Its faults are those of our connections (CDI_SOURCE_*). */
export function sdkTransport({ access, log, limitMs = usualLimitMs }: { access: Access; log: Log; limitMs?: number }) {
  return {
    handle: async (request: SdkRequest): Promise<{ response: SdkResponse }> => {
      const { method } = request
      if (method !== 'GET' && method !== 'POST') {
        throw new CdiError('CDI_INTERNAL', `the AWS SDK wants to ${method}, which is not provided for`)
      }
      const url = urlOf(request)
      // Not AbortSignal.timeout: its reason would pass for a setting that makes no sense, which does not heal.
      const limit = new AbortController()
      const text = `${url.host} has not answered within ${limitMs / 1000} s`
      using _timer = setTimeout(() => limit.abort(new CdiError('CDI_SOURCE_STALLED', text)), limitMs)
      const answer = await askOnce(
        {
          method,
          url,
          headers: headersOf(request),
          ...(method === 'POST' ? { body: bodyOf(request) } : {}),
          access,
          limitMs,
          longestBytes: longestAnswerBytes,
          log,
        },
        limit.signal,
      )
      return {
        response: {
          statusCode: answer.status,
          headers: Object.fromEntries(answer.headers),
          body: Readable.from([answer.bytes]),
        },
      }
    },
  }
}

function urlOf({ protocol, hostname, port, path, query = {} }: SdkRequest): URL {
  const host = hostname.includes(':') && !hostname.startsWith('[') ? `[${hostname}]` : hostname
  const url = new URL(`${protocol}//${host}${port === undefined ? '' : `:${port}`}${path}`)
  for (const [name, value] of Object.entries(query)) {
    for (const one of [value ?? ''].flat()) url.searchParams.append(name, one)
  }
  return url
}

function headersOf({ headers }: SdkRequest): HeaderLine[] {
  return Object.entries(headers).filter(([name]) => !ours.has(name.toLowerCase()))
}

function bodyOf({ body }: SdkRequest): Buffer {
  if (body === undefined || body === null) return Buffer.alloc(0)
  if (typeof body === 'string') return Buffer.from(body)
  if (body instanceof Uint8Array) return Buffer.from(body)
  throw new CdiError('CDI_INTERNAL', 'the AWS SDK sends a body that is no text')
}
