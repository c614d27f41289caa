/**
 * The table of clones: the host-assisted copy as its two pods do it, over mutual TLS, beside `qemu-img convert` from one
 * loop device to the other in one process and without a network, and beside `tar -S` piped through a TLS connection of
 * openssl. Whoever copies has to be durable in the end. Needs root for the loop devices.
 */
import { execFile, spawn } from 'node:child_process'
import { mkdir, mkdtemp, open, rm, symlink, writeFile } from 'node:fs/promises'
import { stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'
import { readFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { renderClonerEnv } from '../../src/api/cloner-env.ts'
import type { EnvVar } from '../../src/api/podenv.ts'
import { renderUploadEnv } from '../../src/api/upload-env.ts'
import { createAuthority, issueClientCertificate, issueServerCertificate } from '../../src/certs/authority.ts'
import { freePort, startServer } from '../fixtures/server-process.ts'
import type { ServerProcess } from '../fixtures/server-process.ts'
import { measure, median } from './measure.ts'
import type { Measurement } from './measure.ts'
import { withPeak } from './processes.ts'

const execute = promisify(execFile)
const clientName = 'bench/source-bench/target'
const hour = 3_600_000

export interface CloneRow {
  readonly name: string
  readonly mode: 'block' | 'filesystem'
  /** Wall time of ours over that of the other side, at most; nothing is expected beside tar, which verifies nothing. */
  readonly target?: number
}

export const cloneRows: readonly CloneRow[] = [
  { name: 'clone, device to device', mode: 'block', target: 1.3 },
  { name: 'clone, file to file', mode: 'filesystem' },
]

export interface CloneResult extends CloneRow {
  readonly ratio: number
  readonly ours: readonly Measurement[]
  readonly theirs: readonly Measurement[]
}

export interface CloneBenchOptions {
  /** Has `disk.raw`. */
  readonly images: string
  /** A directory on the disk that is measured. */
  readonly work: string
  /** What `npm run build` made. */
  readonly dist: string
  readonly runs: number
  readonly wanted: (name: string) => boolean
}

/** Measures the rows that are wanted, turn by turn. Throws if a copy differs from its source. */
export async function benchClones(options: CloneBenchOptions): Promise<CloneResult[]> {
  const rows = cloneRows.filter(({ name }) => options.wanted(name))
  if (rows.length === 0) return []
  const work = await mkdtemp(join(options.work, 'clones-'))
  try {
    const bench = await CloneBench.prepare({ ...options, work })
    const results: CloneResult[] = []
    for (const row of rows) results.push(await bench.row(row))
    return results
  } finally {
    await rm(work, { recursive: true })
  }
}

/** The results as a table in Markdown; empty if there are none. */
export function cloneTable(results: readonly CloneResult[]): string {
  if (results.length === 0) return ''
  const seconds = (list: readonly Measurement[]): string => median(list.map((one) => one.seconds)).toFixed(2)
  const peak = (list: readonly Measurement[]): number =>
    Math.round(Math.max(...list.map(({ peakBytes }) => peakBytes)) / 1024 ** 2)
  const lines = results.map(({ name, ratio, target, ours, theirs }) => {
    const met = target === undefined ? '' : ratio <= target ? 'met' : 'MISSED'
    const most = target?.toFixed(2) ?? ''
    return `| ${name} | ${seconds(theirs)} | ${seconds(ours)} | ${ratio.toFixed(2)} | ${most} | ${met} | ${peak(ours)} |`
  })
  const head = '| host-assisted copy | qemu-img or tar, s | ours s | ratio | at most | | both pods, peak MiB |'
  return [head, '|---|---|---|---|---|---|---|', ...lines].join('\n')
}

class CloneBench {
  readonly #options: CloneBenchOptions

  private constructor(options: CloneBenchOptions) {
    this.#options = options
  }

  static async prepare(options: CloneBenchOptions): Promise<CloneBench> {
    const bench = new CloneBench(options)
    const now = Date.now()
    const authority = await createAuthority({ commonName: 'bench', lifetimeMs: hour, now })
    const server = await issueServerCertificate({ authority, hosts: ['127.0.0.1'], lifetimeMs: hour, now })
    const client = await issueClientCertificate({ authority, commonName: clientName, lifetimeMs: hour, now })
    const texts = {
      'ca.pem': authority.certPem,
      'server.crt': server.certPem,
      'server.key': server.keyPem,
      'client.crt': client.certPem,
      'client.key': client.keyPem,
    }
    for (const [name, text] of Object.entries(texts)) await writeFile(bench.#file(name), text)
    for (const name of ['source', 'target', 'journal']) await mkdir(bench.#file(name))
    for (const name of ['upload-server', 'cloner']) {
      // Stripped here, so that the stripper is no part of what is measured.
      const source = readFileSync(new URL(`children/${name}.ts`, import.meta.url), 'utf8')
      await writeFile(bench.#file(`${name}.mjs`), stripTypeScriptTypes(source))
    }
    return bench
  }

  async row(row: CloneRow): Promise<CloneResult> {
    await using things = new AsyncDisposableStack()
    const { runs } = this.#options
    const disk = join(this.#options.images, 'disk.raw')
    let from = this.#file('source', 'disk.img')
    let to = this.#file('target', 'disk.img')
    if (row.mode === 'block') {
      from = things.use(await loop(disk)).path
      await using file = await open(this.#file('device'), 'w')
      await file.truncate((await execute('stat', ['-c', '%s', disk]).then(({ stdout }) => Number(stdout))) || 0)
      to = things.use(await loop(this.#file('device'))).path
      await symlink(to, this.#file('block'))
    } else {
      await execute('cp', ['--sparse=always', disk, from])
    }
    const ours: Measurement[] = []
    const theirs: Measurement[] = []
    for (let run = 0; run < runs; run += 1) {
      process.stderr.write(`bench: ${row.name}, run ${run + 1} of ${runs}\n`)
      await this.#empty(row, to)
      theirs.push(await measure(row.mode === 'block' ? qemu(from, to) : this.#tarPipe(await freePort())))
      if (run === 0) await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', disk, to])
      await this.#empty(row, to)
      ours.push(await this.#ours(row, from))
      if (run === 0) await execute('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', disk, to])
    }
    const ratio = median(ours.map(({ seconds }) => seconds)) / median(theirs.map(({ seconds }) => seconds))
    return { ...row, ratio, ours, theirs }
  }

  #file(...names: string[]): string {
    return join(this.#options.work, ...names)
  }

  async #empty({ mode }: CloneRow, to: string): Promise<void> {
    if (mode === 'block') await execute('blkdiscard', ['--force', to])
    else await rm(to, { force: true })
    await rm(this.#file('journal', 'upload.json'), { force: true })
    await execute('sync')
  }

  /** From the start of the cloner, while the server listens, to the end of both. */
  async #ours({ mode }: CloneRow, from: string): Promise<Measurement> {
    const port = await freePort()
    await using server = await this.#startServer(mode, port)
    const started = performance.now()
    const cloner = await this.#startCloner(mode, from, port)
    const { result, peakBytes } = await withPeak([server.pid, cloner.pid], async () => {
      const codes = await Promise.all([cloner.ended, server.ended])
      if (codes.some((code) => code !== 0)) throw new Error(`cloner and upload server ended with ${codes.join(', ')}`)
      return (performance.now() - started) / 1000
    })
    return { seconds: result, peakBytes }
  }

  #startServer(mode: CloneRow['mode'], port: number): Promise<ServerProcess> {
    const places = {
      paths: {
        dataDirectory: this.#file('target'),
        blockDevice: this.#file(mode === 'block' ? 'block' : 'no-device'),
        scratchDirectory: this.#file('no-scratch'),
        journalDirectory: this.#file('journal'),
        terminationLog: this.#file('target-words'),
      },
      port,
      host: '127.0.0.1',
    }
    const env = renderUploadEnv({
      tlsKeyFile: this.#file('server.key'),
      tlsCertFile: this.#file('server.crt'),
      clientCaFile: this.#file('ca.pem'),
      filesystemOverhead: '0',
      imageSize: '4Gi',
      clientName,
      preallocation: false,
      tlsCiphers: '',
      tlsMinVersion: '',
      deadline: '',
      contentType: 'kubevirt',
      checksum: '',
      resumption: '',
      isCloneTarget: true,
    })
    return startServer({
      command: process.execPath,
      args: [this.#file('upload-server.mjs')],
      port,
      env: { ...valuesOf(env), BENCH_PLACES: JSON.stringify(places), BENCH_DIST: this.#options.dist },
    })
  }

  async #startCloner(
    mode: CloneRow['mode'],
    from: string,
    port: number,
  ): Promise<Pick<ServerProcess, 'pid' | 'ended'>> {
    const places = { terminationLog: this.#file('cloner-words'), metricsPort: await freePort() }
    const env = renderClonerEnv({
      volumeMode: mode,
      source: mode === 'block' ? from : this.#file('source'),
      contentType: 'kubevirt',
      uploadUrl: `https://127.0.0.1:${port}`,
      tlsKeyFile: this.#file('client.key'),
      tlsCertFile: this.#file('client.crt'),
      serverCaFile: this.#file('ca.pem'),
      preallocation: false,
      ownerUid: 'bench',
    })
    const child = spawn(process.execPath, [this.#file('cloner.mjs')], {
      stdio: 'ignore',
      env: {
        ...process.env,
        ...valuesOf(env),
        BENCH_PLACES: JSON.stringify(places),
        BENCH_DIST: this.#options.dist,
      },
    })
    const ended = new Promise<number | null>((resolve, reject) => {
      child.once('error', reject)
      child.once('close', resolve)
    })
    return { pid: child.pid as number, ended }
  }

  /** A fifo that is held open keeps the server from taking the end of its own input for the end of everything. */
  #tarPipe(port: number): string {
    const file = (name: string): string => this.#file(name)
    return `
      rm -f ${file('fifo')}; mkfifo ${file('fifo')}; exec 3<>${file('fifo')}
      openssl s_server -quiet -naccept 1 -accept 127.0.0.1:${port} -cert ${file('server.crt')} -key ${file('server.key')} \
        -Verify 1 -verify_return_error -CAfile ${file('ca.pem')} <&3 2>/dev/null | tar -xS -C ${file('target')} & server=$!
      sleep 0.1
      tar -cS -C ${file('source')} disk.img | openssl s_client -nocommands -no_ign_eof -brief -verify_return_error \
        -CAfile ${file('ca.pem')} -cert ${file('client.crt')} -key ${file('client.key')} -connect 127.0.0.1:${port} 2>/dev/null
      wait $server && sync -f ${file('target')}`
  }
}

function qemu(from: string, to: string): string {
  return `qemu-img convert -n -f raw -O raw ${from} ${to} && sync ${to}`
}

async function loop(file: string): Promise<{ path: string } & AsyncDisposable> {
  const { stdout } = await execute('losetup', ['--find', '--show', file])
  const path = stdout.trim()
  return {
    path,
    async [Symbol.asyncDispose]() {
      await execute('losetup', ['--detach', path])
    },
  }
}

function valuesOf(env: readonly EnvVar[]): Record<string, string> {
  return Object.fromEntries(env.flatMap(({ name, value }) => (value === undefined ? [] : [[name, value] as const])))
}
