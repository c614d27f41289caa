/**
 * What a worker remembers over restarts of its container: a fault that cannot heal, together with the version of the
 * source it was found in. The kubelet restarts a failed worker for ever (the contract wants that); with this note a
 * restart costs one look at the source instead of another download.
 */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { CdiError, errorTable } from '../src/errors.ts'
import type { ErrorCode } from '../src/errors.ts'

export interface SourceVersion {
  readonly name: string
  readonly validator?: string
  readonly sizeBytes?: number
}

export interface Journal {
  /** The remembered fault, if the source is provably still the same and so is the request. */
  recall(version: SourceVersion, requestKey: string): Promise<CdiError | undefined>
  remember(version: SourceVersion, requestKey: string, error: CdiError): Promise<void>
  forget(): Promise<void>
}

/** Codes that depend only on the source's bytes and on the request, not on the network or the storage. */
const lasting: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'CDI_DECODE_CORRUPT',
  'CDI_DECODE_TRUNCATED',
  'CDI_DECODE_WINDOW',
  'CDI_ENCODING_UNSUPPORTED',
  'CDI_FORMAT_INVALID',
  'CDI_FORMAT_UNSUPPORTED',
  'CDI_IMAGE_BACKING_FILE',
  'CDI_IMAGE_ENCRYPTED',
  'CDI_IMAGE_TOO_LARGE',
  'CDI_CONVERT_FAILED',
  'CDI_ARCHIVE_INVALID',
  'CDI_ARCHIVE_UNSAFE',
  'CDI_TARGET_FULL',
  'CDI_REGISTRY_BOOTC',
  'CDI_REGISTRY_NO_DISK',
])

interface Note {
  readonly version: SourceVersion
  readonly requestKey: string
  readonly code: ErrorCode
  readonly message: string
}

/** A journal in a directory that outlives the container; unreadable notes count as none. */
export function openJournal(directory: string): Journal {
  const path = join(directory, 'fault.json')
  return {
    async recall(version, requestKey) {
      if (version.validator === undefined) return undefined
      const note = await readNote(path)
      if (!note || note.requestKey !== requestKey || JSON.stringify(note.version) !== JSON.stringify(version))
        return undefined
      return new CdiError(note.code, note.message, { details: { remembered: true } })
    },
    async remember(version, requestKey, error) {
      if (version.validator === undefined || !lasting.has(error.code)) return
      const note: Note = { version, requestKey, code: error.code, message: error.message }
      await mkdir(directory, { recursive: true })
      await writeFile(`${path}.new`, JSON.stringify(note))
      await rename(`${path}.new`, path)
    },
    async forget() {
      await rm(path, { force: true })
    },
  }
}

async function readNote(path: string): Promise<Note | undefined> {
  try {
    const note = JSON.parse(await readFile(path, 'utf8')) as Note
    return note.code in errorTable && typeof note.message === 'string' ? note : undefined
  } catch {
    return undefined
  }
}

/** Remembers nothing: the command line, and pods without a journal volume. */
export const noJournal: Journal = {
  recall: () => Promise.resolve(undefined),
  remember: () => Promise.resolve(),
  forget: () => Promise.resolve(),
}
