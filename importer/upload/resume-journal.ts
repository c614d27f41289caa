/**
 * What an upload server remembers of a raw disk that it has half received: a small file in an emptyDir, so that a
 * restarted container goes on where the last one stopped. A new pod has no such file; it is told the same by its
 * environment ({@link import('../../src/api/upload-env.ts').UploadResumption}).
 *
 * An upload that was dropped leaves the word that there is none: the environment, which is as old as the pod, must not
 * bring back an upload whose bytes others have overwritten since. For the same reason the file is on the storage before
 * anything is done that it tells of.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { areRangesApart, isByteCount } from '../../src/api/upload-env.ts'
import type { UploadResumption } from '../../src/api/upload-env.ts'
import { parseChecksum } from '../sources/checksum.ts'
import type { UploadResult } from './transfer.ts'

/** Half received, and how far the end of it has come. */
export interface JournalEntry extends UploadResumption {
  /** All bytes were there and right: the disk has so many bytes, and what is left is to finish the volume. */
  readonly verifiedBytes?: number
  /** The volume is finished. */
  readonly result?: UploadResult
  /** It is a disk image that is converted as it comes; the rest stands in its own journal (image-journal.ts). */
  readonly isImage?: boolean
}

/** The most ranges that are remembered; with more than that the smallest are forgotten and have to be sent again. */
export const mostRanges = 512

/** Ids are 128 random bits, in base64url. */
export const idPattern = /^[A-Za-z0-9_-]{22}$/

export class ResumeJournal {
  readonly #directory: string
  /** Writes are made one after the other. */
  #writing: Promise<void> = Promise.resolve()

  constructor({ directory }: { directory: string }) {
    this.#directory = directory
  }

  get #path(): string {
    return join(this.#directory, 'upload.json')
  }

  /** What was written last; `none` if it was that there is no upload, undefined if nothing legible is there. */
  async read(): Promise<JournalEntry | 'none' | undefined> {
    let text: string
    try {
      text = await readFile(this.#path, 'utf8')
    } catch {
      return undefined
    }
    return text === 'null' ? 'none' : parseEntry(text)
  }

  /** Replaces what was there, atomically and durably; undefined says that there is no upload. Throws errors of the file system. */
  write(entry: JournalEntry | undefined): Promise<void> {
    const text = entry === undefined ? 'null' : JSON.stringify(bounded(entry))
    const writing = this.#writing.catch(() => {}).then(() => this.#replace(text))
    this.#writing = writing
    return writing
  }

  async #replace(text: string): Promise<void> {
    await mkdir(this.#directory, { recursive: true })
    const fresh = `${this.#path}.new`
    {
      await using file = await open(fresh, 'w', 0o600)
      await file.writeFile(text)
      await file.datasync()
    }
    await rename(fresh, this.#path)
    await using directory = await open(this.#directory, 'r')
    await directory.sync()
  }
}

/** The same with at most {@link mostRanges} ranges, the largest. */
export function bounded<T extends UploadResumption>(entry: T): T {
  if (entry.ranges.length <= mostRanges) return entry
  const largest = [...entry.ranges].sort((one, two) => two[1] - two[0] - (one[1] - one[0])).slice(0, mostRanges)
  return { ...entry, ranges: largest.sort((one, two) => one[0] - two[0]) }
}

/** Reads a resumption as the environment or the journal holds it; undefined if it is none, for whatever reason. */
export function parseResumption(text: string): UploadResumption | undefined {
  return parseEntry(text)
}

function parseEntry(text: string): JournalEntry | undefined {
  try {
    const entry = JSON.parse(text) as Partial<JournalEntry> | null
    return entry !== null && isEntry(entry) ? entry : undefined
  } catch {
    return undefined
  }
}

function isEntry(entry: Partial<JournalEntry>): entry is JournalEntry {
  const { id, length, ranges, checksum, expires, verifiedBytes } = entry
  if (typeof id !== 'string' || !idPattern.test(id)) return false
  if (length !== undefined && !isByteCount(length)) return false
  if (verifiedBytes !== undefined && !isByteCount(verifiedBytes)) return false
  if (typeof expires !== 'string' || Number.isNaN(Date.parse(expires))) return false
  if (checksum !== undefined) parseChecksum(checksum)
  return Array.isArray(ranges) && areRangesApart(ranges, length)
}
