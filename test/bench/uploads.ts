/**
 * The table of uploads: curl to our proxy and server, and to our server alone, beside curl to nginx that stores the file
 * as it is. Ours decodes, converts, verifies and syncs in the same time. And what passing on costs: bytes for a second of
 * processor time of our proxy, beside nginx with TLS on both sides.
 */
import { execFile } from 'node:child_process'
import { mkdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { measure, median } from './measure.ts'
import { processorSeconds, withPeak } from './processes.ts'
import { UploadParties } from './upload-parties.ts'
import type { Party } from './upload-parties.ts'
import { uploadRows } from './rows.ts'
import type { UploadRow } from './rows.ts'

const execute = promisify(execFile)

export interface UploadMeasurement {
  readonly seconds: number
  /** Of everybody but curl, in bytes. */
  readonly peakBytes: number
}

export interface UploadResult {
  readonly name: string
  readonly ratio: number
  readonly ours: readonly UploadMeasurement[]
  readonly theirs: readonly UploadMeasurement[]
}

export interface PassingResult {
  readonly bytes: number
  /** Megabytes passed on for one second of processor time, of each run. */
  readonly ours: readonly number[]
  readonly nginx: readonly number[]
  /** Ours over nginx. */
  readonly ratio: number
  readonly peakBytes: number
}

export interface UploadBenchOptions {
  readonly images: string
  readonly work: string
  readonly dist: string
  readonly runs: number
  readonly wanted: (name: string) => boolean
}

export const passingName = 'upload proxy'

export class UploadBench {
  readonly #options: UploadBenchOptions
  readonly #parties: UploadParties

  static async prepare(options: UploadBenchOptions): Promise<UploadBench> {
    const work = join(options.work, 'uploads')
    await mkdir(work)
    return new UploadBench(options, await UploadParties.prepare({ work, dist: options.dist }))
  }

  private constructor(options: UploadBenchOptions, parties: UploadParties) {
    this.#options = options
    this.#parties = parties
  }

  async rows(): Promise<UploadResult[]> {
    const results: UploadResult[] = []
    for (const row of uploadRows.filter(({ name }) => this.#options.wanted(name))) results.push(await this.#row(row))
    return results
  }

  async #row(row: UploadRow): Promise<UploadResult> {
    const ours: UploadMeasurement[] = []
    const theirs: UploadMeasurement[] = []
    for (let run = 0; run < this.#options.runs; run += 1) {
      process.stderr.write(`bench: ${row.name}, run ${run + 1} of ${this.#options.runs}\n`)
      theirs.push(await this.#stored(row))
      ours.push(await this.#uploaded(row, run === 0))
    }
    const ratio = median(ours.map(({ seconds }) => seconds)) / median(theirs.map(({ seconds }) => seconds))
    return { name: row.name, ratio, ours, theirs }
  }

  async #stored({ file }: UploadRow): Promise<UploadMeasurement> {
    await using store = await this.#parties.startStore()
    await execute('sync')
    // Awaited here: the server lasts as long as this block.
    return await this.#put(file, `${store.origin}/stored`, [store])
  }

  async #uploaded({ file, through }: UploadRow, compare: boolean): Promise<UploadMeasurement> {
    await using things = new AsyncDisposableStack()
    const server = things.use(await this.#parties.startUploadServer())
    const proxy = through === 'proxy' ? things.use(await this.#parties.startProxy()) : undefined
    await execute('sync')
    const url = `${(proxy ?? server).origin}/v1beta1/upload`
    const measurement = await this.#put(file, url, proxy ? [proxy, server] : [server])
    const code = await server.ended
    if (code !== 0) throw new Error(`the upload server ended with ${code}`)
    if (compare) await execute('cmp', [this.#parties.disk, join(this.#options.images, 'disk.raw')])
    await rm(this.#parties.disk)
    return measurement
  }

  /** curl's own time, from its start to the end of the answer, and the peak of the others. */
  async #put(file: string, url: string, parties: readonly Party[]): Promise<UploadMeasurement> {
    const authorization = await this.#parties.authorization()
    const path = join(this.#options.images, file)
    const command = `curl -sSf ${this.#parties.curlOptions} -H '${authorization}' -o /dev/null -T ${path} ${url}`
    const { result, peakBytes } = await withPeak(
      parties.map(({ pid }) => pid),
      () => measure(command),
    )
    return { seconds: result.seconds, peakBytes }
  }

  /** What passing a raw disk on costs. */
  async passing(): Promise<PassingResult | undefined> {
    if (!this.#options.wanted(passingName)) return undefined
    await using _sink = await this.#parties.startSink()
    await using nginx = await this.#parties.startPassThrough()
    await using proxy = await this.#parties.startProxy()
    const file = 'disk.raw'
    const { size } = await stat(join(this.#options.images, file))
    const costs = { ours: [] as number[], nginx: [] as number[] }
    let peak = 0
    for (let run = 0; run < this.#options.runs; run += 1) {
      process.stderr.write(`bench: ${passingName}, run ${run + 1} of ${this.#options.runs}\n`)
      for (const [party, list] of [[nginx, costs.nginx] as const, [proxy, costs.ours] as const]) {
        const before = await processorSeconds(party.pid)
        const { peakBytes } = await this.#put(file, `${party.origin}/v1beta1/upload`, [party])
        const used = (await processorSeconds(party.pid)) - before
        list.push(size / 1e6 / used)
        if (party === proxy) peak = Math.max(peak, peakBytes)
      }
    }
    return { bytes: size, ...costs, ratio: median(costs.ours) / median(costs.nginx), peakBytes: peak }
  }
}
