/** The real `cdi` as a child process, as a user or a script starts it. */
import { spawn } from 'node:child_process'
import type { ChildProcess, SpawnOptions } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import type { Readable } from 'node:stream'
import { setTimeout as delay } from 'node:timers/promises'

const executable = resolve(import.meta.dirname, '../../../../src/bin/cdi.ts')

export interface CdiOptions {
  /** More variables; those of a proxy never come from the machine that runs the test. */
  readonly env?: Readonly<Record<string, string>>
  /** Standard input; empty unless told. An open file descriptor or a stream. */
  readonly input?: number | Readable
  /** Another program than `cdi`, run by the same node: its path. */
  readonly program?: string
}

export interface CdiResult {
  /** As a shell tells it: 128 + number for a signal. */
  readonly exitCode: number
  readonly stdout: string
  readonly stderr: string
  /** Most memory that the process and its children had together, in bytes, as far as a look every 25 ms sees it. */
  readonly peakBytes: number
}

export interface RunningCdi {
  readonly pid: number
  readonly finished: Promise<CdiResult>
  kill(signal: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void
  /** What it has said so far. */
  output(): { readonly stdout: string; readonly stderr: string }
}

/** Starts `cdi ARGS`. */
export function startCdi(args: readonly string[], options: CdiOptions = {}): RunningCdi {
  const { env = {}, input, program = executable } = options
  const spawnOptions: SpawnOptions = {
    env: { ...cleanEnvironment(), ...env },
    stdio: [input === undefined ? 'ignore' : typeof input === 'number' ? input : 'pipe', 'pipe', 'pipe'],
  }
  const child = spawn(process.execPath, [program, ...args], spawnOptions)
  if (typeof input === 'object' && child.stdin !== null) {
    // A reader that has seen enough hangs up; that is its business.
    child.stdin.on('error', () => {})
    input.pipe(child.stdin)
  }
  const said = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (said.stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (said.stderr += text))
  return {
    pid: child.pid as number,
    finished: finishedOf(child, said),
    kill: (signal) => void child.kill(signal),
    output: () => ({ ...said }),
  }
}

/** Runs `cdi ARGS` to its end, whatever that is. */
export function cdi(args: readonly string[], options: CdiOptions = {}): Promise<CdiResult> {
  return startCdi(args, options).finished
}

/** One of the objects that `--json` prints. */
export interface CdiEvent {
  readonly event: 'progress' | 'done' | 'failed'
  readonly phase?: string
  readonly percent?: number
  readonly doneBytes?: number
  readonly totalBytes?: number
  readonly route?: string
  readonly format?: string
  readonly diskSizeBytes?: number
  readonly preallocationApplied?: boolean
  readonly code?: string
  readonly kind?: string
  readonly message?: string
  readonly remedy?: string
}

/** What `--json` has printed. */
export function eventsOf({ stdout }: Pick<CdiResult, 'stdout'>): CdiEvent[] {
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as CdiEvent)
}

/** The last event: how it ended. */
export function outcomeOf(result: Pick<CdiResult, 'stdout' | 'stderr'>): CdiEvent {
  const last = eventsOf(result).at(-1)
  if (last === undefined) throw new Error(`no event was printed; standard error: ${result.stderr}`)
  return last
}

/** Process ids of the children of `pid`, and of theirs. */
export async function descendantsOf(pid: number): Promise<number[]> {
  let text = ''
  try {
    text = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8')
  } catch {
    // It has ended.
  }
  const children = text.split(' ').filter(Boolean).map(Number)
  return [...children, ...(await Promise.all(children.map(descendantsOf))).flat()]
}

/** Waits until `condition` holds; rejects if `running` ends before. */
export async function until(condition: () => boolean | Promise<boolean>, running: RunningCdi): Promise<void> {
  let ended: CdiResult | undefined
  void running.finished.then((result) => (ended = result))
  while (!(await condition())) {
    if (ended !== undefined) throw new Error(`ended too early: ${JSON.stringify(ended)}`)
    await delay(20)
  }
}

async function finishedOf(child: ChildProcess, said: { stdout: string; stderr: string }): Promise<CdiResult> {
  const ended = Promise.withResolvers<number>()
  child.once('error', ended.reject)
  child.once('close', (code, signal) => ended.resolve(code ?? 128 + (signal === 'SIGKILL' ? 9 : 15)))
  let peakBytes = 0
  const watch = setInterval(() => {
    void residentBytes(child.pid as number).then((bytes) => (peakBytes = Math.max(peakBytes, bytes)))
  }, 25)
  try {
    const exitCode = await ended.promise
    return { exitCode, ...said, peakBytes }
  } finally {
    clearInterval(watch)
  }
}

async function residentBytes(pid: number): Promise<number> {
  const sizes = await Promise.all([pid, ...(await descendantsOf(pid))].map(residentOf))
  return sizes.reduce((sum, size) => sum + size, 0)
}

async function residentOf(pid: number): Promise<number> {
  try {
    const [, kibibytes = '0'] = /^VmRSS:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
    return Number(kibibytes) * 1024
  } catch {
    return 0
  }
}

function cleanEnvironment(): NodeJS.ProcessEnv {
  const proxies = /^(https?|no|all)_proxy$/i
  return {
    ...Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !proxies.test(name) && name !== 'NODE_OPTIONS'),
    ),
    // Node's own place for it: the sources are stripped of types once, not a hundred times.
    NODE_COMPILE_CACHE: join(tmpdir(), 'node-compile-cache'),
    NODE_TEST_CONTEXT: undefined,
  }
}
