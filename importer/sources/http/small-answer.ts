/** Answers that are read as a whole: tokens, and what token services say. */
import { CdiError } from '../../../src/errors.ts'
import type { Log } from '../../../src/log.ts'
import type { Access } from '../../request.ts'
import { HttpClient } from './client.ts'
import type { ClientRequest, ClientResponse } from './client.ts'
import type { ResponseHead } from './head.ts'
import { createTrust } from './trust.ts'

export interface Question extends ClientRequest {
  readonly url: URL
  readonly access: Access
  /** For the connection, and for each silence, in milliseconds. */
  readonly limitMs: number
  readonly longestBytes: number
  readonly log: Log
}

/**
 * Asks a service one question on a connection of its own and reads the answer, whatever its status. Redirects are not
 * followed, since questions hold secrets. Throws as {@link HttpClient.send} and {@link readAnswer} do.
 */
export async function askOnce(
  { url, access, limitMs, longestBytes, log, ...request }: Question,
  signal: AbortSignal,
): Promise<ResponseHead & { readonly bytes: Buffer }> {
  await using client = new HttpClient({
    url,
    credentials: undefined,
    headers: [],
    secureContext: () => createTrust({ ca: access.ca, log }),
    insecureSkipVerify: access.insecureSkipVerify,
    proxy: access.proxy,
    idleTimeoutMs: limitMs,
    connectTimeoutMs: limitMs,
    userAgent: 'cdi-golang-importer',
    keepIdle: 0,
    followRedirects: false,
    log,
  })
  const answer = await client.send(request, signal)
  return { ...answer, bytes: await readAnswer(answer, longestBytes) }
}

/** The body of an answer. Throws CDI_SOURCE_STATUS if it is longer than `longestBytes`, or what the body throws. */
export async function readAnswer(answer: ClientResponse, longestBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  await answer.body((chunk) => {
    bytes += chunk.length
    if (bytes > longestBytes) {
      throw new CdiError('CDI_SOURCE_STATUS', `the answer is longer than ${longestBytes} bytes`, {
        details: { status: answer.status },
      })
    }
    chunks.push(Buffer.from(chunk))
  })
  return Buffer.concat(chunks)
}
