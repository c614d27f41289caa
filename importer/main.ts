/**
 * The importer as a pod: environment → import → termination message and exit code. PID 1 of its container, so it handles
 * SIGTERM itself: the transfer is stopped and what was written is taken back.
 */
import { workerPaths } from '../src/api/podenv.ts'
import { CdiError, toCdiError } from '../src/errors.ts'
import { createLog } from '../src/log.ts'
import type { Log } from '../src/log.ts'
import { loadWorkerConfig } from './config.ts'
import type { WorkerPaths } from './config.ts'
import { openJournal } from './journal.ts'
import { serveWorkerMetrics } from './metrics-server.ts'
import { Progress } from './progress.ts'
import type { ContainerDiskRequest, SourceRequest } from './request.ts'
import { runImport } from './run.ts'
import { failure, success, writeTermination } from './termination.ts'
import type { Termination } from './termination.ts'

/** Where the parts of the pod are; those of the contract unless told. */
export interface WorkerPlaces {
  readonly paths: WorkerPaths & { readonly journalDirectory: string; readonly terminationLog: string }
  readonly metricsPort: number
}

const podPlaces: WorkerPlaces = { paths: workerPaths, metricsPort: 8443 }

/** Runs the worker of this pod and ends the process. `args` may hold `-v=N`. */
export async function main(args: readonly string[], places: WorkerPlaces = podPlaces): Promise<void> {
  const verbosity = Number(args.find((arg) => arg.startsWith('-v='))?.slice('-v='.length) ?? 1)
  const log = createLog({ name: 'cdi-importer', verbosity, fd: 2 })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    // Not once: execa's signal-exit ends a process at once that nobody else seems to look after.
    process.on(name, () => stop.abort(new CdiError('CDI_ABORTED', `stopped by ${name}`)))
  }
  const { termination, source } = await work({ log, signal: stop.signal, places })
  await writeTermination(places.paths.terminationLog, termination)
  if (termination.exitCode === 0 && source?.type === 'containerDisk') await release(source, log)
  process.exit(termination.exitCode)
}

/** This worker will not be started again, so the image is not needed any more. */
async function release(source: ContainerDiskRequest, log: Log): Promise<void> {
  const { releaseContainer } = await import('./sources/container-disk.ts')
  try {
    await releaseContainer(source)
  } catch (err) {
    log.error({ err }, 'the container of the image goes on waiting')
  }
}

interface Work {
  readonly termination: Termination
  /** Absent if the environment made no sense. */
  readonly source?: SourceRequest
}

async function work({
  log,
  signal,
  places: { paths, metricsPort },
}: {
  log: Log
  signal: AbortSignal
  places: WorkerPlaces
}): Promise<Work> {
  const progress = new Progress()
  let metrics: AsyncDisposable | undefined
  let source: SourceRequest | undefined
  const ended = (termination: Termination): Work => ({ termination, ...(source === undefined ? {} : { source }) })
  try {
    const { request, ownerUid } = await loadWorkerConfig(process.env, paths)
    source = request.source
    // Not waited for: the transfer need not stand still while a certificate is made.
    const serving = (async () => {
      try {
        metrics = await serveWorkerMetrics({ progress, ownerUid, port: metricsPort })
      } catch (err) {
        log.warn({ err }, 'no metrics: the controller will show no progress')
      }
    })()
    const journal = openJournal(paths.journalDirectory)
    const result = await runImport({ log, progress, journal, stdin: process.stdin }, request, signal)
    await serving
    log.info({ ...result }, 'Import Complete')
    const { preallocationApplied, labels } = result
    return ended(success({ blank: source.type === 'blank', preallocationApplied, labels }))
  } catch (thrown) {
    const error = toCdiError(signal.aborted && signal.reason instanceof CdiError ? signal.reason : thrown)
    log.error(
      { err: error, code: error.code, kind: error.kind, remedy: error.remedy, details: error.details },
      error.message,
    )
    return ended(failure(error))
  } finally {
    await metrics?.[Symbol.asyncDispose]()
  }
}
