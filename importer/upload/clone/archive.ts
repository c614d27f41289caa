/** The tree of a volume as a tar stream in frames, unpacked as it comes; it lives in the process, so it is sent in one go. */
import { toCdiError } from '../../../src/errors.ts'
import { RequestRefusal } from '../answers.ts'
import type { Protocol, UploadContext } from '../context.ts'
import type { Exchange } from '../exchange.ts'
import type { Hold } from '../slot.ts'
import { StreamTransfer } from '../stream-transfer.ts'
import type { UploadResult } from '../transfer.ts'
import { unframed } from './frames.ts'
import { cloneArchivePath, sparseHeader } from './wire.ts'

export function cloneArchiveProtocol({ context }: { context: UploadContext }): Protocol {
  return {
    serves: (path) => path === cloneArchivePath,
    async handle(exchange) {
      if (exchange.method !== 'POST') throw new RequestRefusal(405, 'the method is POST')
      const isWhole = exchange.header(sparseHeader) === 'false'
      const hold = await context.slot.claim(() => new TreeTransfer({ context, isWhole }))
      await receive(hold, exchange)
      const { preallocationApplied } = await hold.finish()
      const isOut = await exchange.answer({
        status: 200,
        text: JSON.stringify({ preallocationApplied }),
        headers: { 'content-type': 'application/json' },
      })
      if (isOut) hold.delivered()
    },
  }
}

/** What is written as a whole, zeros too, is backed by storage as a whole. */
class TreeTransfer extends StreamTransfer {
  readonly #isPreallocated: boolean

  constructor({ context: { log, volumes }, isWhole }: { context: UploadContext; isWhole: boolean }) {
    super({ log, volume: volumes.archive, checksums: [] })
    this.#isPreallocated = isWhole && volumes.archive.preallocate
  }

  override async finish(): Promise<UploadResult> {
    return { ...(await super.finish()), preallocationApplied: this.#isPreallocated }
  }
}

async function receive(hold: Hold<StreamTransfer>, exchange: Exchange): Promise<void> {
  try {
    await hold.read((reading) => hold.transfer.append(unframed(reading.body(exchange.body())), reading.signal))
  } catch (thrown) {
    const fault = hold.fault ?? toCdiError(thrown)
    await hold.drop(fault)
    throw fault
  }
}
