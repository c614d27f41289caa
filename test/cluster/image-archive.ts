/**
 * Container images of one static program each (pause, CoreDNS), written as `docker load` archives without any image
 * tool and handed straight to containerd.
 */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { buffer } from 'node:stream/consumers'
import { execa } from 'execa'
import { pack } from 'tar-stream'
import { containerdSocket } from './layout.ts'

export interface ProgramImage {
  /** As pods name it. */
  readonly name: string
  /** The program on this machine, which becomes the entry point. */
  readonly program: string
}

/** Puts the image into containerd's store for Kubernetes. */
export async function importProgramImage({ name, program }: ProgramImage): Promise<void> {
  const archive = await programImageArchive({ name, program })
  await execa('ctr', ['--address', containerdSocket, '-n', 'k8s.io', 'images', 'import', '--no-unpack', '-'], {
    input: archive,
  })
}

async function programImageArchive({ name, program }: ProgramImage): Promise<Buffer> {
  const layer = await tar([{ name: 'program', mode: 0o755, content: await readFile(program) }])
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Entrypoint: ['/program'] },
      rootfs: { type: 'layers', diff_ids: [`sha256:${createHash('sha256').update(layer).digest('hex')}`] },
    }),
  )
  const manifest = [{ Config: 'config.json', RepoTags: [name], Layers: ['layer.tar'] }]
  return await tar([
    { name: 'layer.tar', mode: 0o644, content: layer },
    { name: 'config.json', mode: 0o644, content: config },
    { name: 'manifest.json', mode: 0o644, content: Buffer.from(JSON.stringify(manifest)) },
  ])
}

interface TarFile {
  readonly name: string
  readonly mode: number
  readonly content: Buffer
}

async function tar(files: readonly TarFile[]): Promise<Buffer> {
  const archive = pack()
  for (const { name, mode, content } of files) {
    archive.entry({ name, mode, mtime: new Date(0) }, content)
  }
  archive.finalize()
  return await buffer(archive)
}
