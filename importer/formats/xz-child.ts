/**
 * xz by the `xz` program: two to four times as fast as the library, since it decodes the blocks of a file in parallel.
 *
 * Its output ends normally even when the file is cut or damaged; only the exit code tells. So the end of its output means
 * nothing until it has exited with 0.
 */
import { availableParallelism } from 'node:os'
import { execa } from 'execa'
import { CdiError } from '../../src/errors.ts'
import type { Sink } from '../sources/source.ts'
import type { Decoder, Decoding } from './decoder.ts'
import { pumpOutput } from './output-pump.ts'

const mib = 1024 * 1024
/**
 * Memory that decoding threads may take together: xz starts as many as fit, two for the blocks of 24 MiB that
 * `xz -6 -T0` makes (128 MiB are then resident), one for larger ones. With the node process that leaves a worker inside
 * of 256 MiB.
 */
const threadsMemoryBytes = 144 * mib
/** Files that one thread cannot decode in this much are refused: dictionaries of up to 128 MiB pass, as for zstd. */
const memoryBytes = 136 * mib
/** The first version that decodes in parallel and knows the limits used here: 5.4.0 as `xz --robot --version` says it. */
const wantedVersion = 50_040_000
const killAfterMs = 2000
const stderrBytes = 4096

/** True if an `xz` program that can be used is on the path. Takes a few milliseconds. */
export async function findXzProgram(signal: AbortSignal): Promise<boolean> {
  const { stdout, failed } = await execa('xz', ['--robot', '--version'], {
    reject: false,
    cancelSignal: signal,
    maxBuffer: stderrBytes,
  })
  signal.throwIfAborted()
  const version = /^XZ_VERSION=(\d+)$/m.exec(stdout ?? '')?.[1]
  return !failed && version !== undefined && Number(version) >= wantedVersion
}

export interface XzChildOptions {
  /** The program; `xz` from the path unless told. */
  readonly file?: string
  /** Threads at most; what the machine or the container has unless told. */
  readonly threads?: number
}

/** The decoder that runs the `xz` program. */
export function xzChildDecoder({ file = 'xz', threads = availableParallelism() }: XzChildOptions = {}): Decoder {
  return {
    encoding: 'xz',
    name: 'xz program',
    start: (sink, signal) => new XzChild({ file, threads, sink, signal }),
  }
}

class XzChild implements Decoding {
  readonly #child
  readonly #stopped = new AbortController()
  readonly #signal: AbortSignal
  readonly #stop: () => void
  /** Resolves when the output was taken by the sink and the program has exited with 0. */
  readonly #finished: Promise<void>
  #fedBytes = 0
  /** Resolves with the first failure, so that nobody waits for a sink that never answers. */
  readonly #failed = Promise.withResolvers<void>()
  #failure: { readonly error: unknown } | undefined
  #exited = false

  constructor({ file, threads, sink, signal }: Required<XzChildOptions> & { sink: Sink; signal: AbortSignal }) {
    this.#signal = signal
    this.#child = execa(
      file,
      [
        '--decompress',
        '--stdout',
        '--format=xz',
        `--threads=${Math.max(1, threads)}`,
        `--memlimit-decompress=${memoryBytes}`,
        `--memlimit-mt-decompress=${threadsMemoryBytes}`,
      ],
      {
        // XZ_OPT and XZ_DEFAULTS of the user must not change what is decoded; messages are compared below.
        env: { LC_ALL: 'C', XZ_OPT: '', XZ_DEFAULTS: '' },
        stdin: 'pipe',
        stdout: 'pipe',
        stderr: 'pipe',
        buffer: { stdout: false, stderr: true },
        maxBuffer: stderrBytes,
        encoding: 'buffer',
        reject: false,
        cancelSignal: this.#stopped.signal,
        forceKillAfterDelay: killAfterMs,
      },
    )
    // A broken pipe only says that the program is gone; its exit says why.
    this.#child.stdin.on('error', () => {})
    this.#finished = Promise.race([this.#run(sink).catch((error: unknown) => this.#fail(error)), this.#failed.promise])
    this.#stop = () => this.#fail(signal.reason)
    signal.addEventListener('abort', this.#stop, { once: true })
    if (signal.aborted) this.#stop()
  }

  async write(chunk: Buffer): Promise<void> {
    this.#throwIfFailed()
    this.#fedBytes += chunk.length
    // The chunk is lent: it must be in the pipe before the next may come.
    const { promise: written, resolve } = Promise.withResolvers<void>()
    this.#child.stdin.write(chunk, () => resolve())
    await Promise.race([written, this.#finished])
    this.#throwIfFailed()
  }

  async end(): Promise<void> {
    this.#throwIfFailed()
    if (this.#fedBytes === 0) this.#fail(new CdiError('CDI_DECODE_TRUNCATED', 'the xz data is empty'))
    this.#child.stdin.end()
    await this.#finished
    this.#throwIfFailed()
    this.#release()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#release()
    await this.#child
  }

  async #run(sink: Sink): Promise<void> {
    const exit = this.#child.then((result) => {
      this.#exited = true
      return result
    })
    let broken: { readonly error: unknown } | undefined
    try {
      // Node makes memory of its own for each read from a pipe.
      await pumpOutput({ output: this.#child.stdout, sink, ownedFromBytes: 0 })
    } catch (error) {
      broken = { error }
      this.#release()
    }
    const { exitCode, stderr, cause, signal, isCanceled } = await exit
    // The output also breaks off when the program could not be started or died: then its exit is the reason.
    if (exitCode !== 0 && !isCanceled) {
      throw explainXzExit({ stderr: Buffer.from(stderr ?? []).toString(), exitCode, signal, cause })
    }
    if (broken) throw broken.error
  }

  #fail(error: unknown): void {
    this.#failure ??= { error }
    this.#failed.resolve()
    this.#release()
  }

  #throwIfFailed(): void {
    if (this.#failure) throw this.#failure.error
  }

  #release(): void {
    this.#signal.removeEventListener('abort', this.#stop)
    if (this.#exited) return
    this.#stopped.abort(new Error('the decoding was given up'))
    this.#child.stdout.destroy()
  }
}

interface XzExit {
  readonly stderr: string
  readonly exitCode: number | undefined
  readonly signal: string | undefined
  readonly cause: unknown
}

/** xz exits with 1 for everything; only its words (in the C locale) tell a cut file from a damaged one. */
function explainXzExit({ stderr, exitCode, signal, cause }: XzExit): CdiError {
  const said = stderr.trim().replace(/^xz: (\(stdin\): )?/, '')
  const details = { exitCode, signal, stderr: said }
  if (said.includes('Unexpected end of input')) {
    return new CdiError('CDI_DECODE_TRUNCATED', 'the xz data ends in the middle (unexpected EOF)', { details })
  }
  if (said.includes('Memory usage limit reached')) {
    return new CdiError('CDI_DECODE_WINDOW', `the xz data needs more than ${memoryBytes / mib} MiB to unpack`, {
      details,
    })
  }
  if (exitCode === 1) return new CdiError('CDI_DECODE_CORRUPT', `the xz data is damaged: ${said}`, { details })
  const why = signal === undefined ? said || 'it could not be run' : `it was ended by ${signal}`
  return new CdiError('CDI_INTERNAL', `the xz program failed: ${why}`, { details, cause })
}
