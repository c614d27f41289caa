/** What a source volume holds that is to be sent: a disk, or a tree of files. */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Dirent } from 'node:fs'
import { CdiError } from '../../src/errors.ts'
import type { ClonerConfig } from './config.ts'

export type Content = { readonly kind: 'disk'; readonly path: string } | { readonly kind: 'tree' }

const kept = 'lost+found'
const diskName = 'disk.img'

/**
 * A device is a disk. So is a file system of content type kubevirt that holds `disk.img` and nothing else, with something
 * in it; everything else is a tree, unless it is to become a device: then it is the first file whose name contains
 * `disk.img`. Throws CDI_CLONE_NO_DISK if there is none, CDI_CLONE_SOURCE.
 */
export async function contentOf(
  { volumeMode, source, contentType }: Pick<ClonerConfig, 'volumeMode' | 'source' | 'contentType'>,
  target: 'filesystem' | 'block',
): Promise<Content> {
  if (volumeMode === 'block') return { kind: 'disk', path: source }
  try {
    const entries = (await readdir(source, { withFileTypes: true })).filter(({ name }) => name !== kept)
    const disk = join(source, diskName)
    const [first] = entries
    const isAlone = entries.length === 1 && first?.name === diskName && first.isFile() && contentType === 'kubevirt'
    if (isAlone && (target === 'block' || (await stat(disk)).size > 0)) return { kind: 'disk', path: disk }
    if (target === 'filesystem') return { kind: 'tree' }
    const path = await firstDisk(source, entries)
    if (path !== undefined) return { kind: 'disk', path }
  } catch (error) {
    throw new CdiError('CDI_CLONE_SOURCE', `the source ${source} cannot be read: ${(error as Error).message}`, {
      cause: error,
    })
  }
  throw new CdiError('CDI_CLONE_NO_DISK', `the source holds no ${diskName} that could be written to a block volume`)
}

/** The one of its own name comes before all others. */
async function firstDisk(directory: string, entries: readonly Dirent[]): Promise<string | undefined> {
  const inOrder = [...entries].sort((one, two) => rank(one) - rank(two) || (one.name < two.name ? -1 : 1))
  for (const entry of inOrder) {
    const path = join(directory, entry.name)
    if (entry.isFile() && entry.name.includes(diskName)) return path
    if (!entry.isDirectory()) continue
    const found = await firstDisk(path, await readdir(path, { withFileTypes: true }))
    if (found !== undefined) return found
  }
  return undefined
}

function rank(entry: Dirent): number {
  return entry.name === diskName ? 0 : entry.isFile() ? 1 : 2
}
