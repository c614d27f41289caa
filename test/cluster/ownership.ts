/**
 * One cluster on a machine at a time: the fixed run directory says whose it is, so that a second checkout (CI beside a
 * session, say) can take over and stop the first by its own pid files, even when that checkout's files are gone.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { runDir } from './layout.ts'
import { say } from './say.ts'
import { startTicksOf } from './processes.ts'

export interface Owner {
  readonly state: string
  readonly since: string
}

const ownerFile = join(runDir, 'owner.json')
const busyFile = join(runDir, 'busy.json')

export async function readOwner(): Promise<Owner | undefined> {
  const text = await readFile(ownerFile, 'utf8').catch(() => undefined)
  return text === undefined ? undefined : (JSON.parse(text) as Owner)
}

export async function writeOwner(owner: Owner): Promise<void> {
  await mkdir(runDir, { recursive: true, mode: 0o755 })
  await writeFile(ownerFile, JSON.stringify(owner))
}

/** Keeps others from `up` and `down` while this process does one; a holder that died holds nothing. */
export async function holdMachine(): Promise<AsyncDisposable> {
  await mkdir(runDir, { recursive: true, mode: 0o755 })
  const own = JSON.stringify({ pid: process.pid, startTicks: await startTicksOf(process.pid) })
  let told = false
  for (;;) {
    try {
      await writeFile(busyFile, own, { flag: 'wx' })
      return {
        async [Symbol.asyncDispose]() {
          await rm(busyFile, { force: true })
        },
      }
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const text = await readFile(busyFile, 'utf8').catch(() => '')
    // Empty for the moment between its creation and the write.
    if (text !== '') {
      const holder = JSON.parse(text) as { pid: number; startTicks?: string }
      if ((await startTicksOf(holder.pid)) !== holder.startTicks) {
        await rm(busyFile, { force: true })
        continue
      }
      if (!told) say(`waiting for another 'up' or 'down' (pid ${holder.pid})`)
      told = true
    }
    await sleep(200)
  }
}
