/** What the protocols of the upload server work with. */
import type { ContentType } from '../../src/api/podenv.ts'
import type { Log } from '../../src/log.ts'
import type { Checksum } from '../sources/checksum.ts'
import type { Handler } from './exchange.ts'
import type { Slot } from './slot.ts'
import type { Volume } from './transfer.ts'

export interface UploadContext {
  readonly log: Log
  readonly slot: Slot
  /** Where disks go, and where archives go. */
  readonly volumes: Readonly<Record<ContentType, Volume>>
  /** What the claim holds. */
  readonly contentType: ContentType
  /** That the claim asks for, of the bytes as uploaded. */
  readonly checksums: readonly Checksum[]
  /** Raw disks are copies of volumes: see {@link import('./raw-transfer.ts').RawTransferOptions}. */
  readonly isVerbatim?: boolean
}

/** One way to upload, at addresses of its own. */
export interface Protocol {
  /** Takes requests for that path (exact, without the query). */
  readonly serves: (path: string) => boolean
  /** Common name of one more client that is let through: for what nobody can write with. */
  readonly alsoFor?: string
  /** Called for clients whose certificate was verified and bears the right name, for any method. */
  readonly handle: Handler
}
