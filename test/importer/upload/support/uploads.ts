/** Files to be uploaded, made when they are asked for: one disk of 6 MiB in every packing, and what goes wrong. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'
import { makeDisk, makeImage, mebibyte, noise, variantOf } from '../../../fixtures/images.ts'
import { tempDir } from '../../../fixtures/server-process.ts'
import type { TempDir } from '../../../fixtures/server-process.ts'
import { pack } from '../../e2e/support/disks.ts'
import type { Packing } from '../../e2e/support/disks.ts'

export const diskBytes = 6 * mebibyte

/** What holds the disk. */
export const diskNames = ['raw', 'qcow2', 'raw.gz', 'raw.xz', 'raw.zst', 'qcow2.zst.gz', 'vmdk', 'vhd'] as const

type Plain = keyof typeof makers
export type FileName =
  | Plain
  | 'raw.gz'
  | 'raw.xz'
  | 'raw.zst'
  | 'qcow2.zst.gz'
  | 'tar.gz'
  | 'tar.xz'
  | 'tar.zst'
  | 'big.raw.xz'
  | 'zeros.raw.xz'

const image =
  (variant: string, from = 'raw') =>
  async (uploads: Uploads, path: string): Promise<void> =>
    makeImage(await uploads.file(from as Plain), path, variantOf(variant))

/** How each file is made; packings are put around by name. */
const makers = {
  raw: (_: Uploads, path: string): Promise<void> => makeDisk(path, { sizeBytes: diskBytes }),
  qcow2: image('qcow2 version 3'),
  vmdk: image('vmdk streamOptimized'),
  vhd: image('vhd fixed'),
  tar: async (uploads: Uploads, path: string): Promise<void> => {
    const tree = uploads.path('tree')
    await mkdir(join(tree, 'bin'), { recursive: true })
    await writeFile(join(tree, 'readme'), 'hello\n')
    await writeFile(join(tree, 'bin/tool'), noise(2 * mebibyte, 3), { mode: 0o751 })
    await execa('tar', ['-cf', path, '-C', tree, '.'])
  },
  /** A qcow2 that can only be converted from a local copy. */
  'snapshot.qcow2': async (uploads: Uploads, path: string): Promise<void> => {
    await makeImage(await uploads.file('raw'), path, variantOf('qcow2 version 3'))
    await execa('qemu-img', ['snapshot', '-c', 'before', path])
  },
  /** A disk of 1 GiB with nothing in it. */
  'large.qcow2': async (_: Uploads, path: string): Promise<void> => {
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', path, '1G'])
  },
  /** 16 MiB of noise: larger than the volumes of these tests however it is packed. */
  'big.raw': (_: Uploads, path: string): Promise<void> =>
    makeDisk(path, { sizeBytes: 16 * mebibyte, pieces: [[0, noise(16 * mebibyte, 9)]] }),
  'big.qcow2': image('qcow2 version 3', 'big.raw'),
  'zeros.raw': (_: Uploads, path: string): Promise<void> => makeDisk(path, { sizeBytes: 64 * mebibyte, pieces: [] }),
  'backed.qcow2': async (_: Uploads, path: string): Promise<void> => {
    await execa('qemu-img', ['create', '-q', '-f', 'qcow2', '-u', '-b', '/etc/passwd', '-F', 'raw', path, '4M'])
  },
  'broken.raw.xz': async (uploads: Uploads, path: string): Promise<void> => {
    const bytes = await uploads.content('raw.xz')
    await writeFile(path, bytes.fill(0x55, bytes.length >> 1, (bytes.length >> 1) + 64))
  },
}

const isPlain = (name: string): name is Plain => Object.hasOwn(makers, name)

export class Uploads implements AsyncDisposable {
  readonly #place: TempDir
  readonly #made = new Map<string, Promise<string>>()
  /** The disk as it has to be afterwards. */
  readonly disk: Buffer

  private constructor(place: TempDir, disk: Buffer) {
    this.#place = place
    this.disk = disk
  }

  static async make(): Promise<Uploads> {
    const place = await tempDir('uploads')
    const path = join(place.path, 'disk')
    await makeDisk(path, { sizeBytes: diskBytes })
    return new Uploads(place, await readFile(path))
  }

  /** Path of the file; made by the first who asks. */
  file(name: FileName): Promise<string> {
    let made = this.#made.get(name)
    if (made === undefined) {
      made = this.#make(name)
      this.#made.set(name, made)
    }
    return made
  }

  async content(name: FileName): Promise<Buffer> {
    return readFile(await this.file(name))
  }

  /** A path for a file of the test's own. */
  path(name: string): string {
    return join(this.#place.path, name)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#place[Symbol.asyncDispose]()
  }

  async #make(name: FileName): Promise<string> {
    const path = this.path(name)
    if (isPlain(name)) {
      await makers[name](this, path)
      return path
    }
    const cut = name.lastIndexOf('.')
    return pack(await this.file(name.slice(0, cut) as FileName), [name.slice(cut + 1) as Packing])
  }
}

/** `bytes` as the part `file` of a form. */
export function formWith(
  bytes: Buffer,
  { name = 'file', boundary = 'b0' }: { name?: string; boundary?: string } = {},
): {
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
} {
  return {
    headers: { 'content-type': `multipart/form-data; boundary=${boundary}` },
    body: Buffer.concat([
      Buffer.from(`--${boundary}\r\nContent-Disposition: form-data; name="note"\r\n\r\nnone\r\n`),
      Buffer.from(
        `--${boundary}\r\nContent-Disposition: form-data; name="${name}"; filename="disk.img"\r\n` +
          'Content-Type: application/octet-stream\r\n\r\n',
      ),
      bytes,
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ]),
  }
}
