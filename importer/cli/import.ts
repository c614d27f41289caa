/** `cdi import SOURCE TARGET`: the very pipeline of the pods on a local file or device. */
import { noJournal } from '../journal.ts'
import { Progress } from '../progress.ts'
import { runImport } from '../run.ts'
import { importUsage } from './options.ts'
import { inSession } from './session.ts'

export function main(args: readonly string[]): Promise<void> {
  return inSession({ command: 'import', usage: importUsage, args }, async ({ input, log, reporter, signal }) => {
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
