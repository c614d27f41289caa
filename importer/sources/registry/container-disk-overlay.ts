/**
 * Which names below `disk/` an image shows when its layers lie on one another (OCI image specification, "Image Layer
 * Filesystem Changeset"). Layers are looked at from the top, so what is kept is what upper layers hide of lower ones:
 * whiteouts, opaque directories, and whatever has taken the place of something else. Pure.
 */
import type { TarEntryType } from '../../formats/tar.ts'
import { invalidArchive } from '../../formats/tar-header.ts'

/** Where disks lie in a container image. */
export const diskDirectory = 'disk'

const whiteoutPrefix = '.wh.'
/** Files of these names say something about their directory or belong to AUFS; they are no whiteouts of a `.wh.…`. */
const metadataPrefix = '.wh..wh.'
const opaqueMarker = '.wh..wh..opq'

const longestPath = 4096
/** Names below `disk/` that are kept in memory. */
const mostMarks = 100_000

/**
 * The name of an entry as a path from the root, without leading slashes, `.` and doubled slashes; undefined for one that
 * leads out of the image. Throws CDI_ARCHIVE_INVALID for a name that is absurdly long.
 */
export function pathOf(name: string): string | undefined {
  if (name.length > longestPath) throw invalidArchive(`an entry has a name of ${name.length} bytes`)
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  return parts.includes('..') || name.includes('\0') ? undefined : parts.join('/')
}

/** True for a name that no program shows unless asked: one of its parts below `disk/` begins with a dot. */
export function isHidden(path: string): boolean {
  return path.split('/').some((part) => part.startsWith('.'))
}

/** True if the name is a note to whoever puts layers together. */
export function isWhiteout(path: string): boolean {
  return path.split('/').some((part) => part.startsWith(whiteoutPrefix))
}

/** What an entry hides of the layers below its own. */
export interface Mark {
  readonly path: string
  /** What is at the path itself. */
  readonly itself: boolean
  /** What lies below the path. */
  readonly content: boolean
}

/** What an entry hides, if that concerns the disks. */
export function markOf(path: string, type: TarEntryType): Mark | undefined {
  const mark = anyMarkOf(path, type)
  if (mark === undefined) return undefined
  const isRoot = mark.path === '' && mark.content
  return isRoot || mark.path === diskDirectory || mark.path.startsWith(`${diskDirectory}/`) ? mark : undefined
}

function anyMarkOf(path: string, type: TarEntryType): Mark | undefined {
  const baseAt = path.lastIndexOf('/') + 1
  const base = path.slice(baseAt)
  if (base === opaqueMarker) return { path: path.slice(0, Math.max(0, baseAt - 1)), itself: false, content: true }
  if (base.startsWith(metadataPrefix)) return undefined
  if (base.startsWith(whiteoutPrefix)) {
    return { path: path.slice(0, baseAt) + base.slice(whiteoutPrefix.length), itself: true, content: true }
  }
  // A directory is merged with those below it; anything else takes their place.
  return { path, itself: true, content: type !== 'directory' }
}

/** All that the layers above hide. */
export class Overlay {
  readonly #hidden = new Map<string, { itself: boolean; content: boolean }>()
  #noted: Mark[] = []

  /** Takes what the layer that is being looked at hides of those below. Throws CDI_ARCHIVE_INVALID for absurdly many. */
  note(mark: Mark): void {
    this.#noted.push(mark)
    if (this.#hidden.size + this.#noted.length > mostMarks) {
      throw invalidArchive(`the layers have more than ${mostMarks} names below ${diskDirectory}/`)
    }
  }

  /** From now on the next lower layer is looked at. */
  descend(): void {
    for (const { path, itself, content } of this.#noted) {
      const known = this.#hidden.get(path)
      this.#hidden.set(path, { itself: itself || known?.itself === true, content: content || known?.content === true })
    }
    this.#noted = []
  }

  /** True if the layer that is looked at does not show what it has at the path. */
  hides(path: string): boolean {
    if (this.#hidden.get(path)?.itself === true || this.#hidden.get('')?.content === true) return true
    for (let slash = path.lastIndexOf('/'); slash > 0; slash = path.lastIndexOf('/', slash - 1)) {
      if (this.#hidden.get(path.slice(0, slash))?.content === true) return true
    }
    return false
  }

  /** True if no layer from here on shows anything below `disk/`. */
  get hidesAll(): boolean {
    return this.#hidden.get('')?.content === true || this.#hidden.get(diskDirectory)?.content === true
  }
}
