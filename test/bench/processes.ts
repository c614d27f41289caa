/** What running processes cost: processor time and memory, as the kernel counts them. */
import { readFile } from 'node:fs/promises'
import { treeBytes } from './measure.ts'

/** Clock ticks a second of /proc (proc(5); the same on all Linux platforms that Node runs on). */
const ticksPerSecond = 100

/** Processor time of all threads so far, in user and kernel mode, in seconds. */
export async function processorSeconds(pid: number): Promise<number> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
}

/** Runs something; gives what it gave, and the peak memory (PSS) of these processes and their children meanwhile. */
export async function withPeak<T>(
  pids: readonly number[],
  action: () => Promise<T>,
): Promise<{ readonly result: T; readonly peakBytes: number }> {
  let peakBytes = 0
  const ended = new AbortController()
  const sampling = (async () => {
    while (!ended.signal.aborted) {
      const sizes = await Promise.all(pids.map(treeBytes))
      peakBytes = Math.max(
        peakBytes,
        sizes.reduce((sum, size) => sum + size, 0),
      )
      await new Promise((resolve) => setTimeout(resolve, 50))
    }
  })()
  try {
    return { result: await action(), peakBytes }
  } finally {
    ended.abort()
    await sampling
  }
}
