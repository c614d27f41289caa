/**
 * The node's programs as processes: started detached with a log of their own, found again and stopped by pid files. A
 * pid file holds the pid and the moment of its start, so that a number used again by a stranger is never mistaken.
 */
import { spawn } from 'node:child_process'
import { mkdir, open, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { namespace, pidDir } from './layout.ts'

export interface Program {
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  readonly logDir: string
  readonly cwd?: string
  readonly env?: Readonly<Record<string, string>>
  /** Where its sockets are: the cluster's network namespace unless told. */
  readonly network?: 'cluster' | 'host'
}

interface PidFile {
  readonly pid: number
  /** Clock ticks between boot and start, as in proc(5) `starttime`. */
  readonly startTicks: string
}

/** Starts the program unless it runs already. */
export async function startProgram(program: Program): Promise<void> {
  if (await isRunning(program.name)) return
  await mkdir(pidDir, { recursive: true })
  await mkdir(program.logDir, { recursive: true })
  // nsenter, not `ip netns exec`: that remounts /sys and hides the cgroup mounts from the kubelet.
  const [command, args] =
    program.network === 'host'
      ? [program.command, [...program.args]]
      : ['nsenter', [`--net=/run/netns/${namespace}`, program.command, ...program.args]]
  const log = await open(join(program.logDir, `${program.name}.log`), 'a')
  try {
    const child = spawn(command, args, {
      cwd: program.cwd ?? '/',
      detached: true,
      stdio: ['ignore', log.fd, log.fd],
      env: { ...process.env, ...program.env },
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', (cause) => reject(new Error(`cannot start ${program.name}`, { cause })))
    })
    child.unref()
    const pid = child.pid ?? 0
    const startTicks = (await startTicksOf(pid)) ?? ''
    await writeFile(pidFile(program.name), JSON.stringify({ pid, startTicks } satisfies PidFile))
  } finally {
    await log.close()
  }
}

/** The pid of a program that runs now. */
export async function runningPid(name: string): Promise<number | undefined> {
  const text = await readFile(pidFile(name), 'utf8').catch(() => undefined)
  if (text === undefined) return undefined
  const { pid, startTicks } = JSON.parse(text) as PidFile
  return startTicks !== '' && (await startTicksOf(pid)) === startTicks ? pid : undefined
}

export async function isRunning(name: string): Promise<boolean> {
  return (await runningPid(name)) !== undefined
}

/** The names that have pid files, whether they run or not. */
export async function knownPrograms(): Promise<string[]> {
  const files = await readdir(pidDir).catch(() => [])
  return files.filter((file) => file.endsWith('.json')).map((file) => file.slice(0, -'.json'.length))
}

/** SIGTERM, a while of patience, SIGKILL; returns when the process is gone. */
export async function stopProgram(name: string, patienceMs = 10_000): Promise<void> {
  const pid = await runningPid(name)
  if (pid !== undefined) {
    signal(pid, 'SIGTERM')
    const deadlineMs = performance.now() + patienceMs
    let killed = false
    while (await isRunning(name)) {
      if (!killed && performance.now() > deadlineMs) {
        signal(pid, 'SIGKILL')
        killed = true
      }
      await sleep(50)
    }
  }
  await rm(pidFile(name), { force: true })
}

/** Sends a signal to a process that may be gone by now. */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function pidFile(name: string): string {
  return join(pidDir, `${name}.json`)
}

/** When the process began; undefined for one that is gone or only waits to be reaped. */
export async function startTicksOf(pid: number): Promise<string | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The name in brackets may hold spaces: fields are counted after the last bracket.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  return fields === undefined || fields[0] === 'Z' ? undefined : fields[19]
}
