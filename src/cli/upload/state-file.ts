/**
 * Where an upload's address is kept between two runs of the command, so that the second one goes on. One small file per
 * file and target below `$XDG_STATE_HOME/cdi/uploads`; no secrets: without a token the address is worth nothing.
 */
import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'

export interface UploadIdentity {
  /** Which version of which file ({@link import('./local-image.ts').LocalImage.identity}). */
  readonly file: string
  /** URL of the API server. */
  readonly server: string
  readonly namespace: string
  readonly pvcName: string
  /** UID of the claim: a new one of the same name is another target. */
  readonly pvcUid: string
}

export interface UploadState {
  readonly protocol: 'tus' | 'ranges'
  /** Address (tus) or id (ranges). */
  readonly address: string
}

/** What nobody came back for is thrown away; servers keep uploads for less. */
const staleMs = 14 * 24 * 3600_000

/** `$XDG_STATE_HOME/cdi/uploads` (XDG Base Directory Specification). */
export function stateDirectory(environment: Readonly<Record<string, string | undefined>>): string {
  const base = environment['XDG_STATE_HOME']
  // Relative paths are to be ignored, says the specification.
  return join(base?.startsWith('/') === true ? base : join(homedir(), '.local', 'state'), 'cdi', 'uploads')
}

export class StateFile {
  readonly #directory: string
  readonly #path: string

  constructor(directory: string, identity: UploadIdentity) {
    const { file, server, namespace, pvcName, pvcUid } = identity
    const key = createHash('sha256')
      .update(JSON.stringify([file, server, namespace, pvcName, pvcUid]))
      .digest('hex')
    this.#directory = directory
    this.#path = join(directory, `${key.slice(0, 32)}.json`)
  }

  /** Undefined when there is none, or none that makes sense. */
  async read(): Promise<UploadState | undefined> {
    try {
      const { protocol, address } = JSON.parse(await readFile(this.#path, 'utf8')) as Partial<UploadState>
      if ((protocol !== 'tus' && protocol !== 'ranges') || typeof address !== 'string') return undefined
      return { protocol, address }
    } catch {
      return undefined
    }
  }

  /** Writes it whole or not at all. Throws what the file system throws. */
  async write(state: UploadState): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    const next = `${this.#path}.${process.pid}`
    await writeFile(next, `${JSON.stringify(state)}\n`, { mode: 0o600 })
    await rename(next, this.#path)
    await this.#tidy()
  }

  async remove(): Promise<void> {
    await rm(this.#path, { force: true })
  }

  async #tidy(): Promise<void> {
    for (const name of await readdir(this.#directory)) {
      const path = join(this.#directory, name)
      const facts = await stat(path).catch(() => undefined)
      if (facts !== undefined && Date.now() - facts.mtimeMs > staleMs) await rm(path, { force: true })
    }
  }
}
