/**
 * qemu-img as a child process, on a short leash: the format and the protocol are always given and never probed, a backing
 * file is never opened, memory and CPU are limited by prlimit (util-linux; lowering limits needs no privilege), standard
 * error is kept within bounds for the message, and no proxy setting reaches it.
 */
import { execFile } from 'node:child_process'
import type { ExecFileException, ExecFileOptions } from 'node:child_process'
import { resolve } from 'node:path'
import { CdiError } from '../../src/errors.ts'
import type { DiskFormat } from '../formats/detect.ts'
import type { ImageFacts } from './facts.ts'

/** Where qemu-img finds the image. */
export type ImageLocation = { readonly socketPath: string } | { readonly filePath: string }

export interface ImageReference {
  readonly format: DiskFormat
  readonly location: ImageLocation
  /** VHD only: which of its two sizes counts, see {@link ImageFacts}. */
  readonly vhdSize?: ImageFacts['vhdSize']
}

export interface QemuInfo {
  readonly virtualSizeBytes: number
  readonly format: string
  readonly backingFile?: string
  readonly encrypted: boolean
}

/** qemu's names for the drivers. */
const driverNames: Readonly<Record<DiskFormat, string>> = {
  raw: 'raw',
  qcow2: 'qcow2',
  vmdk: 'vmdk',
  vdi: 'vdi',
  vhd: 'vpc',
  vhdx: 'vhdx',
}

const gibibyte = 2 ** 30
const infoLimits = { addressSpaceBytes: gibibyte, cpuSeconds: 30, timeoutMs: 30_000 }
const longestInfoBytes = 1024 * 1024
/** Threads and their stacks take address space, not memory; the limit is for tables that a header asks for. */
const convertAddressSpaceBytes = 3 * gibibyte
const maxStderrBytes = 64 * 1024
/** What of it goes into a message. */
const maxQuotedCharacters = 1000

/** Fixed language, few malloc arenas (many would waste memory), and none of the variables that libcurl would obey. */
const environment = {
  LC_ALL: 'C',
  MALLOC_ARENA_MAX: '2',
  ...Object.fromEntries(
    ['http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'].flatMap((name) => [
      [name, undefined],
      [name.toUpperCase(), undefined],
    ]),
  ),
}

/** The file name by which qemu opens exactly this and nothing else: drivers pinned, no backing file. */
export function qemuFilename({ format, location, vhdSize }: ImageReference): string {
  const file =
    'socketPath' in location
      ? { driver: 'nbd', server: { type: 'unix', path: location.socketPath }, export: '' }
      : { driver: 'file', filename: resolve(location.filePath) }
  return `json:${JSON.stringify({
    driver: driverNames[format],
    ...(format === 'qcow2' || format === 'vmdk' ? { backing: null } : {}),
    ...(format === 'vhd' && vhdSize ? { force_size_calc: vhdSize } : {}),
    file,
  })}`
}

/**
 * What qemu thinks of an image, within 30 s and 1 GiB. Throws CDI_FORMAT_INVALID with its words if it does not open it,
 * CDI_ABORTED when `signal` is aborted.
 */
export async function info(image: ImageReference, signal: AbortSignal): Promise<QemuInfo> {
  const args = [
    `--as=${infoLimits.addressSpaceBytes}`,
    `--cpu=${infoLimits.cpuSeconds}`,
    'qemu-img',
    'info',
    '--output=json',
    '-f',
    driverNames[image.format],
    qemuFilename(image),
  ]
  // Nothing has to be put in order when it is stopped.
  const { error, stdout, stderr } = await runShortly('prlimit', args, {
    signal,
    timeout: infoLimits.timeoutMs,
    killSignal: 'SIGKILL',
    env: { ...process.env, ...environment },
    maxBuffer: longestInfoBytes,
  })
  signal.throwIfAborted()
  if (error === null) return parseInfo(stdout)
  if (error.killed === true) {
    throw new CdiError('CDI_FORMAT_INVALID', `qemu-img info took longer than ${infoLimits.timeoutMs / 1000} s`)
  }
  if (error.code === 'ERR_CHILD_PROCESS_STDIO_MAXBUFFER') {
    throw new CdiError('CDI_FORMAT_INVALID', `qemu-img info said more than ${longestInfoBytes} bytes`)
  }
  if (typeof error.code === 'string') {
    throw new CdiError('CDI_INTERNAL', `qemu-img could not be started: ${error.code}`, { cause: error })
  }
  const ended = { exitCode: error.code ?? undefined, signal: error.signal ?? undefined }
  throw new CdiError('CDI_FORMAT_INVALID', `qemu-img execution failed: ${outcome(ended)}: ${quote(stderr)}`)
}

interface ShortRun {
  readonly error: ExecFileException | null
  readonly stdout: string
  readonly stderr: string
}

/** A program that says little and ends soon. Not by execa: loading that takes four times as long as the program runs. */
function runShortly(file: string, args: readonly string[], options: ExecFileOptions): Promise<ShortRun> {
  return new Promise((done) => {
    const child = execFile(file, args, { ...options, encoding: 'utf8' }, (error, stdout, stderr) =>
      done({ error, stdout, stderr }),
    )
    child.stdin?.end()
  })
}

