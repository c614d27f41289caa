/** The resumable protocols of an upload server, and the one upload that they share. */
import type { Protocol, UploadContext } from '../context.ts'
import { ImageJournal } from '../image-journal.ts'
import { ResumeJournal } from '../resume-journal.ts'
import { draftProtocol } from './draft.ts'
import { rangesProtocol } from './ranges.ts'
import { resumptionProtocol } from './resumption.ts'
import { tusProtocol } from './tus.ts'
import type { Expiry } from './upload.ts'
import { Uploads } from './uploads.ts'

export interface OpenResumable {
  readonly context: UploadContext
  /** The emptyDir that outlives the container. */
  readonly journalDirectory: string
  /** JSON of what an earlier pod has made durable; empty if there is none. */
  readonly resumption: string
  /** Shorter ones for tests. */
  readonly expiry?: Expiry
  readonly patienceMs?: number
}

/** Resolves when an upload of an earlier process, if there was one, holds the slot again. Never rejects. */
export async function openResumable({
  context,
  journalDirectory,
  resumption,
  expiry,
  patienceMs,
}: OpenResumable): Promise<Protocol[]> {
  const uploads = new Uploads({
    context,
    journal: new ResumeJournal({ directory: journalDirectory }),
    imageJournal: new ImageJournal({ directory: journalDirectory }),
    ...(expiry === undefined ? {} : { expiry }),
  })
  await uploads.restore(resumption)
  const options = { uploads, ...(patienceMs === undefined ? {} : { patienceMs }) }
  return [tusProtocol(options), draftProtocol(options), rangesProtocol(options), resumptionProtocol(options)]
}
