/**
 * `npm run bench [-- ROW …] [--runs N] [--json FILE]`: ours beside the pipes that people would use otherwise, in one run,
 * turn by turn. Prints a table and, with --json, writes everything measured. Fails if a result differs from the source.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs, promisify } from 'node:util'
import { benchClones, cloneTable } from './clones.ts'
import { machineFacts } from './machine.ts'
import { measure, median } from './measure.ts'
import type { Measurement } from './measure.ts'
import { memoryLimitBytes, passingTarget, rows, slowLink, slowRows } from './rows.ts'
import type { Row } from './rows.ts'
import { Servers } from './servers.ts'
import { carriedSeconds, slowed } from './slow-link.ts'
import { UploadBench } from './uploads.ts'
import type { PassingResult, UploadMeasurement, UploadResult } from './uploads.ts'

const execute = promisify(execFile)
const { values, positionals } = parseArgs({
  options: {
    runs: { type: 'string', default: '3' },
    json: { type: 'string' },
    images: { type: 'string' },
    cdi: { type: 'string' },
    dist: { type: 'string' },
  },
  allowPositionals: true,
})
const images = values.images ?? fail('--images DIR is missing: use npm run bench')
const cdi = values.cdi ?? fail('--cdi COMMAND is missing: use npm run bench')
const dist = values.dist ?? fail('--dist DIR is missing: use npm run bench')
const runs = Number(values.runs)
const wanted = (name: string): boolean => positionals.length === 0 || positionals.some((word) => name.includes(word))

interface RowResult {
  readonly name: string
  readonly ratio: number
  readonly target: number
  readonly ours: readonly Measurement[]
  readonly theirs: readonly Measurement[]
}

const work = await mkdtemp(join(images, '..', 'bench-run-'))
try {
  await using servers = new Servers(images)
  const results: RowResult[] = []
  for (const row of rows.filter(({ name }) => wanted(name))) results.push(await benchRow(row, servers))
  const slow = await benchSlow(await servers.webPort())
  const uploadBench = await UploadBench.prepare({ images, work, dist, runs, wanted })
  const uploads = await uploadBench.rows()
  const passing = await uploadBench.passing()
  const clones = await benchClones({ images, work, dist, runs, wanted })
  const machine = await machineFacts()
  print(results, slow, machine)
  printUploads(uploads, passing)
  if (clones.length > 0) console.log(cloneTable(clones))
  if (values.json) {
    await writeFile(
      values.json,
      JSON.stringify({ machine, runs, rows: results, slow, uploads, passing, clones }, undefined, 2),
    )
  }
} finally {
  await rm(work, { recursive: true })
}

/** Ours and theirs in turn, after everything dirty was written back; the first result of each is compared with the disk. */
async function benchRow({ server = 'web', ...row }: Row, servers: Servers): Promise<RowResult> {
  const { url, source, options, environment } = await servers.offer(server, row.file)
  const settings = exported(environment)
  const pipeSettings = exported({ ...environment, URL: url, OUT: `${work}/out`, TMP: `${work}/tmp` })
  const ours: Measurement[] = []
  const theirs: Measurement[] = []
  for (let run = 0; run < runs; run += 1) {
    process.stderr.write(`bench: ${row.name}, run ${run + 1} of ${runs}\n`)
    theirs.push(await once(`${pipeSettings} ${row.pipe}`, run === 0))
    ours.push(await once(`${settings} ${cdi} import ${source} ${work}/out --scratch ${work} ${options}`, run === 0))
  }
  const ratio = median(ours.map(({ seconds }) => seconds)) / median(theirs.map(({ seconds }) => seconds))
  return { name: row.name, ratio, target: row.target, ours, theirs }
}

/** Values are without blanks. */
function exported(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `export ${name}=${value};`)
    .join(' ')
}

async function once(command: string, compare: boolean): Promise<Measurement> {
  await rm(join(work, 'out'), { force: true })
  await execute('sync')
  const measurement = await measure(command)
  if (compare) await execute('cmp', [join(work, 'out'), join(images, 'disk.raw')])
  await rm(join(work, 'out'), { force: true })
  return measurement
}

interface SlowResult {
  readonly name: string
  /** Wall time over the time that the bytes which crossed the link take on four connections. */
  readonly ratio: number
  readonly seconds: number
  readonly linkBytes: number
  /** What as many plain downloads take for as many bytes over the same link. */
  readonly curlSeconds: number
}

