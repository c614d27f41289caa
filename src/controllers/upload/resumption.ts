/**
 * What the servers of resumable uploads have made durable (docs/design/0007): each running server is asked on its own every
 * five seconds, and only a new answer makes its key come up. The controller writes it on the claim, from where the next pod
 * learns it; a server that does not answer delays nobody.
 */
import { Agent, request } from 'node:https'
import { areRangesApart, isByteCount } from '../../api/upload-env.ts'
import type { UploadResumption } from '../../api/upload-env.ts'
import type { Clock } from '../../kube/clock.ts'
import type { ObjectKey } from '../../kube/object.ts'
import type { Log } from '../../log.ts'
import { Follower } from '../shared/follower.ts'
import type { ClientIdentity } from './identity.ts'

/** Also the least time between two writes on a claim. */
const intervalMs = 5_000
const timeoutMs = 3_000
/** Whoever sends more is not a server of ours. */
const maxAnswerBytes = 1024 * 1024
/** So much of a claim's 256 KiB of annotations may be ours. */
const maxTextBytes = 16 * 1024

/** Where a server answers, and which name its certificate bears. */
export interface UploadServerAddress {
  readonly ip: string
  readonly port: number
  /** `<service>.<namespace>.svc` */
  readonly name: string
  readonly path: string
}

/** Asks a server. Resolves with the body of its answer, or null if it has nothing (204). */
export type AskServer = (address: UploadServerAddress, signal: AbortSignal) => Promise<string | null>

/** Asks over mutual TLS. The identity is looked up for each question, since certificates are renewed. */
export function serverAsker(identity: () => Promise<ClientIdentity>): { ask: AskServer; close: () => void } {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 })
  return {
    ask: async ({ ip, port, name, path }, signal) => {
      const { certPem, keyPem, serverCaPem } = await identity()
      const { promise, resolve, reject } = Promise.withResolvers<string | null>()
      const question = request(
        {
          agent,
          host: ip,
          port,
          path,
          servername: name,
          headers: { host: name },
          ca: serverCaPem,
          cert: certPem,
          key: keyPem,
          signal,
        },
        (answer) => {
          if (answer.statusCode === 204) resolve(null)
          else if (answer.statusCode !== 200) reject(new Error(`status ${answer.statusCode}`))
          const parts: Buffer[] = []
          let bytes = 0
          answer.on('data', (part: Buffer) => {
            bytes += part.length
            if (bytes > maxAnswerBytes) answer.destroy(new Error('the answer is too long'))
            else parts.push(part)
          })
          answer.on('end', () => resolve(Buffer.concat(parts).toString()))
          answer.on('error', reject)
        },
      )
      question.on('error', reject)
      question.end()
      return promise
    },
    close: () => agent.destroy(),
  }
}

/**
 * The answer as it is written on a claim; undefined if it is none. With too many ranges for a claim only the longest are
 * kept: the client sends the others once more.
 */
export function textOfResumption(answer: string): string | undefined {
  const read = readResumption(answer)
  if (!read) return undefined
  const text = JSON.stringify(read)
  if (text.length <= maxTextBytes) return text
  const byLength = read.ranges.toSorted(([a, b], [c, d]) => d - c - (b - a))
  // Numbers differ in length, so the most that fit are found by trying.
  let [fits, tooMany] = [0, byLength.length]
  const textOf = (count: number): string =>
    JSON.stringify({ ...read, ranges: byLength.slice(0, count).sort(([a], [b]) => a - b) })
  while (tooMany - fits > 1) {
    const count = Math.floor((fits + tooMany) / 2)
    if (textOf(count).length <= maxTextBytes) fits = count
    else tooMany = count
  }
  const shortened = textOf(fits)
  return shortened.length <= maxTextBytes ? shortened : undefined
}

/** Reads what a server sent; undefined if it has not the shape of a resumption. What else it says is for the next server. */
function readResumption(text: string): UploadResumption | undefined {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return undefined
  }
  if (typeof value !== 'object' || value === null) return undefined
  const { id, length, ranges, checksum, expires } = value as Record<string, unknown>
  if (typeof id !== 'string' || typeof expires !== 'string' || !Array.isArray(ranges)) return undefined
  if (length !== undefined && !isByteCount(length)) return undefined
  if (checksum !== undefined && typeof checksum !== 'string') return undefined
  return areRangesApart(ranges) ? (value as UploadResumption) : undefined
}

interface Server {
  /** Of the pod: another one is asked anew. */
  readonly uid: string
  readonly address: UploadServerAddress
}

/** Follows servers by the key of their claim; see {@link Follower}. */
export class ResumptionReader extends Follower<Server, string | null> {
  constructor({ ask, clock, log }: { ask: AskServer; clock: Clock; log: Log }) {
    super({
      clock,
      isSame: (one, other) => one.uid === other.uid && one.address.ip === other.address.ip,
      ask: async ({ address }, signal) => {
        const answer = await ask(address, signal)
        return answer === null ? null : textOfResumption(answer)
      },
      onSilence: (key, err) => log.debug({ key, err }, 'an upload server did not tell what it has'),
      firstMs: intervalMs,
      intervalMs,
      timeoutMs,
    })
  }

  /** What the server of this pod said last: JSON, or null for nothing; undefined while it has not answered. */
  answerOf(key: ObjectKey, uid: string | undefined): string | null | undefined {
    const followed = this.followed(key)
    return followed?.target.uid === uid ? followed?.answer : undefined
  }
}
