/** From a path to the target that it means. */
import { stat } from 'node:fs/promises'
import type { Stats } from 'node:fs'
import { dirname } from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { openBlockTarget } from './block.ts'
import { errnoOf, openFault } from './faults.ts'
import { createFileTarget, reopenFileTarget } from './file.ts'
import type { Target } from './target.ts'

export interface OpenTarget {
  /** A block device, or a file to be made (or replaced) in an existing directory. */
  readonly path: string
  /** What a file may grow to at most; devices have their own size. */
  readonly capacityBytes?: number
  /** A file may have holes for which there is no room; see {@link createFileTarget}. */
  readonly overcommit?: string
  /** Back every byte by storage. */
  readonly preallocate: boolean
  readonly log: Log
}

/**
 * Opens a block device, or makes a regular file in place of one that an earlier attempt left. Throws CDI_TARGET_INVALID
 * if the path is neither, or may not be written.
 */
export async function openTarget({ path, preallocate, log, ...limits }: OpenTarget): Promise<Target> {
  const facts = await factsOf(path)
  if (facts?.isBlockDevice()) return openBlockTarget({ path, preallocate, log })
  if (facts !== undefined && !facts.isFile()) {
    throw invalid(path, `${path} is ${kindOf(facts)}, not a regular file or block device`)
  }
  const directory = dirname(path)
  const parent = await factsOf(directory)
  if (parent === undefined) throw invalid(path, `the directory ${directory} does not exist`)
  return createFileTarget({ path, preallocate, log, ...limits })
}

/**
 * Opens what an earlier process has begun and not finished, to be gone on with by `resume`; nothing of it is changed.
 * Throws CDI_TARGET_INVALID if it is not there any more or a file has less than `leastBytes`.
 */
export async function reopenTarget({
  path,
  preallocate,
  log,
  leastBytes,
  ...limits
}: OpenTarget & { readonly leastBytes: number }): Promise<Target> {
  const facts = await factsOf(path)
  if (facts === undefined) throw invalid(path, `${path} does not exist any more`)
  if (facts.isBlockDevice()) return openBlockTarget({ path, preallocate, log })
  return reopenFileTarget({ path, preallocate, log, leastBytes, ...limits })
}

async function factsOf(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path)
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined
    throw openFault(path, error)
  }
}

function kindOf(facts: Stats): string {
  if (facts.isDirectory()) return 'a directory'
  if (facts.isFIFO()) return 'a pipe'
  if (facts.isSocket()) return 'a socket'
  return 'a character device'
}

function invalid(path: string, message: string): CdiError {
  return new CdiError('CDI_TARGET_INVALID', message, { details: { path } })
}
