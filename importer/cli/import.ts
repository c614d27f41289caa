/** `cdi import SOURCE TARGET`: the very pipeline of the pods on a local file or device. */
import { stat } from 'node:fs/promises'
import type { BigIntStats } from 'node:fs'
import { CdiError } from '../../src/errors.ts'
import { noJournal } from '../journal.ts'
import { Progress } from '../progress.ts'
import type { ImportRequest } from '../request.ts'
import { runImport } from '../run.ts'
import { importUsage } from './options.ts'
import { inSession } from './session.ts'

export function main(args: readonly string[]): Promise<void> {
  return inSession({ command: 'import', usage: importUsage, args }, async ({ input, log, reporter, signal }) => {
    await assertOtherFile(input.request)
    const progress = new Progress()
    const unwatch = reporter.watch(progress)
    try {
      const result = await runImport({ log, progress, journal: noJournal, stdin: process.stdin }, input.request, signal)
      unwatch()
      reporter.done(result, input.request.targetPath)
    } finally {
      unwatch()
    }
  })
}

/** A file that is both would be removed before it is read: its only copy, if the import then fails. Throws CDI_USAGE. */
async function assertOtherFile({ source, targetPath }: ImportRequest): Promise<void> {
  if (source.type !== 'file') return
  const [from, to] = await Promise.all([source.path, targetPath].map(factsOf))
  if (from === undefined || to === undefined) return
  const same = from.isBlockDevice() && to.isBlockDevice() ? from.rdev === to.rdev : isSameFile(from, to)
  if (same) throw new CdiError('CDI_USAGE', `the target ${targetPath} is the source itself`)
}

function isSameFile(one: BigIntStats, other: BigIntStats): boolean {
  return one.dev === other.dev && one.ino === other.ino
}

/** Undefined for what cannot be looked at: whoever opens it says why. */
async function factsOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true })
  } catch {
    return undefined
  }
}
