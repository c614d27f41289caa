/**
 * Looks for the disk among the entries of a layer while they pass, and hands on its bytes at once: nothing is kept of a
 * layer but the names that matter for lower ones.
 *
 * The disk is the first plain file below `disk/` that no upper layer hides. Links and devices are none, nor are empty
 * files; hidden files count only if there is nothing else in the whole image.
 */
import { setImmediate as yieldToEvents } from 'node:timers/promises'
import type { Log } from '../../../src/log.ts'
import type { TarContent, TarEntry, TarEntryType, TarHandler } from '../../formats/tar.ts'
import { invalidArchive } from '../../formats/tar-header.ts'
import { shownName } from '../../formats/tar-name.ts'
import type { Sink } from '../source.ts'
import type { Refused } from './container-disk-fault.ts'
import { diskDirectory, isHidden, isWhiteout, markOf, pathOf } from './container-disk-overlay.ts'
import type { Overlay } from './container-disk-overlay.ts'

/** Entries of one layer; a root file system has some 100,000. */
const mostEntries = 2_000_000

/** A disk in a container image. */
export interface FoundDisk {
  /** Where it lies, as it is shown to people. */
  readonly name: string
  readonly sizeBytes: number
}

export interface LayerSearchOptions {
  readonly overlay: Overlay
  /** Hears of what is no disk. */
  readonly refused: Refused
  /** The one that is wanted, if it is known already. */
  readonly wantedPath?: string
  readonly onFound: (disk: FoundDisk) => void
  /** Takes the bytes of the disk, holes expanded. */
  readonly sink: Sink
  readonly signal: AbortSignal
  readonly log: Log
}

export class LayerSearch implements TarHandler {
  readonly #options: LayerSearchOptions
  #entries = 0
  #foundPath: string | undefined
  #hiddenPath: string | undefined
  #hasTold = false

  constructor(options: LayerSearchOptions) {
    this.#options = options
  }

  get hasFound(): boolean {
    return this.#foundPath !== undefined
  }

  /** The first hidden file that could be a disk. */
  get hiddenPath(): string | undefined {
    return this.#hiddenPath
  }

  async entry(entry: TarEntry): Promise<TarContent | undefined> {
    return this.#look(entry)
  }

  #look({ name, type, sizeBytes }: TarEntry): TarContent | undefined {
    const { overlay, refused, log } = this.#options
    if (++this.#entries > mostEntries) throw invalidArchive(`a layer has more than ${mostEntries} entries`)
    const path = pathOf(name)
    if (path === undefined) {
      refused.add(name, 'a name that leads out of the image')
      return undefined
    }
    const mark = markOf(path, type)
    if (mark !== undefined) overlay.note(mark)
    if (!path.startsWith(`${diskDirectory}/`) || isWhiteout(path) || type === 'directory') return undefined
    if (path === this.#foundPath) {
      throw invalidArchive(`a layer holds ${shownName(path)} twice, so it cannot be told which one is the disk`)
    }
    if (overlay.hides(path)) {
      log.debug({ file: shownName(path) }, 'file passed over: an upper layer has removed or replaced it')
      return undefined
    }
    return this.#choose(path, type, sizeBytes)
  }

  #choose(path: string, type: TarEntryType, sizeBytes: number): TarContent | undefined {
    const { refused, wantedPath, onFound, sink, signal, log } = this.#options
    if (type !== 'file' || sizeBytes === 0) {
      refused.add(path, type === 'file' ? 'empty' : nameOf[type])
      return undefined
    }
    if (this.#foundPath !== undefined) {
      if (!isHidden(path) && !this.#hasTold) {
        this.#hasTold = true
        log.warn(
          { file: shownName(path), disk: shownName(this.#foundPath) },
          'there is more than one file in the disk directory of the image, the first one is taken',
        )
      }
      return undefined
    }
    if (wantedPath === undefined ? isHidden(path) : path !== wantedPath) {
      if (isHidden(path)) this.#hiddenPath ??= path
      return undefined
    }
    this.#foundPath = path
    onFound({ name: shownName(path), sizeBytes })
    return new DiskContent({ sizeBytes, sink, signal })
  }
}

const nameOf: Readonly<Record<Exclude<TarEntryType, 'file'>, string>> = {
  directory: 'a directory',
  symlink: 'a symbolic link',
  hardlink: 'a hard link',
  'character-device': 'a device',
  'block-device': 'a device',
  fifo: 'a named pipe',
}

/** Shared, and lent like everything else. */
const zeros = Buffer.alloc(256 * 1024)
/** So many zeros are handed out before signals and timers get their turn: a sink that skips zeros never waits. */
const zerosAtOnce = 64 * 1024 * 1024

/** Hands on a file with its holes filled. */
class DiskContent implements TarContent {
  readonly #sizeBytes: number
  readonly #sink: Sink
  readonly #signal: AbortSignal
  #position = 0

  constructor({ sizeBytes, sink, signal }: { sizeBytes: number; sink: Sink; signal: AbortSignal }) {
    this.#sizeBytes = sizeBytes
    this.#sink = sink
    this.#signal = signal
  }

  async write(offset: number, data: Buffer): Promise<void> {
    await this.#fillTo(offset)
    this.#position += data.length
    await this.#sink(data)
  }

  end(): Promise<void> {
    return this.#fillTo(this.#sizeBytes)
  }

  async #fillTo(offset: number): Promise<void> {
    let atOnce = 0
    while (this.#position < offset) {
      const length = Math.min(zeros.length, offset - this.#position)
      this.#position += length
      await this.#sink(length === zeros.length ? zeros : zeros.subarray(0, length))
      atOnce += length
      if (atOnce < zerosAtOnce) continue
      atOnce = 0
      await yieldToEvents()
      this.#signal.throwIfAborted()
    }
  }
}
