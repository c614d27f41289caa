/**
 * Which receiver takes an upload: a raw disk of known length is written where it will stay, so that any process can go on
 * with it; an image that can be converted in one pass is converted with checkpoints, so that a restarted container can;
 * all else streams through the pipeline of imports and lives in the process.
 */
import type { Log } from '../../../src/log.ts'
import type { Checksum } from '../../sources/checksum.ts'
import type { ImageJournal } from '../image-journal.ts'
import { ImageTransfer } from '../image-transfer.ts'
import { factsOfHead } from '../raw-head.ts'
import type { HeadFacts } from '../raw-head.ts'
import { RawTransfer } from '../raw-transfer.ts'
import type { RawTransferOptions } from '../raw-transfer.ts'
import { StreamTransfer } from '../stream-transfer.ts'
import type { Transfer, Volume } from '../transfer.ts'

export type Receiver = 'raw' | 'image' | 'stream'

/** Pure. An image with a checksum streams: a digest of half of it cannot be handed on. */
export function chooseReceiver({
  contentType,
  head,
  length,
  hasChecksum,
}: {
  contentType: Volume['contentType']
  head: HeadFacts
  length: number | undefined
  hasChecksum: boolean
}): Receiver {
  if (contentType === 'archive' || head.encodings.length > 0) return 'stream'
  if (head.format === 'raw') return length === undefined || length === 0 ? 'stream' : 'raw'
  const layout = head.facts?.onePass
  return layout === undefined || typeof layout === 'string' || hasChecksum ? 'stream' : 'image'
}

export interface ReceiverOptions {
  readonly log: Log
  readonly volume: Volume
  /** Of the whole. */
  readonly checksums: readonly Checksum[]
  readonly note: RawTransferOptions['note']
  readonly imageJournal: ImageJournal
  /** Told before an image is begun; what it returns is waited for. */
  readonly onImage: () => Promise<void>
}

/** Opens the receiver for an upload that begins with `head`. Throws as an import of these bytes would. */
export async function openReceiver(
  { log, volume, checksums, note, imageJournal, onImage }: ReceiverOptions,
  head: Buffer,
  length: number | undefined,
  signal: AbortSignal,
): Promise<Transfer> {
  const { contentType } = volume
  const stream = (): StreamTransfer =>
    new StreamTransfer({ log, volume, checksums, ...(length === undefined ? {} : { sizeBytes: length }) })
  // The pipeline has its own words for it.
  if (head.length === 0 || contentType === 'archive') return stream()
  const headFacts = await factsOfHead(head, length, signal)
  const receiver = chooseReceiver({ contentType, head: headFacts, length, hasChecksum: checksums.length > 0 })
  const { encodings, format, facts } = headFacts
  log.info({ receiver, encodings, format, length }, 'resumable upload begins')
  if (receiver === 'raw' && length !== undefined) {
    return RawTransfer.begin({ log, volume, length, checksums, note }, signal)
  }
  if (receiver === 'image' && facts !== undefined) {
    // Before it is noted: what is left of an earlier image must not be taken for the beginning of this one.
    await imageJournal.clear()
    await onImage()
    return ImageTransfer.begin({ log, volume, journal: imageJournal }, facts)
  }
  return stream()
}
