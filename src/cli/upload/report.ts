/** How `cdi upload` talks: a bar on a terminal, plain lines elsewhere, JSON lines for programs. */
import { formatBytes, formatSeconds } from '../../../importer/cli/units.ts'
import type { CdiError } from '../../errors.ts'
import type { Clock } from '../../kube/clock.ts'
import { RateMeter } from './rate.ts'

export interface UploadSummary {
  readonly namespace: string
  readonly name: string
  /** Of the file. */
  readonly sizeBytes: number
  /** That really went over the line, repetitions and all. */
  readonly sentBytes: number
  readonly seconds: number
}

export interface UploadReporter {
  /** One step, or one thing to know. */
  say(text: string): void
  /** The server has so much. Cheap; to be called as often as one likes. */
  progress(doneBytes: number, totalBytes: number | undefined): void
  /** Something went wrong that will be tried again. */
  trouble(text: string, waitMs: number): void
  /** Stops drawing. */
  pause(): void
  done(summary: UploadSummary): void
  failed(error: CdiError): void
}

export interface ReportOptions {
  readonly out: NodeJS.WritableStream
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number }
  readonly clock: Clock
}

const drawMs = 200
const plainLineMs = 10_000
const jsonLineMs = 1_000
/** Trouble that passes by itself sooner is not worth a line. */
const quietTroubleMs = 1_000

export function jsonUploadReporter({ out, clock }: ReportOptions): UploadReporter {
  const print = (event: Record<string, unknown>): void => void out.write(`${JSON.stringify(event)}\n`)
  const due = every(clock, jsonLineMs)
  return {
    say: (text) => print({ event: 'step', text }),
    progress(doneBytes, totalBytes) {
      if (due() || doneBytes === totalBytes) print({ event: 'progress', doneBytes, totalBytes })
    },
    trouble: (text, waitMs) => print({ event: 'trouble', text, waitMs: Math.round(waitMs) }),
    pause() {},
    done: (summary) => print({ event: 'done', ...summary }),
    failed: ({ code, kind, message, remedy, details }) =>
      print({ event: 'failed', code, kind, message, remedy, details }),
  }
}

export function humanUploadReporter({ out, err, clock }: ReportOptions): UploadReporter {
  const isTerminal = err.isTTY === true
  const due = every(clock, isTerminal ? drawMs : plainLineMs)
  const meter = new RateMeter(clock)
  let isDrawn = false
  let troubledText = ''
  let announced = false
  const clear = (): void => {
    if (isDrawn) err.write('\r\u001B[2K')
    isDrawn = false
  }
  const line = (text: string): void => {
    clear()
    err.write(`${text}\n`)
  }
  return {
    say: line,
    progress(doneBytes, totalBytes) {
      meter.add(doneBytes)
      troubledText = ''
      announced = false
      if (!due()) return
      const text = uploadLine({
        doneBytes,
        totalBytes,
        bytesPerSecond: meter.bytesPerSecond,
        columns: isTerminal ? (err.columns ?? 80) : 200,
        bar: isTerminal,
      })
      if (!isTerminal) return line(text)
      err.write(`\r\u001B[2K${text}`)
      isDrawn = true
      return undefined
    },
    trouble(text, waitMs) {
      meter.reset()
      // The same trouble again and again is one line.
      if (text === troubledText && announced) return
      troubledText = text
      if (waitMs < quietTroubleMs) return
      announced = true
      line(`${text}; trying again`)
    },
    pause: clear,
    done({ namespace, name, sizeBytes, sentBytes, seconds }) {
      clear()
      const rate = seconds > 0 ? `, ${formatBytes(Math.round(sentBytes / seconds))}/s` : ''
      const sent =
        sentBytes === sizeBytes ? formatBytes(sizeBytes) : `${formatBytes(sizeBytes)} (${formatBytes(sentBytes)} sent)`
      out.write(`${namespace}/${name}: ${sent} in ${formatSeconds(seconds)}${rate}\n`)
    },
    failed(error) {
      clear()
      err.write(`cdi: ${error.code}: ${error.message.replaceAll(/\s*\n\s*/g, ' ')} - ${error.remedy}\n`)
    },
  }
}

const barCells = 24

export interface UploadLine {
  readonly doneBytes: number
  readonly totalBytes: number | undefined
  readonly bytesPerSecond: number | undefined
  readonly columns: number
  /** Draw a bar too. */
  readonly bar: boolean
}

/** One line without an end of line, cut to the terminal's width. Pure. */
export function uploadLine({ doneBytes, totalBytes, bytesPerSecond, columns, bar }: UploadLine): string {
  const parts: string[] = []
  if (totalBytes !== undefined && totalBytes > 0) {
    const share = Math.min(1, doneBytes / totalBytes)
    const full = Math.floor(share * barCells)
    if (bar) parts.push(`[${'#'.repeat(full)}${'.'.repeat(barCells - full)}]`)
    parts.push(`${(Math.floor(share * 1000) / 10).toFixed(1).padStart(5)} %`)
    parts.push(`${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`)
  } else {
    parts.push(formatBytes(doneBytes))
  }
  if (bytesPerSecond !== undefined && bytesPerSecond >= 1) {
    parts.push(`${formatBytes(Math.round(bytesPerSecond))}/s`)
    if (totalBytes !== undefined && doneBytes < totalBytes) {
      parts.push(`${formatSeconds((totalBytes - doneBytes) / bytesPerSecond)} left`)
    }
  }
  return parts.join('  ').slice(0, Math.max(1, columns - 1))
}

/** True at most once in so many milliseconds. */
function every(clock: Clock, intervalMs: number): () => boolean {
  let lastMs = Number.NEGATIVE_INFINITY
  return () => {
    const now = clock.monotonicMs()
    if (now - lastMs < intervalMs) return false
    lastMs = now
    return true
  }
}
