/** Runs one command as a whole process tree and measures it: wall time and peak memory of all processes together. */
import { spawn } from 'node:child_process'
import { readdir, readFile } from 'node:fs/promises'

export interface Measurement {
  readonly seconds: number
  /**
   * Largest sum of the proportional set sizes (PSS: shared pages counted once) of the command and everything below it,
   * in bytes, sampled every 50 ms. 0 if the command was gone before the first sample.
   */
  readonly peakBytes: number
}

const sampleMs = 50

/** Runs a shell command line; throws with its output if it fails. */
export async function measure(command: string): Promise<Measurement> {
  const started = performance.now()
  const child = spawn('bash', ['-o', 'pipefail', '-c', command], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000)
    })
  }
  const exit = new Promise<number | null>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  let peakBytes = 0
  const ended = new AbortController()
  const sampling = (async () => {
    while (!ended.signal.aborted) {
      await new Promise((resolve) => setTimeout(resolve, sampleMs))
      if (!ended.signal.aborted && child.pid) peakBytes = Math.max(peakBytes, await treeBytes(child.pid))
    }
  })()
  const code = await exit
  const seconds = (performance.now() - started) / 1000
  ended.abort()
  await sampling
  if (code !== 0) throw new Error(`exit ${code}: ${command}\n${output}`)
  return { seconds, peakBytes }
}

/** PSS of a process and all its descendants, in bytes; processes that end meanwhile count 0. */
export async function treeBytes(root: number): Promise<number> {
  const parents = new Map<number, number>()
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry)
    if (!Number.isInteger(pid)) continue
    const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
    if (Number.isInteger(parent)) parents.set(pid, parent)
  }
  const tree = [...parents.keys()].filter((pid) => isBelow(pid, root, parents))
  const sizes = await Promise.all(tree.map(pssBytes))
  return sizes.reduce((sum, bytes) => sum + bytes, 0)
}

function isBelow(pid: number, root: number, parents: ReadonlyMap<number, number>): boolean {
  let at: number | undefined = pid
  for (let depth = 0; at !== undefined && depth < 64; depth += 1) {
    if (at === root) return true
    at = parents.get(at)
  }
  return false
}

async function pssBytes(pid: number): Promise<number> {
  const rollup = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => '')
  return Number(/^Pss:\s+(\d+) kB/m.exec(rollup)?.[1] ?? 0) * 1024
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2
}
