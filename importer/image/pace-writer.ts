/**
 * Watches how much another process has written, so that a target can flush before too many bytes are dirty. Linux counts
 * for every process what it handed to write calls (`wchar` of /proc/PID/io); holes and zeroed ranges are not in it.
 */
import { readFile } from 'node:fs/promises'

export interface WriterPace {
  /**
   * Tells the target what was written since the last call and waits until it is content. Calls while one is under way
   * join it. `atLeast`: bytes to assume when the system does not tell.
   */
  settle(atLeast?: number): Promise<void>
}

const minIntervalMs = 50

/** Paces the process `pid()`; before it is known nothing has been written. */
export function paceWriter({
  pid,
  written,
}: {
  readonly pid: () => number | undefined
  readonly written: (bytes: number) => Promise<void>
}): WriterPace {
  let seenBytes = 0
  let seenPid: number | undefined
  let lastMs = 0
  let assumedBytes = 0
  let settling: Promise<void> | undefined
  const settle = async (): Promise<void> => {
    const id = pid()
    if (id === undefined) return
    if (id !== seenPid) {
      seenPid = id
      seenBytes = 0
    }
    const total = await writtenBy(id)
    const fresh = total === undefined ? assumedBytes : total - seenBytes
    assumedBytes = 0
    if (total !== undefined) seenBytes = total
    if (fresh > 0) await written(fresh)
  }
  return {
    settle(atLeast = 0) {
      assumedBytes += atLeast
      if (settling) return settling
      const now = performance.now()
      if (now - lastMs < minIntervalMs) return Promise.resolve()
      lastMs = now
      settling = settle().finally(() => {
        settling = undefined
      })
      return settling
    },
  }
}

/** Bytes that a process has handed to write calls; undefined if it is gone or the system does not tell. */
async function writtenBy(pid: number): Promise<number | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/io`, 'latin1')
    const found = /^wchar: (\d+)$/m.exec(text)
    return found ? Number(found[1]) : undefined
  } catch {
    return undefined
  }
}
