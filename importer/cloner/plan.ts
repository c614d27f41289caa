/** Divides what is missing at the target into windows, which streams take one after the other. Pure. */
import type { Extent } from '../target/coverage.ts'
import { readUnitBytes } from './disk.ts'

/** A stretch of the disk for one stream. */
export interface Window extends Extent {
  /** What may hold something else than zeros: in order, not touching, in the window. */
  readonly data: readonly Extent[]
}

export interface PlanWindows {
  /** Of the disk in bytes. */
  readonly sizeBytes: number
  /** Not at the target yet; in order, not overlapping. */
  readonly missing: readonly Extent[]
  /** In order, not overlapping. */
  readonly data: readonly Extent[]
  /** The most data of a window: whole read units. */
  readonly windowBytes: number
}

/**
 * In order, not overlapping; together they cover what is missing and nothing else, but for the rest of read units that is
 * sent again. What is not data in them is zeros.
 */
export function planWindows({ sizeBytes, missing, data, windowBytes }: PlanWindows): Window[] {
  const windows: Window[] = []
  const units = outward(data, sizeBytes)
  let index = 0
  for (const stretch of outward(missing, sizeBytes)) {
    let start = stretch.start
    let held: Extent[] = []
    let heldBytes = 0
    while (index < units.length && (units[index] as Extent).end <= stretch.start) index += 1
    for (; index < units.length; index += 1) {
      const unit = units[index] as Extent
      if (unit.start >= stretch.end) break
      const end = Math.min(unit.end, stretch.end)
      for (let at = Math.max(unit.start, stretch.start); at < end;) {
        const to = Math.min(end, at + windowBytes - heldBytes)
        held.push({ start: at, end: to })
        heldBytes += to - at
        at = to
        if (heldBytes < windowBytes) continue
        windows.push({ start, end: to, data: held })
        start = to
        held = []
        heldBytes = 0
      }
      // The next stretch may lie in the same one.
      if (unit.end > stretch.end) break
    }
    const last = windows.at(-1)
    if (start === stretch.end) continue
    // Zeros that are left over go with the window before.
    if (heldBytes === 0 && last?.end === start) windows[windows.length - 1] = { ...last, end: stretch.end }
    else windows.push({ start, end: stretch.end, data: held })
  }
  return windows
}

/** What of a disk is not in `there` (in order, not overlapping). */
export function missingOf(there: readonly Extent[], sizeBytes: number): Extent[] {
  const missing: Extent[] = []
  let at = 0
  for (const { start, end } of there) {
    if (start > at) missing.push({ start: at, end: Math.min(start, sizeBytes) })
    at = Math.max(at, end)
  }
  if (at < sizeBytes) missing.push({ start: at, end: sizeBytes })
  return missing
}

/** To whole read units, joined where they meet. */
function outward(extents: readonly Extent[], sizeBytes: number): Extent[] {
  const list: Extent[] = []
  for (const extent of extents) {
    const start = Math.floor(extent.start / readUnitBytes) * readUnitBytes
    const end = Math.min(sizeBytes, Math.ceil(extent.end / readUnitBytes) * readUnitBytes)
    if (start >= end) continue
    const last = list.at(-1)
    if (last !== undefined && last.end >= start)
      list[list.length - 1] = { start: last.start, end: Math.max(last.end, end) }
    else list.push({ start, end })
  }
  return list
}
