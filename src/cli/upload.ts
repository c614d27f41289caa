/** `cdi upload FILE --dv NAME`, and `kubectl cdi upload …`: reads the command line, stops on signals, sets the exit code. */
import { CdiError, toCdiError } from '../errors.ts'
import { ApiError, connect, ConnectionError } from '../kube/client.ts'
import { systemClock } from '../kube/clock.ts'
import { createLog, silentLog } from '../log.ts'
import { parseUpload, uploadUsage } from './upload/options.ts'
import { humanUploadReporter, jsonUploadReporter } from './upload/report.ts'
import { runUpload } from './upload/run.ts'
import { stateDirectory } from './upload/state-file.ts'

export async function main(args: readonly string[]): Promise<void> {
  const clock = systemClock
  const output = { out: process.stdout, err: process.stderr, clock }
  const reporter = args.includes('--json') ? jsonUploadReporter(output) : humanUploadReporter(output)
  const stop = new AbortController()
  for (const [name, code] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.on(name, () => {
      process.exitCode = code
      stop.abort(new CdiError('CDI_ABORTED', `stopped by ${name}`))
    })
  }
  try {
    const input = parseUpload(args)
    if (input === 'help') {
      process.stdout.write(uploadUsage)
      return
    }
    const client = connect({
      kubeconfig: input.kubeconfig,
      context: input.context,
      userAgent: 'cdi-upload',
    })
    try {
      await runUpload(
        {
          client,
          clock,
          log: input.verbose ? createLog({ name: 'cdi', verbosity: 3, fd: 2 }) : silentLog(),
          reporter,
          stdin: process.stdin,
          httpProxy: proxySettings(process.env),
          stateDirectory: stateDirectory(process.env),
        },
        input,
        stop.signal,
      )
    } finally {
      await client.close()
    }
    process.exitCode = 0
  } catch (thrown) {
    const error = uploadError(stop.signal.aborted ? stop.signal.reason : thrown)
    reporter.pause()
    reporter.failed(error)
    process.exitCode ||= error.exitCode
  }
  // A half-read standard input or a kept-alive connection must not hold the process.
  process.exit()
}

/** What the Kubernetes client throws becomes a fault with a remedy. */
export function uploadError(thrown: unknown): CdiError {
  if (thrown instanceof ApiError) {
    const code = thrown.status === 401 || thrown.status === 403 ? 'CDI_UPLOAD_FORBIDDEN' : 'CDI_CLUSTER_API'
    return new CdiError(code, thrown.message, { cause: thrown, details: { status: thrown.status } })
  }
  if (thrown instanceof ConnectionError) {
    return new CdiError('CDI_CLUSTER_API', `the Kubernetes API is not reached: ${thrown.message}`, { cause: thrown })
  }
  return toCdiError(thrown)
}

function proxySettings(environment: Readonly<Record<string, string | undefined>>) {
  const of = (name: string): string => environment[name] ?? environment[name.toUpperCase()] ?? ''
  return { httpProxy: environment['http_proxy'] ?? '', httpsProxy: of('https_proxy'), noProxy: of('no_proxy') }
}
