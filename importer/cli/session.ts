/** What both commands share: parse, log, stop on signals, report one line and an exit code. */
import { CdiError, toCdiError } from '../../src/errors.ts'
import { createLog, silentLog } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { parseCli } from './options.ts'
import type { CliInput } from './options.ts'
import { humanReporter, jsonReporter } from './report.ts'
import type { Reporter } from './report.ts'

export interface Session {
  readonly input: CliInput
  readonly log: Log
  readonly reporter: Reporter
  readonly signal: AbortSignal
}

/** Runs `work` with a parsed command line; sets the exit code: 0 only if it resolved. */
export async function inSession(
  { command, usage, args }: { command: 'import' | 'inspect'; usage: string; args: readonly string[] },
  work: (session: Session) => Promise<void>,
): Promise<void> {
  const output = { out: process.stdout, err: process.stderr }
  let reporter = args.includes('--json') ? jsonReporter(output) : humanReporter(output)
  const stop = new AbortController()
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    // Not once: execa's signal-exit ends a process at once that nobody else seems to look after.
    process.on(name, () => {
      process.exitCode = code
      stop.abort(new CdiError('CDI_ABORTED', `stopped by ${name}`))
    })
  }
  try {
    const input = await parseCli(args, command, process.env)
    if (input === 'help') {
      process.stdout.write(usage)
      return
    }
    reporter = input.json ? jsonReporter(output) : humanReporter(output)
    const log = input.verbose ? createLog({ name: 'cdi', verbosity: 3, fd: 2 }) : silentLog()
    await work({ input, log, reporter, signal: stop.signal })
    process.exitCode = 0
  } catch (thrown) {
    const error = toCdiError(stop.signal.aborted ? stop.signal.reason : thrown)
    reporter.failed(error)
    process.exitCode ||= error.exitCode
  }
  // A half-read standard input or a kept-alive connection must not hold the process.
  process.exit()
}
