/**
 * The cloner as a pod: environment → clone → termination message and exit code. PID 1 of its container, so it handles
 * SIGTERM itself; what has arrived at the target stays there, and the next container goes on with it.
 */
import { cloneCompleteTexts, clonerMetricsPort, clonerPaths } from '../../src/api/cloner-env.ts'
import { CdiError, toCdiError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { serveWorkerMetrics } from '../metrics-server.ts'
import { Progress } from '../progress.ts'
import { systemClock } from '../sources/clock.ts'
import { fatal, writeTermination } from '../termination.ts'
import type { Termination } from '../termination.ts'
import { loadClonerConfig } from './config.ts'
import { runCloner } from './run.ts'

/** Where the parts of the pod are; those of the contract unless told. What is in the environment is not among them. */
export interface ClonerPlaces {
  readonly terminationLog: string
  readonly metricsPort: number
}

const podPlaces: ClonerPlaces = { terminationLog: clonerPaths.terminationLog, metricsPort: clonerMetricsPort }

const metric = { name: 'kubevirt_cdi_clone_progress_total', help: 'The clone progress in percentage' }

/** Runs the cloner of this pod and ends the process. `args` may hold `-v=N`. */
export async function main(args: readonly string[], places: ClonerPlaces = podPlaces): Promise<void> {
  const verbosity = Number(args.find((arg) => arg.startsWith('-v='))?.slice('-v='.length) ?? 1)
  const log = createLog({ name: 'cdi-cloner', verbosity, fd: 2 })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    // Not once: execa's signal-exit ends a process at once that nobody else seems to look after.
    process.on(name, () => stop.abort(new CdiError('CDI_ABORTED', `stopped by ${name}`)))
  }
  const termination = await work({ log, signal: stop.signal, places })
  await writeTermination(places.terminationLog, termination)
  process.exit(termination.exitCode)
}

async function work({
  log,
  signal,
  places,
}: {
  log: Log
  signal: AbortSignal
  places: ClonerPlaces
}): Promise<Termination> {
  const progress = new Progress()
  let metrics: AsyncDisposable | undefined
  try {
    const config = await loadClonerConfig(process.env)
    const { ownerUid } = config
    // Not waited for: the transfer need not stand still while a certificate is made.
    const serving = (async () => {
      try {
        metrics = await serveWorkerMetrics({ progress, ownerUid, port: places.metricsPort, metric })
      } catch (err) {
        log.warn({ err }, 'no metrics: the controller will show no progress')
      }
    })()
    const { preallocationApplied } = await runCloner(
      { log, progress, clock: systemClock, random: Math.random },
      config,
      signal,
    )
    await serving
    const text = preallocationApplied ? cloneCompleteTexts.preallocated : cloneCompleteTexts.plain
    log.info({ preallocationApplied }, text)
    return { exitCode: 0, text }
  } catch (thrown) {
    const error = toCdiError(signal.aborted && signal.reason instanceof CdiError ? signal.reason : thrown)
    log.error(
      { err: error, code: error.code, kind: error.kind, remedy: error.remedy, details: error.details },
      error.message,
    )
    return fatal(error)
  } finally {
    await metrics?.[Symbol.asyncDispose]()
  }
}
