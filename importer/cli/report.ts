/** How the command line talks: progress and the end, for people on a terminal or as JSON lines for programs. */
import type { CdiError } from '../../src/errors.ts'
import type { Progress } from '../progress.ts'
import type { ImportResult } from '../run.ts'
import { progressLine } from './progress-bar.ts'
import { formatBytes } from './units.ts'

export interface Reporter {
  /** Starts drawing; the function stops it and clears the line. */
  watch(progress: Progress): () => void
  done(result: ImportResult, targetPath: string): void
  failed(error: CdiError): void
}

interface Output {
  readonly out: NodeJS.WritableStream
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
}

/** JSON lines on standard output: `progress` every second, then `done` or `failed`. */
export function jsonReporter({ out }: Output): Reporter {
  const print = (event: Record<string, unknown>): void => void out.write(`${JSON.stringify(event)}\n`)
  return {
    watch(progress) {
      const timer = setInterval(() => print({ event: 'progress', ...progress.snapshot() }), 1000)
      return () => clearInterval(timer)
    },
    done: (result, targetPath) => print({ event: 'done', target: targetPath, ...result }),
    failed: (error) =>
      print({
        event: 'failed',
        code: error.code,
        kind: error.kind,
        message: error.message,
        remedy: error.remedy,
        details: error.details,
      }),
  }
}

/** A bar on a terminal's standard error, nothing while it runs otherwise; one line at the end. */
export function humanReporter({ out, err }: Output): Reporter {
  return {
    watch(progress) {
      if (!err.isTTY) return () => {}
      const started = performance.now()
      const draw = (): void => {
        const elapsedSeconds = (performance.now() - started) / 1000
        err.write(
          `\r\u001B[2K${progressLine({ snapshot: progress.snapshot(), elapsedSeconds, columns: err.columns ?? 80 })}`,
        )
      }
      const timer = setInterval(draw, 200)
      return () => {
        clearInterval(timer)
        err.write('\r\u001B[2K')
      }
    },
    done(result, targetPath) {
      const packed = result.encodings.length === 0 ? '' : ` in ${result.encodings.join(' in ')}`
      const what =
        result.diskSizeBytes === undefined
          ? 'archive'
          : `${result.format}${packed}, disk of ${formatBytes(result.diskSizeBytes)}`
      out.write(`${targetPath}: ${what}, route ${result.route} (${result.why})\n`)
    },
    failed(error) {
      err.write(`cdi: ${error.code}: ${error.message.replaceAll(/\s*\n\s*/g, ' ')} - ${error.remedy}\n`)
    },
  }
}
