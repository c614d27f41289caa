/** One clone from beginning to end: what the target is, what the source holds, and the way that goes with both. */
import type { Log } from '../../src/log.ts'
import type { Progress } from '../progress.ts'
import type { Clock } from '../sources/clock.ts'
import type { ClonerConfig } from './config.ts'
import { SourceDisk } from './disk.ts'
import { dataExtents } from './extents.ts'
import { Patience } from './patience.ts'
import type { PatienceLimits } from './patience.ts'
import { sendDisk, streams } from './send-disk.ts'
import { sendTree } from './send-tree.ts'
import { CloneTarget } from './target.ts'
import { contentOf } from './volume.ts'

export interface ClonerDeps {
  readonly log: Log
  readonly progress: Progress
  readonly clock: Clock
  /** Between 0 and 1. */
  readonly random: () => number
  readonly limits?: PatienceLimits
}

export interface CloneResult {
  /** Every byte of the target is backed by storage because it was asked for. */
  readonly preallocationApplied: boolean
}

/** Throws what {@link sendDisk} and {@link sendTree} throw, and CDI_CLONE_NO_DISK. */
export async function runCloner(deps: ClonerDeps, config: ClonerConfig, signal: AbortSignal): Promise<CloneResult> {
  const { log, progress, clock, random, limits } = deps
  const patience = new Patience({ log, clock, random, ...(limits === undefined ? {} : { limits }) })
  await using target = new CloneTarget({ url: config.url, identity: config.identity, streams })
  const facts = await firstFacts(target, patience, signal)
  if (facts.isDone) {
    log.info({}, 'the target is finished already')
    return { preallocationApplied: facts.preallocationApplied ?? false }
  }
  const content = await contentOf(config, facts.kind)
  log.info({ content: content.kind, target: facts.kind, preallocation: config.preallocation }, 'clone begins')
  if (content.kind === 'tree') {
    const { source: directory, preallocation: preallocate } = config
    return sendTree({ directory, preallocate, target, patience, progress, log, signal })
  }
  await using disk = await SourceDisk.open(content.path)
  const { path, sizeBytes } = disk
  const data =
    disk.kind === 'block' ? [{ start: 0, end: sizeBytes }] : await dataExtents({ path, sizeBytes, log, signal })
  return await sendDisk({ disk, data, target, patience, progress, clock, log, signal })
}

/** The target may not be up yet. */
async function firstFacts(
  target: CloneTarget,
  patience: Patience,
  signal: AbortSignal,
): Promise<Awaited<ReturnType<CloneTarget['facts']>>> {
  for (;;) {
    try {
      return await target.facts(signal)
    } catch (thrown) {
      await patience.after(thrown, signal)
    }
  }
}
