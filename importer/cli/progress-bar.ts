/** The line that a person watches: bar, percent, bytes, rate, time left. Pure text; the caller draws it. */
import type { ProgressSnapshot } from '../progress.ts'
import { formatBytes, formatSeconds } from './units.ts'

const barCells = 24

export interface BarInput {
  readonly snapshot: ProgressSnapshot
  /** Seconds since the transfer began. */
  readonly elapsedSeconds: number
  /** Characters that the terminal has in a line. */
  readonly columns: number
}

/** One line without an end of line, cut to the terminal's width. */
export function progressLine({ snapshot, elapsedSeconds, columns }: BarInput): string {
  const { percent, doneBytes, totalBytes, phase } = snapshot
  const parts = [phase.padEnd(8)]
  if (percent !== undefined) {
    const full = Math.floor((percent / 100) * barCells)
    parts.push(`[${'#'.repeat(full)}${'.'.repeat(barCells - full)}] ${percent.toFixed(1).padStart(5)} %`)
  }
  if (doneBytes > 0) {
    parts.push(
      totalBytes === undefined ? formatBytes(doneBytes) : `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    )
    if (elapsedSeconds > 0) parts.push(`${formatBytes(Math.round(doneBytes / elapsedSeconds))}/s`)
  }
  if (percent !== undefined && percent > 1 && percent < 100) {
    parts.push(`${formatSeconds((elapsedSeconds / percent) * (100 - percent))} left`)
  }
  return parts.join('  ').slice(0, Math.max(1, columns - 1))
}
