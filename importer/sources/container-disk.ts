/**
 * The disk of a container image that the kubelet has pulled and started beside us (pull method node). The pod shares its
 * process namespace, so the files of that container are below `/proc/<pid>/root` (Kubernetes: "Share Process Namespace
 * between Containers in a Pod"), where the disk is read by ranges like any other file.
 *
 * The image is somebody else's and our own files are near: an absolute symbolic link in it would lead into *our* root. So
 * no link is ever followed on the way (foreign-directory.ts).
 *
 * readyFile  the image's container writes its process id into it
 * doneFile   we make it when the image is not needed any more, and that container ends
 */
import { constants } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import { shownName } from '../formats/tar-name.ts'
import type { ContainerDiskRequest } from '../request.ts'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import { sourceOfHandle } from './file.ts'
import { ForeignDirectory } from './foreign-directory.ts'
import { bootcDirectories, bootcFault } from './registry/bootc.ts'
import { Refused, noDiskFault } from './registry/container-disk-fault.ts'
import { diskDirectory, isHidden } from './registry/container-disk-overlay.ts'
import { labelsOf } from './registry/labels.ts'
import type { RangedSource } from './source.ts'

const { O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants

/**
 * How long the image's container may take to start. The kubelet starts us first and then pulls the image, which may be
 * large; a pull that fails is told by the controller meanwhile.
 */
const defaultWaitMs = 3_600_000
const pollMs = 200
const longestPidBytes = 16
const longestEnvironBytes = 256 * 1024
/** Names below `disk/` that are looked at, and directories in one another. */
const mostNames = 10_000
const deepest = 32

export interface ContainerDiskOptions {
  readonly request: ContainerDiskRequest
  readonly log: Log
  /** Where the kernel shows processes; `/proc` unless told. */
  readonly procDirectory?: string
  readonly waitMs?: number
  readonly clock?: Clock
}

/**
 * Waits for the image's container and opens the one file below its `/disk`. Throws CDI_SOURCE_UNREACHABLE if it does not
 * come or cannot be looked into, CDI_REGISTRY_BOOTC, CDI_REGISTRY_NO_DISK (also for several files), CDI_SOURCE_CHANGED, or
 * the signal's reason. The container runs on until {@link releaseContainer}.
 */
export async function openContainerDisk(options: ContainerDiskOptions, signal: AbortSignal): Promise<RangedSource> {
  const { log, procDirectory = '/proc' } = options
  const { pid, root: opened } = await waitForRoot(options, signal)
  await using root = opened
  return await explained(async () => {
    await assertForeign(root)
    await assertNoBootcDirectories(root)
    const { path, handle } = await openDisk(root)
    try {
      const env = (await readStart(join(procDirectory, String(pid), 'environ'), longestEnvironBytes)).split('\0')
      const labels = labelsOf({ env, log })
      log.info({ pid, disk: shownName(path) }, 'disk found in the container of the image')
      return await sourceOfHandle({
        handle,
        name: `the container image (${shownName(path)})`,
        ...(Object.keys(labels).length === 0 ? {} : { labels }),
      })
    } catch (error) {
      await handle.close()
      throw error
    }
  })
}

/**
 * Lets the image's container end. To be called when this worker will not be started again: after its last words are
 * written and if it exits with 0. A worker that fails is restarted by the kubelet and needs the image once more.
 */
export async function releaseContainer({ doneFile }: Pick<ContainerDiskRequest, 'doneFile'>): Promise<void> {
  try {
    // The image's container may write there too: a link that it made must not have us empty another file.
    const handle = await open(doneFile, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW)
    await handle.close()
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
}

async function waitForRoot(
  {
    request: { readyFile },
    procDirectory = '/proc',
    waitMs = defaultWaitMs,
    clock = systemClock,
  }: ContainerDiskOptions,
  signal: AbortSignal,
): Promise<{ pid: number; root: ForeignDirectory }> {
  const deadlineMs = clock.now() + waitMs
  for (;;) {
    signal.throwIfAborted()
    const pid = await explained(() => readPid(readyFile))
    // A container that was started again has not written its new id yet.
    const root =
      pid === undefined ? undefined : await explained(() => openRoot(join(procDirectory, String(pid), 'root')))
    if (pid !== undefined && root !== undefined) return { pid, root }
    if (clock.now() >= deadlineMs) {
      const text = `Timeout waiting for file ${readyFile}`
      throw new CdiError(
        'CDI_SOURCE_UNREACHABLE',
        pid === undefined ? text : `${text}: the container of the image (process ${pid}) has ended`,
        { details: { readyFile, pid } },
      )
    }
    await clock.sleep(pollMs, signal)
  }
}

/** The process id in the ready file; undefined if it is not there or holds none. */
async function readPid(readyFile: string): Promise<number | undefined> {
  try {
    const text = (await readStart(readyFile, longestPidBytes)).trim()
    return /^[1-9]\d{0,9}$/.test(text) ? Number(text) : undefined
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined
    throw error
  }
}

async function openRoot(path: string): Promise<ForeignDirectory | undefined> {
  try {
    return await ForeignDirectory.open(path)
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return undefined
    throw error
  }
}

/** The id in the ready file is the word of somebody else: it must not make a disk of our own files. */
async function assertForeign(root: ForeignDirectory): Promise<void> {
  const [theirs, ours] = await Promise.all([root.facts(), stat('/', { bigint: true })])
  if (theirs.dev === ours.dev && theirs.ino === ours.ino) {
    throw new CdiError('CDI_SOURCE_UNREACHABLE', 'the process in the ready file is not one of another container')
  }
}

async function assertNoBootcDirectories(root: ForeignDirectory): Promise<void> {
  for (const name of bootcDirectories) {
    if ((await root.look(name))?.isDirectory() === true) throw bootcFault(`it has a directory /${name}`)
  }
}

interface Candidate {
  /** Names of the directories that lead to it, and its own. */
  readonly names: readonly string[]
  readonly path: string
  readonly seen: BigIntStats
}

/** Opens the one file that is the disk. */
async function openDisk(root: ForeignDirectory): Promise<{ path: string; handle: FileHandle }> {
  const walk: Walk = { found: [], refused: new Refused(), seenNames: 0 }
  const top = await root.look(diskDirectory)
  if (top?.isDirectory() === true) await collect(walk, root, [diskDirectory], top)
  else if (top !== undefined) walk.refused.add(diskDirectory, kindOf(top))
  const visible = walk.found.filter(({ path }) => !isHidden(path))
  const [disk, ...more] = visible.length > 0 ? visible : walk.found
  if (disk === undefined) throw walk.refused.noDisk()
  if (more.length > 0) {
    const shown = [disk, ...more].slice(0, 5).map(({ path }) => shownName(path))
    throw new CdiError('CDI_REGISTRY_NO_DISK', `image directory contains more than one file: ${shown.join(', ')}`)
  }
  return { path: disk.path, handle: await openFrom(root, disk.names, disk.seen) }
}

interface Walk {
  readonly found: Candidate[]
  readonly refused: Refused
  seenNames: number
}

async function collect(
  walk: Walk,
  parent: ForeignDirectory,
  names: readonly string[],
  seen: BigIntStats,
): Promise<void> {
  if (names.length > deepest)
    throw noDiskFault([`/${diskDirectory} has more than ${deepest} directories in one another`])
  await using directory = await parent.directory(names.at(-1) as string, seen)
  for await (const name of directory.names()) {
    if (++walk.seenNames > mostNames) throw noDiskFault([`/${diskDirectory} holds more than ${mostNames} names`])
    const facts = await directory.look(name)
    const longer = [...names, name]
    const path = longer.join('/')
    if (facts === undefined) continue
    if (facts.isDirectory()) await collect(walk, directory, longer, facts)
    else if (!facts.isFile()) walk.refused.add(path, kindOf(facts))
    else if (facts.size === 0n) walk.refused.add(path, 'empty')
    else walk.found.push({ names: longer, path, seen: facts })
  }
}

async function openFrom(
  directory: ForeignDirectory,
  [name = '', ...rest]: readonly string[],
  seen: BigIntStats,
): Promise<FileHandle> {
  if (rest.length === 0) return directory.file(name, seen)
  const facts = await directory.look(name)
  if (facts === undefined) throw new CdiError('CDI_SOURCE_CHANGED', `${shownName(name)} has gone while it was opened`)
  await using next = await directory.directory(name, facts)
  return await openFrom(next, rest, seen)
}

function kindOf(facts: BigIntStats): string {
  if (facts.isSymbolicLink()) return 'a symbolic link'
  if (facts.isFIFO()) return 'a named pipe'
  if (facts.isSocket()) return 'a socket'
  return facts.isFile() ? 'a file' : 'a device'
}

/** The first bytes of a file of somebody else, as latin1 text. */
async function readStart(path: string, mostBytes: number): Promise<string> {
  await using handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  const bytes = Buffer.alloc(mostBytes)
  let filled = 0
  for (;;) {
    const { bytesRead } = await handle.read(bytes, filled, mostBytes - filled)
    filled += bytesRead
    if (bytesRead === 0 || filled === mostBytes) return bytes.toString('latin1', 0, filled)
  }
}

/** Gives what the system says a code. */
async function explained<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof CdiError || codeOf(error) === undefined) throw error
    // The kernel shows a process to its own user and group only (proc(5), "ptrace access mode").
    const hint = codeOf(error) === 'EACCES' ? '; both containers must run as the same user and group' : ''
    throw new CdiError(
      'CDI_SOURCE_UNREACHABLE',
      `the files of the image's container cannot be read: ${(error as Error).message}${hint}`,
      { cause: error },
    )
  }
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined
}
