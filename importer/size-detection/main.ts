/**
 * The size detection pod (contract: clone §4.2): how large is the disk in a volume of content type kubevirt? Such a disk is
 * raw whatever its bytes look like (a guest may write what it likes to its first sector), so the length of the file is
 * the answer and nothing of it is read. The answer is the termination message, in decimal bytes; a failure ends with one
 * of five exit codes, which stand for the reason.
 */
import { constants } from 'node:fs'
import { open, writeFile } from 'node:fs/promises'
import { sizeDetectionExitCodes } from '../../src/api/cloner-env.ts'
import type { SizeDetectionReason } from '../../src/api/cloner-env.ts'
import { workerPaths } from '../../src/api/podenv.ts'
import { createLog } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { deviceBytes } from '../target/linux.ts'

export interface SizeDetectionPlaces {
  readonly terminationLog: string
}

/** Why there is no answer. */
export class SizeDetectionFault extends Error {
  readonly reason: SizeDetectionReason

  constructor(reason: SizeDetectionReason, message: string, options: { cause?: unknown } = {}) {
    super(message, options)
    this.name = 'SizeDetectionFault'
    this.reason = reason
  }
}

/** Runs the size detection of this pod and ends the process. `args`: `-image-path PATH`. */
export async function main(
  args: readonly string[],
  { terminationLog }: SizeDetectionPlaces = { terminationLog: workerPaths.terminationLog },
): Promise<void> {
  const log = createLog({ name: 'cdi-size-detection', verbosity: 1, fd: 2 })
  process.exit(await detect(args, terminationLog, log))
}

async function detect(args: readonly string[], terminationLog: string, log: Log): Promise<number> {
  try {
    const path = imagePathOf(args)
    const sizeBytes = await diskSize(path)
    await tell(terminationLog, String(sizeBytes))
    log.info({ path, sizeBytes }, 'size detected')
    return 0
  } catch (err) {
    const fault =
      err instanceof SizeDetectionFault ? err : new SizeDetectionFault('ErrUnknown', String(err), { cause: err })
    log.error({ err: fault, reason: fault.reason }, fault.message)
    return sizeDetectionExitCodes[fault.reason]
  }
}

/** Reads the arguments. Throws ErrBadArguments. */
export function imagePathOf(args: readonly string[]): string {
  const [first = '', second, ...more] = args
  const match = /^--?image-path(?:=(?<value>.*))?$/s.exec(first)
  const inline = match?.groups?.['value']
  const path = inline ?? second
  const isClean = more.length === 0 && (inline === undefined || second === undefined)
  if (match === null || path === undefined || path === '' || !isClean) {
    throw new SizeDetectionFault('ErrBadArguments', 'the arguments are: -image-path PATH')
  }
  return path
}

/** Of a file or device, in bytes. Throws ErrInvalidPath if there is nothing, ErrInvalidFile if it is no disk. */
async function diskSize(path: string): Promise<number> {
  let facts
  try {
    // Whoever may not read it cannot clone it either.
    await using handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
    facts = await handle.stat({ bigint: true })
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    const reason = code === 'ENOENT' || code === 'ENOTDIR' ? 'ErrInvalidPath' : 'ErrInvalidFile'
    throw new SizeDetectionFault(reason, `${path} cannot be opened: ${message}`, { cause })
  }
  if (facts.isBlockDevice()) return deviceBytes(facts)
  if (!facts.isFile() || facts.size === 0n) throw new SizeDetectionFault('ErrInvalidFile', `${path} is no disk`)
  return Number(facts.size)
}

async function tell(terminationLog: string, text: string): Promise<void> {
  try {
    await writeFile(terminationLog, text)
  } catch (cause) {
    throw new SizeDetectionFault('ErrBadTermFile', `${terminationLog} cannot be written`, { cause })
  }
}
