/** What an upload server takes instead of uploads if its volume is the target of a host-assisted clone. */
import type { Protocol } from '../context.ts'
import { ImageJournal } from '../image-journal.ts'
import { ResumeJournal } from '../resume-journal.ts'
import type { OpenResumable } from '../resumable/open.ts'
import { resumptionProtocol } from '../resumable/resumption.ts'
import { Uploads } from '../resumable/uploads.ts'
import { cloneArchiveProtocol } from './archive.ts'
import { cloneDiskProtocol } from './disk.ts'
import { cloneTargetProtocol } from './target.ts'

export type OpenClone = Omit<OpenResumable, 'expiry'>

/** Resolves when the clone that an earlier process has begun, if there was one, holds the slot again. Never rejects. */
export async function openClone({ context, journalDirectory, resumption, patienceMs }: OpenClone): Promise<Protocol[]> {
  const uploads = new Uploads({
    // Whatever the claim holds: what comes by sections is a disk.
    context: { ...context, contentType: 'kubevirt' },
    journal: new ResumeJournal({ directory: journalDirectory }),
    imageJournal: new ImageJournal({ directory: journalDirectory }),
  })
  await uploads.restore(resumption)
  return [
    cloneDiskProtocol({ uploads, ...(patienceMs === undefined ? {} : { patienceMs }) }),
    cloneArchiveProtocol({ context }),
    cloneTargetProtocol({ context }),
    resumptionProtocol({ uploads }),
  ]
}
