/**
 * The addresses that take a whole upload in one request (contract: upload §6.3): body or form, answered when the volume
 * is finished (sync) or when the bytes are received and found right (async). Whatever fails, the slot is free again
 * before the client hears of it.
 */
import { toCdiError } from '../../src/errors.ts'
import type { CdiError } from '../../src/errors.ts'
import { RequestRefusal } from './answers.ts'
import type { UploadContext } from './context.ts'
import { digestsOf } from './digest-headers.ts'
import type { DigestHeaders } from './digest-headers.ts'
import type { Exchange } from './exchange.ts'
import { takeFormFile } from './form.ts'
import type { PlainAddress } from './gate.ts'
import { Digest } from '../sources/checksum.ts'
import type { Hold } from './slot.ts'
import { StreamTransfer } from './stream-transfer.ts'

export interface TakePlain {
  readonly context: UploadContext
  readonly exchange: Exchange
  readonly address: PlainAddress
  /** Told of a fault that came when the client had its 200 already. */
  readonly onUnseenFault: (fault: CdiError) => void
}

/** Takes an upload that came through the gate, and answers 200. Throws what answers.ts knows how to answer. */
export async function takePlain({ context, exchange, address, onUnseenFault }: TakePlain): Promise<void> {
  assertSupported(exchange)
  const digests = digestsOf((name) => exchange.header(name))
  const hold = await context.slot.claim(() => openTransfer({ context, exchange, address, digests }))
  await receive({ hold, exchange, address, digests })
  const finishing = hold.finish()
  if (!address.isAsync) {
    await finishing
    await exchange.answer({ status: 200 })
    hold.delivered()
    return
  }
  await Promise.race([finishing, hold.transfer.received()])
  await exchange.answer({ status: 200 })
  try {
    await finishing
    hold.delivered()
  } catch (thrown) {
    onUnseenFault(toCdiError(thrown))
  }
}

function assertSupported(exchange: Exchange): void {
  if (exchange.header('x-cdi-content-type') !== undefined) {
    throw new RequestRefusal(501, 'this upload server does not take clone streams (x-cdi-content-type)')
  }
  // RFC 9110 §14.4: a part must not be taken for the whole.
  if (exchange.header('content-range') !== undefined) {
    throw new RequestRefusal(400, 'this address takes whole uploads only; send ranges to /v1beta1/upload-ranges')
  }
}

type Opening = Pick<TakePlain, 'context' | 'exchange' | 'address'> & { digests: DigestHeaders }

function openTransfer({ context, exchange, address, digests }: Opening): StreamTransfer {
  const { log, volumes, contentType } = context
  const sizeBytes = address.isForm ? undefined : exchange.announcedBytes
  return new StreamTransfer({
    log,
    volume: volumes[address.isArchive ? 'archive' : contentType],
    checksums: [...context.checksums, ...digests.representation, ...(address.isForm ? [] : digests.content)],
    ...(sizeBytes === undefined ? {} : { sizeBytes }),
  })
}

async function receive({
  hold,
  exchange,
  address,
  digests,
}: { hold: Hold<StreamTransfer> } & Omit<Opening, 'context'>): Promise<void> {
  const { transfer } = hold
  try {
    await hold.read(async (reading) => {
      const body = reading.body(exchange.body())
      if (!address.isForm) return transfer.append(body, reading.signal)
      const whole = digests.content.map((checksum) => new Digest(checksum))
      await takeFormFile({
        contentType: exchange.header('content-type'),
        body: hashed(body, whole),
        take: (content) => transfer.append(content, reading.signal),
      })
      for (const digest of whole) digest.verify()
    })
  } catch (thrown) {
    const fault = hold.fault ?? toCdiError(thrown)
    await hold.drop(fault)
    throw fault
  }
}

async function* hashed(body: AsyncIterable<Buffer>, digests: readonly Digest[]): AsyncGenerator<Buffer> {
  for await (const chunk of body) {
    for (const digest of digests) digest.update(chunk)
    yield chunk
  }
}
