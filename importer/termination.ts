/**
 * The last words of a worker (contract: import §15). The controller reads them from the container's termination message;
 * at most 4096 bytes survive there, so longer texts are cut.
 */
import { writeFile } from 'node:fs/promises'
import type { CdiError } from '../src/errors.ts'

const limitBytes = 4096

export interface TerminationMessage {
  readonly scratchSpaceRequired?: boolean
  readonly preallocationApplied?: boolean
  readonly deadlinePassed?: boolean
  readonly labels?: Readonly<Record<string, string>>
  readonly message: string
}

export interface Termination {
  readonly exitCode: number
  readonly text: string
}

/** The words of a finished import; a blank disk says nothing about scratch, as clients see it today. */
export function success({
  blank,
  preallocationApplied,
  labels,
}: {
  blank: boolean
  preallocationApplied: boolean
  /** Bounded by the source, so that the words fit. */
  labels?: Readonly<Record<string, string>> | undefined
}): Termination {
  const message: TerminationMessage = {
    ...(blank ? {} : { scratchSpaceRequired: false }),
    preallocationApplied,
    ...(labels === undefined || Object.keys(labels).length === 0 ? {} : { labels }),
    message: 'Import Complete',
  }
  return { exitCode: 0, text: JSON.stringify(message) }
}

/** The words of a finished upload, or of a volume that a cloner has filled. */
export function uploaded({
  preallocationApplied,
  isClone = false,
}: {
  preallocationApplied: boolean
  isClone?: boolean
}): Termination {
  const message: TerminationMessage = {
    preallocationApplied,
    message: isClone ? 'Clone Complete' : 'Upload Complete',
  }
  return { exitCode: 0, text: JSON.stringify(message) }
}

/** The words of an upload server that nobody used until its certificate had to be renewed; a new pod takes its place. */
export function deadlinePassed(): Termination {
  const message: TerminationMessage = { deadlinePassed: true, message: 'Deadline Passed' }
  return { exitCode: 0, text: JSON.stringify(message) }
}

/**
 * The words of a failed import. Asking for scratch and a wrong checksum end with exit code 0 and JSON, so that the kubelet
 * does not start the container again; everything else exits 1 with plain text.
 */
export function failure(error: CdiError): Termination {
  if (error.kind === 'needsScratch') {
    const message: TerminationMessage = {
      scratchSpaceRequired: true,
      preallocationApplied: false,
      message: 'scratch space required and none found',
    }
    return { exitCode: 0, text: JSON.stringify(message) }
  }
  if (error.code === 'CDI_CHECKSUM_MISMATCH') {
    const message: TerminationMessage = { message: error.message }
    return { exitCode: 0, text: JSON.stringify(message) }
  }
  return fatal(error)
}

/** The words of a fault after which the kubelet starts the container again. */
export function fatal(error: CdiError): Termination {
  return { exitCode: 1, text: fit(error.message) }
}

/** One line of at most 4096 bytes; what is cut is cut at the end, on a character's border. */
function fit(text: string): string {
  const line = text.replaceAll(/\s*\n\s*/g, ' ').trim()
  if (Buffer.byteLength(line) <= limitBytes) return line
  const cut = Buffer.from(line).subarray(0, limitBytes - 4)
  return `${new TextDecoder('utf-8', { fatal: false }).decode(cut).replace(/\uFFFD+$/, '')}…`
}

/** Writes the words to the termination log; a missing file (no pod around) is no error. */
export async function writeTermination(path: string, { text }: Termination): Promise<void> {
  try {
    await writeFile(path, text)
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'EACCES')))
      throw error
  }
}
