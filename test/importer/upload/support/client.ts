/** Clients of an upload server over real TLS: Node's, which a test holds in its hands, and curl. */
import { request as startRequest } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { execa } from 'execa'
import type { CertificatePair } from '../../../../src/certs/authority.ts'
import type { Identities } from './identities.ts'

export interface Sent {
  readonly status: number
  readonly text: string
  readonly headers: IncomingMessage['headers']
}

export interface SendOptions {
  readonly port: number
  readonly identities: Identities
  /** The proxy's unless told; `none` is a client without one. */
  readonly as?: CertificatePair | 'none'
  readonly method?: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  /** Chunks are sent as they come, with a length only if it is among the headers. */
  readonly body?: Buffer | Iterable<Buffer> | AsyncIterable<Buffer>
}

/** Sends one request on a connection of its own. A body that is still being sent stops when the answer is there. */
export async function send(options: SendOptions): Promise<Sent> {
  const { body } = options
  const request = begin(options)
  const answer = answerOf(request)
  answer.catch(() => {})
  let answered = false
  void answer.then(
    () => (answered = true),
    () => (answered = true),
  )
  if (Buffer.isBuffer(body)) {
    request.end(body)
  } else {
    for await (const chunk of body ?? []) {
      if (answered || request.destroyed) break
      if (!request.write(chunk))
        await new Promise<void>((resolve) => {
          request.once('drain', resolve)
          request.once('close', resolve)
          void answer.finally(resolve).catch(() => {})
        })
    }
    if (!answered) request.end()
  }
  try {
    return await answer
  } finally {
    request.destroy()
  }
}

export type PendingRequest = ReturnType<typeof startRequest>

/** Starts a request whose body the test writes. */
export function begin({
  port,
  identities,
  as = identities.proxy,
  method = 'POST',
  path,
  headers = {},
  body,
}: SendOptions): PendingRequest {
  return startRequest({
    host: '127.0.0.1',
    port,
    method,
    path,
    headers: { ...(Buffer.isBuffer(body) ? { 'content-length': String(body.length) } : {}), ...headers },
    ca: identities.serverCa,
    agent: false,
    ...(as === 'none' ? {} : { cert: as.certPem, key: as.keyPem }),
  })
}

/** The whole answer; rejects if the connection breaks before. */
export function answerOf(request: PendingRequest): Promise<Sent> {
  return new Promise((resolve, reject) => {
    request.once('error', reject)
    request.once('response', (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk: Buffer) => chunks.push(chunk))
      response.once('error', reject)
      response.once('end', () =>
        resolve({
          status: response.statusCode ?? 0,
          text: Buffer.concat(chunks).toString(),
          headers: response.headers,
        }),
      )
    })
  })
}

export interface CurlResult {
  readonly exitCode: number
  readonly status: number
  readonly text: string
  readonly stderr: string
}

/** Runs curl; the answer's body and status are told apart by the last line. */
export async function curl(args: readonly string[]): Promise<CurlResult> {
  const { exitCode, stdout, stderr } = await execa(
    'curl',
    ['--silent', '--show-error', '--noproxy', '*', '--max-time', '60', '--write-out', '\n%{http_code}', ...args],
    { reject: false, stripFinalNewline: false },
  )
  const cut = stdout.lastIndexOf('\n')
  return { exitCode: exitCode ?? -1, status: Number(stdout.slice(cut + 1)), text: stdout.slice(0, cut), stderr }
}
