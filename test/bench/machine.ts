/** The facts of the machine that a table of measurements is worth nothing without. */
import { execFile } from 'node:child_process'
import { cpus, release, totalmem } from 'node:os'
import { promisify } from 'node:util'

const run = promisify(execFile)

export async function machineFacts(): Promise<Readonly<Record<string, string>>> {
  const firstLine = async (file: string, args: string[]): Promise<string> => {
    const { stdout } = await run(file, args).catch(() => ({ stdout: 'not there' }))
    return stdout.split('\n')[0] ?? ''
  }
  return {
    processor: `${cpus().length} × ${cpus()[0]?.model ?? 'unknown'}`,
    memory: `${Math.round(totalmem() / 1024 ** 3)} GiB`,
    kernel: release(),
    node: process.version,
    'qemu-img': await firstLine('qemu-img', ['--version']),
    nbdkit: await firstLine('nbdkit', ['--version']),
    curl: await firstLine('curl', ['--version']),
    nginx: (await run('nginx', ['-v']).catch(() => ({ stderr: 'not there' }))).stderr.trim(),
    date: new Date().toISOString().slice(0, 10),
  }
}
