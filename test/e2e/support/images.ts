/** Disk images for the cluster tests, made once a process: small, sparse, with random data up to the last sector. */
import { createCipheriv, createHash } from 'node:crypto'
import { mkdir, open, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { execa } from 'execa'

const mebibyte = 1024 * 1024

export interface DiskImages {
  /** Size of the disk that all images but the ISO and the archive hold. */
  readonly bytes: number
  readonly sha256: string
  readonly isoBytes: number
  readonly isoSha256: string
  /** `sha256sum` of the files of the archive, sorted by name. */
  readonly archiveListing: string
}

/** Files that {@link makeImages} puts into its directory. */
export const imageFiles = {
  raw: 'disk.img',
  qcow2: 'disk.qcow2',
  compressedQcow2: 'disk-c.qcow2',
  rawXz: 'disk.img.xz',
  rawGz: 'disk.img.gz',
  iso: 'disk.iso',
  tar: 'files.tar',
  tarGz: 'files.tar.gz',
  notTar: 'not-a.tar',
} as const

/** Bytes that look random and are always the same. */
function noise(seed: number, bytes: number): Buffer {
  const key = createHash('sha256').update(String(seed)).digest()
  return createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(bytes))
}

export interface ImageOptions {
  readonly directory: string
  /** A multiple of 1 MiB. */
  readonly bytes?: number
}

/** A sparse raw disk: data at the beginning, in the middle and in the last sector. */
export async function makeRawDisk(path: string, bytes: number): Promise<string> {
  await using file = await open(path, 'w')
  await file.truncate(bytes)
  await file.write(noise(1, 2 * mebibyte), 0, undefined, 0)
  await file.write(noise(2, mebibyte), 0, undefined, Math.floor(bytes / 2 / mebibyte) * mebibyte + 4096)
  await file.write(noise(3, 512), 0, undefined, bytes - 512)
  return sha256(path)
}

export async function makeImages({ directory, bytes = 24 * mebibyte }: ImageOptions): Promise<DiskImages> {
  await mkdir(directory, { recursive: true })
  const path = (name: keyof typeof imageFiles): string => join(directory, imageFiles[name])
  const digest = await makeRawDisk(path('raw'), bytes)
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', path('raw'), path('qcow2')])
  await execa('qemu-img', ['convert', '-f', 'raw', '-O', 'qcow2', '-c', path('raw'), path('compressedQcow2')])
  await execa('xz', ['-k', '-1', path('raw')])
  await execa('gzip', ['-k', '-1', path('raw')])
  const iso = isoImage(3 * mebibyte)
  await writeFile(path('iso'), iso)
  await writeFile(path('notTar'), noise(4, mebibyte))
  const archiveListing = await makeArchive(directory)
  return {
    bytes,
    sha256: digest,
    isoBytes: iso.length,
    isoSha256: createHash('sha256').update(iso).digest('hex'),
    archiveListing,
  }
}

/** An ISO 9660 image as far as its first descriptor (ECMA-119): 16 sectors of nothing, then `CD001`. */
function isoImage(bytes: number): Buffer {
  const image = Buffer.concat([Buffer.alloc(16 * 2048), noise(5, bytes - 16 * 2048)])
  image.write('\x01CD001\x01', 16 * 2048, 'latin1')
  return image
}

async function makeArchive(directory: string): Promise<string> {
  const tree = join(directory, 'tree')
  await mkdir(join(tree, 'sub'), { recursive: true })
  await writeFile(join(tree, 'hello.txt'), 'hello\n')
  await writeFile(join(tree, 'sub', 'data.bin'), noise(6, 300_000), { mode: 0o640 })
  await execa('tar', ['-C', tree, '-cf', join(directory, imageFiles.tar), '.'])
  await execa('tar', ['-C', tree, '-czf', join(directory, imageFiles.tarGz), '.'])
  const { stdout } = await execa('sha256sum', ['./hello.txt', './sub/data.bin'], { cwd: tree })
  return stdout
}

async function sha256(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}
