/**
 * Volumes and snapshots on disk: a directory each, with the sparse file `disk` and a `record.json` of facts. A directory
 * is filled aside and renamed, so what is visible is complete, and a restarted driver finds everything again.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'

export interface VolumeRecord {
  readonly id: string
  readonly name: string
  readonly sizeBytes: number
  readonly mode: 'Filesystem' | 'Block'
  /** For Filesystem volumes. */
  readonly fsType: 'ext4' | 'xfs'
  readonly source: { readonly snapshot?: string; readonly volume?: string }
}

export interface SnapshotRecord {
  readonly id: string
  readonly name: string
  readonly sizeBytes: number
  readonly sourceVolume: string
  readonly mode: VolumeRecord['mode']
  readonly createdAtMs: number
}

/** A file name for a name given by others: deterministic, so that asking twice finds the first answer. */
export function idOf(name: string): string {
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(name) ? name : createHash('sha256').update(name).digest('hex').slice(0, 32)
}

/** Records of one kind. Callers hold the lock of an id while they change it. */
export class Store<R extends { readonly id: string; readonly sizeBytes: number }> {
  readonly #dir: string

  constructor(dir: string) {
    this.#dir = dir
  }

  /** The sparse file with the content. */
  disk(id: string): string {
    return join(this.#dir, id, 'disk')
  }

  async get(id: string): Promise<R | undefined> {
    if (!/^[a-z0-9-]+$/.test(id)) return undefined
    const text = await readFile(join(this.#dir, id, 'record.json'), 'utf8').catch(() => undefined)
    return text === undefined ? undefined : (JSON.parse(text) as R)
  }

  async list(): Promise<R[]> {
    const names = (await readdir(this.#dir).catch(() => [])).filter((name) => !name.startsWith('.')).sort()
    const records = await Promise.all(names.map((name) => this.get(name)))
    return records.filter((record) => record !== undefined)
  }

  /** Makes it empty or, sharing blocks where the file system can, with the content of another file. */
  async create(record: R, contentOf?: string): Promise<void> {
    const building = join(this.#dir, `.${record.id}`)
    await rm(building, { recursive: true, force: true })
    await mkdir(building, { recursive: true })
    const disk = join(building, 'disk')
    if (contentOf === undefined) await (await open(disk, 'w', 0o600)).close()
    else await execa('cp', ['--reflink=auto', '--sparse=always', contentOf, disk])
    await truncate(disk, record.sizeBytes)
    await writeFile(join(building, 'record.json'), JSON.stringify(record))
    await rename(building, join(this.#dir, record.id))
  }

  /** Grows the file and the record. */
  async grow(record: R, sizeBytes: number): Promise<void> {
    await truncate(this.disk(record.id), sizeBytes)
    const file = join(this.#dir, record.id, 'record.json')
    await writeFile(`${file}.new`, JSON.stringify({ ...record, sizeBytes }))
    await rename(`${file}.new`, file)
  }

  async delete(id: string): Promise<void> {
    if (!/^[a-z0-9-]+$/.test(id)) return
    const gone = join(this.#dir, `.${id}.gone`)
    await rm(gone, { recursive: true, force: true })
    await rename(join(this.#dir, id), gone).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error
    })
    await rm(gone, { recursive: true, force: true })
  }
}