function parseInfo(text: string): QemuInfo {
  let told: Readonly<Record<string, unknown>>
  try {
    told = JSON.parse(text) as Readonly<Record<string, unknown>>
  } catch (error) {
    throw new CdiError('CDI_INTERNAL', 'qemu-img info gave no JSON', { cause: error })
  }
  const virtualSizeBytes = told['virtual-size']
  const format = told['format']
  if (typeof virtualSizeBytes !== 'number' || typeof format !== 'string') {
    throw new CdiError('CDI_INTERNAL', 'qemu-img info did not tell the virtual size')
  }
  const backingFile = told['full-backing-filename'] ?? told['backing-filename']
  return {
    virtualSizeBytes,
    format,
    encrypted: told['encrypted'] === true,
    ...(typeof backingFile === 'string' ? { backingFile } : {}),
  }
}

export interface ConvertOptions {
  readonly from: ImageReference
  /** Absolute path of the raw file or the device. */
  readonly to: string
  /**
   * `to` exists and is large enough. `zeroed`: it reads as zero already, zeros are left out. `unknown`: every byte is
   * written, zeros too.
   */
  readonly targetState: 'zeroed' | 'unknown'
  /** Open the target with O_DIRECT, if it can. */
  readonly directIo?: boolean
  readonly onProgress?: (percent: number) => void
  /** Told the process id, to watch what it writes. */
  readonly onStart?: (pid: number) => void
  readonly signal: AbortSignal
}

/**
 * Converts an image to raw. Throws CDI_CONVERT_FAILED with qemu's words, CDI_TARGET_FULL or CDI_TARGET_IO when it could
 * not write, and the reason of `signal`.
 */
export async function convert(options: ConvertOptions): Promise<void> {
  const child = await runConvert(options)
  if (child.failed) throw conversionError(child)
}

interface Outcome {
  readonly failed: boolean
  readonly exitCode?: number
  readonly signal?: string
  readonly stderr: string
}

async function runConvert({
  from,
  to,
  targetState,
  directIo = false,
  onProgress,
  onStart,
  signal,
}: ConvertOptions): Promise<Outcome> {
  signal.throwIfAborted()
  // Loaded only here, since it takes 60 ms.
  const { execa } = await import('execa')
  // prettier-ignore
  const child = execa('prlimit', [
    `--as=${convertAddressSpaceBytes}`,
    'qemu-img', 'convert', '-p', '-W', '-m', '8',
    '-f', driverNames[from.format], '-O', 'raw',
    '-t', directIo ? 'none' : 'writeback',
    '-n', ...(targetState === 'zeroed' ? ['--target-is-zero'] : ['-S', '0']),
    qemuFilename(from), resolve(to),
  ], {
    cancelSignal: signal,
    forceKillAfterDelay: 2000,
    env: environment,
    stdin: 'ignore',
    stdout: 'pipe',
    buffer: false,
    reject: false,
  })
  if (child.pid !== undefined) onStart?.(child.pid)
  child.stdout.setEncoding('latin1').on('data', (text: string) => {
    const percent = lastPercent(text)
    if (percent !== undefined) onProgress?.(percent)
  })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    // The first words name the cause; what follows repeats it.
    if (stderr.length < maxStderrBytes) stderr += text.slice(0, maxStderrBytes - stderr.length)
  })
  const result = await child
  signal.throwIfAborted()
  if (result.failed && result.exitCode === undefined && result.signal === undefined) {
    throw new CdiError('CDI_INTERNAL', `qemu-img could not be started: ${result.shortMessage}`, { cause: result.cause })
  }
  return {
    failed: result.failed,
    stderr,
    ...(result.exitCode === undefined ? {} : { exitCode: result.exitCode }),
    ...(result.signal === undefined ? {} : { signal: result.signal }),
  }
}

/** The last `(12.34/100%)` in a piece of qemu's progress line. */
export function lastPercent(text: string): number | undefined {
  const last = [...text.matchAll(/\((\d{1,3}\.\d+)\/100%\)/g)].at(-1)
  return last && Number(last[1])
}

/** qemu tells apart by its words only which side failed. */
function conversionError(child: Outcome): CdiError {
  const words = quote(child.stderr)
  if (child.stderr.includes('No space left on device')) {
    return new CdiError('CDI_TARGET_FULL', `unable to write to file: no space left on device (${words})`)
  }
  if (child.stderr.includes('Disk quota exceeded')) {
    return new CdiError('CDI_TARGET_FULL', `unable to write to file: disk quota exceeded (${words})`)
  }
  if (/error while writing|Could not (?:open|create) '[^']*' for writing/.test(child.stderr)) {
    return new CdiError('CDI_TARGET_IO', `unable to write to file: ${words}`)
  }
  return new CdiError(
    'CDI_CONVERT_FAILED',
    `qemu-img execution failed: ${outcome(child)}: could not convert image to raw: ${words}`,
    { details: { exitCode: child.exitCode, signal: child.signal } },
  )
}

function outcome({ exitCode, signal }: { exitCode?: number | undefined; signal?: string | undefined }): string {
  return exitCode === undefined ? `killed by ${signal ?? 'an unknown signal'}` : `exit status ${exitCode}`
}

/** Standard error on one line, without the machine's paths of the socket, and not longer than a message should be. */
function quote(stderr: string): string {
  const line = stderr
    .replaceAll(/'?json:\{[^\n]*?\}'?(?=[:\s]|$)/g, 'the image')
    .split('\n')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .join(' ')
  return line.length > maxQuotedCharacters ? `${line.slice(0, maxQuotedCharacters)}…` : line || 'no message'
}