async function benchSlow(port: number): Promise<SlowResult[]> {
  const results: SlowResult[] = []
  for (const row of slowRows.filter(({ name }) => wanted(`slow ${name}`))) {
    process.stderr.write(`bench: ${row.name} over a slow link\n`)
    await using link = await slowed({ port, ...slowLink })
    const origin = `http://127.0.0.1:${link.port}`
    const { connections } = slowLink
    const runsOfRow: Omit<SlowResult, 'name'>[] = []
    for (let run = 0; run < runs; run += 1) {
      const before = link.sentBytes()
      const { seconds } = await once(`${cdi} import ${origin}/${row.file} ${work}/out`, run === 0)
      const linkBytes = link.sentBytes() - before
      const curlSeconds = await carriedSeconds({ url: `${origin}/disk.raw`, bytes: linkBytes, connections })
      const ideal = linkBytes / (slowLink.connectionBytesPerSecond * connections)
      runsOfRow.push({ ratio: seconds / ideal, seconds, linkBytes, curlSeconds })
    }
    const middle = (key: keyof (typeof runsOfRow)[number]): number => median(runsOfRow.map((one) => one[key]))
    results.push({
      name: row.name,
      ratio: middle('ratio'),
      seconds: middle('seconds'),
      linkBytes: middle('linkBytes'),
      curlSeconds: middle('curlSeconds'),
    })
  }
  return results
}

function print(
  results: readonly RowResult[],
  slow: readonly SlowResult[],
  machine: Readonly<Record<string, string>>,
): void {
  const seconds = (list: readonly Measurement[]): string => median(list.map((one) => one.seconds)).toFixed(2)
  const peak = (list: readonly Measurement[]): string =>
    `${Math.round(Math.max(...list.map((one) => one.peakBytes)) / 1024 ** 2)}`
  console.log(
    '| source | pipe s | ours s | ratio | target | | ours peak MiB | pipe peak MiB |\n|---|---|---|---|---|---|---|---|',
  )
  for (const row of results) {
    const isSmall = row.ours.every(({ peakBytes }) => peakBytes <= memoryLimitBytes)
    const met = row.ratio > row.target ? 'MISSED' : isSmall ? 'met' : 'TOO MUCH MEMORY'
    console.log(
      `| ${row.name} | ${seconds(row.theirs)} | ${seconds(row.ours)} | ${row.ratio.toFixed(2)} | ${row.target.toFixed(2)} | ${met} | ${peak(row.ours)} | ${peak(row.theirs)} |`,
    )
  }
  if (slow.length > 0) {
    console.log(
      '\n| over a slow link | MiB moved | s | over ideal | at most | curl at once, s | over curl |\n|---|---|---|---|---|---|---|',
    )
    for (const row of slow) {
      console.log(
        `| ${row.name} | ${Math.round(row.linkBytes / 1024 ** 2)} | ${row.seconds.toFixed(2)} | ${row.ratio.toFixed(2)} | ${slowLink.tolerance} | ${row.curlSeconds.toFixed(2)} | ${(row.seconds / row.curlSeconds).toFixed(2)} |`,
      )
    }
  }
  console.log(
    `\n${Object.entries(machine)
      .map(([key, value]) => `${key}: ${value}`)
      .join('; ')}`,
  )
}

function printUploads(uploads: readonly UploadResult[], passing: PassingResult | undefined): void {
  const seconds = (list: readonly UploadMeasurement[]): string => median(list.map((one) => one.seconds)).toFixed(2)
  const peak = (list: readonly UploadMeasurement[]): number =>
    Math.round(Math.max(...list.map((one) => one.peakBytes)) / 1024 ** 2)
  if (uploads.length > 0) {
    console.log(
      '\n| upload by curl | stored by nginx, s | ours s | ratio | | ours peak MiB | nginx peak MiB |\n|---|---|---|---|---|---|---|',
    )
    for (const { name, ratio, ours, theirs } of uploads) {
      const isSmall = ours.every(({ peakBytes }) => peakBytes <= memoryLimitBytes)
      console.log(
        `| ${name} | ${seconds(theirs)} | ${seconds(ours)} | ${ratio.toFixed(2)} | ${isSmall ? '' : 'TOO MUCH MEMORY'} | ${peak(ours)} | ${peak(theirs)} |`,
      )
    }
  }
  if (passing) {
    console.log(
      '\n| passing on | nginx MB a processor second | ours | ratio | at least | | ours peak MiB |\n|---|---|---|---|---|---|---|',
    )
    const rate = (list: readonly number[]): string => median(list).toFixed(0)
    const met = passing.ratio >= passingTarget ? 'met' : 'MISSED'
    console.log(
      `| ${Math.round(passing.bytes / 1024 ** 2)} MiB, TLS on both sides | ${rate(passing.nginx)} | ${rate(passing.ours)} | ${passing.ratio.toFixed(2)} | ${passingTarget} | ${met} | ${Math.round(passing.peakBytes / 1024 ** 2)} |`,
    )
  }
}

function fail(message: string): never {
  console.error(message)
  process.exit(2)
}
