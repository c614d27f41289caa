/**
 * The upload server as a pod: environment → HTTPS server → termination message and exit code. PID 1 of its container, so
 * it handles SIGTERM itself: what is being written is taken back, and the exit code says that it was not finished.
 */
import { workerPaths } from '../../src/api/podenv.ts'
import { uploadServerPort } from '../../src/api/upload-env.ts'
import { isKeyPair } from '../../src/certs/pem.ts'
import { followFiles } from '../../src/certs/reload.ts'
import { CdiError, toCdiError } from '../../src/errors.ts'
import { createLog } from '../../src/log.ts'
import type { Log } from '../../src/log.ts'
import { systemClock } from '../sources/clock.ts'
import { failure, writeTermination } from '../termination.ts'
import type { Termination } from '../termination.ts'
import { openClone } from './clone/open.ts'
import { loadUploadConfig } from './config.ts'
import type { ServerIdentity, UploadPaths } from './config.ts'
import { terminationOf, untilEnd } from './ending.ts'
import type { End } from './ending.ts'
import { openResumable } from './resumable/open.ts'
import { UploadServer } from './server.ts'
import { Slot } from './slot.ts'

/** Where the parts of the pod are; those of the contract unless told. */
export interface UploadServerPlaces {
  readonly paths: UploadPaths & { readonly journalDirectory: string; readonly terminationLog: string }
  readonly port: number
  /** All addresses unless told. */
  readonly host?: string
}

const podPlaces: UploadServerPlaces = { paths: workerPaths, port: uploadServerPort }

/** Runs the upload server of this pod and ends the process. `args` may hold `-v=N`. */
export async function main(args: readonly string[], places: UploadServerPlaces = podPlaces): Promise<void> {
  const verbosity = Number(args.find((arg) => arg.startsWith('-v='))?.slice('-v='.length) ?? 1)
  const log = createLog({ name: 'cdi-upload-server', verbosity, fd: 2 })
  const stop = new AbortController()
  for (const name of ['SIGTERM', 'SIGINT'] as const) {
    // Not once: execa's signal-exit ends a process at once that nobody else seems to look after.
    process.on(name, () => stop.abort(new CdiError('CDI_ABORTED', `stopped by ${name}`)))
  }
  const termination = await work({ log, signal: stop.signal, places })
  await writeTermination(places.paths.terminationLog, termination)
  process.exit(termination.exitCode)
}

async function work({
  log,
  signal,
  places: { paths, port, host },
}: {
  log: Log
  signal: AbortSignal
  places: UploadServerPlaces
}): Promise<Termination> {
  try {
    const config = await loadUploadConfig(process.env, paths)
    const slot = new Slot({ log })
    const unseenFault = Promise.withResolvers<CdiError>()
    const { volumes, contentType, checksums, isCloneTarget } = config
    const context = { log, slot, volumes, contentType, checksums, isVerbatim: isCloneTarget }
    const open = isCloneTarget ? openClone : openResumable
    await using server = new UploadServer({
      context,
      protocols: await open({ context, journalDirectory: paths.journalDirectory, resumption: config.resumption }),
      takesUploads: !isCloneTarget,
      identity: config.identity,
      clientName: config.clientName,
      tls: config.tls,
      onUnseenFault: unseenFault.resolve,
    })
    log.info({ port: await server.listen(port, host) }, 'upload server ready')
    followIdentity(server, { files: config.identityFiles, log, signal })
    const end = await untilEnd({
      slot,
      unseenFault: unseenFault.promise,
      now: Date.now,
      clock: systemClock,
      signal,
      ...(config.deadlineMs === undefined ? {} : { deadlineMs: config.deadlineMs }),
    })
    logEnd(log, end)
    await slot.end(end.kind === 'failed' ? end.fault : new CdiError('CDI_ABORTED', 'the upload server ends'))
    return terminationOf(end, { isClone: isCloneTarget })
  } catch (thrown) {
    const error = toCdiError(thrown)
    log.error({ err: error, code: error.code, remedy: error.remedy }, error.message)
    return failure(error)
  }
}

/**
 * A pod that was made right after another one of its name may begin with the Secret of that one, which is about to go; the
 * kubelet puts the right one into its place within a minute or two.
 */
function followIdentity(
  server: UploadServer,
  { files, log, signal }: { files: ServerIdentity; log: Log; signal: AbortSignal },
): void {
  const show = ([key = '', cert = '', clientCa = '']: readonly string[]): void =>
    server.setIdentity({ key, cert, clientCa })
  followFiles({
    files: [files.key, files.cert, files.clientCa],
    isWhole: ([key = '', cert = '']) => isKeyPair(cert, key),
    onChange: show,
    log,
    signal,
  })
    .then(show)
    .catch((err: unknown) => {
      if (!signal.aborted) log.error({ err }, 'the certificate of this server is no longer followed')
    })
}

function logEnd(log: Log, end: End): void {
  if (end.kind !== 'failed') log.info({ kind: end.kind }, 'upload server ends')
  else
    log.error(
      { err: end.fault, code: end.fault.code, remedy: end.fault.remedy },
      'upload server ends without an upload',
    )
}
