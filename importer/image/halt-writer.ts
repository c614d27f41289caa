/**
 * Keeps another process from writing faster than the storage takes it when it reads from a file, so that nothing of ours
 * stands in its way: it is halted (SIGSTOP) while the target flushes.
 */
import { paceWriter } from './pace-writer.ts'

export interface HaltWriter extends Disposable {
  /** Begins to watch this process. */
  readonly watch: (pid: number) => void
  /** What `written` was rejected with; the process is then killed. */
  readonly failure: unknown
}

/** How often it is looked, and how long a flush may take before the process is halted. */
const intervalMs = 100
const graceMs = 20

/** `written` is told the bytes and resolves when more may be written. */
export function haltWriter({ written }: { readonly written: (bytes: number) => Promise<void> }): HaltWriter {
  let pid: number | undefined
  let failure: unknown
  let busy = false
  const pace = paceWriter({ pid: () => pid, written })
  const look = async (): Promise<void> => {
    if (busy) return
    busy = true
    let halted = false
    const halting = setTimeout(() => {
      halted = send(pid, 'SIGSTOP')
    }, graceMs)
    try {
      await pace.settle()
    } catch (error) {
      failure ??= error
      send(pid, 'SIGKILL')
    } finally {
      clearTimeout(halting)
      if (halted) send(pid, 'SIGCONT')
      busy = false
    }
  }
  const timer = setInterval(() => void look(), intervalMs)
  return {
    watch(id) {
      pid = id
    },
    get failure() {
      return failure
    },
    [Symbol.dispose]() {
      clearInterval(timer)
      // Its process is over by now; the number may soon be another's.
      pid = undefined
    },
  }
}

/** False if the process is unknown or gone. */
function send(pid: number | undefined, signal: NodeJS.Signals): boolean {
  if (pid === undefined) return false
  try {
    return process.kill(pid, signal)
  } catch {
    return false
  }
}
