/** What both converting routes do once qemu-img can reach the image: ask it, compare, make room, convert. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { CdiError } from '../../src/errors.ts'
import type { Log } from '../../src/log.ts'
import type { ImageFacts } from '../image/facts.ts'
import { assertFits } from '../image/inspect.ts'
import { convert, info } from '../image/qemu-img.ts'
import type { ImageLocation, ImageReference } from '../image/qemu-img.ts'
import type { Target } from '../target/target.ts'

export interface ConvertImage {
  readonly location: ImageLocation
  readonly facts: ImageFacts
  /** The image as messages name it. */
  readonly name: string
  readonly target: Target
  readonly directIo: boolean
  readonly onProgress: (percent: number) => void
  /** Told the converter's process id, to watch what it writes. */
  readonly onStart: (pid: number) => void
  readonly signal: AbortSignal
  readonly log: Log
}

/**
 * Converts into a target that has not begun yet; nothing is written to it before qemu-img has agreed with our own look at
 * the headers. Throws CDI_IMAGE_*, CDI_FORMAT_INVALID, CDI_CONVERT_FAILED, CDI_TARGET_*.
 */
export async function convertImage(options: ConvertImage): Promise<void> {
  const { location, facts, name, target, signal, log } = options
  const { virtualSizeBytes } = facts
  const image = imageReference(facts, location)
  assertFits({ virtualSizeBytes, availableBytes: target.capacityBytes })
  await agreeWithQemu({ location, facts, name, signal })
  for (const note of facts.notes) log.warn({ image: name, note }, 'peculiarity of the image')
  await target.begin(virtualSizeBytes, signal)
  await convert({
    from: image,
    to: target.path,
    // A device to be backed by storage as a whole is not zeroed before; everything else reads as zero by now.
    targetState: target.kind === 'block' && target.preallocate ? 'unknown' : 'zeroed',
    directIo: options.directIo && (await takesDirectIo(target.path)),
    onProgress: options.onProgress,
    onStart: options.onStart,
    signal,
  })
}

function imageReference({ format, vhdSize }: ImageFacts, location: ImageLocation): ImageReference {
  return { format, location, ...(vhdSize ? { vhdSize } : {}) }
}

/**
 * Asks qemu-img what it thinks of the image and compares. Throws CDI_FORMAT_INVALID if it does not open the image or finds
 * another size, CDI_IMAGE_BACKING_FILE, CDI_IMAGE_ENCRYPTED.
 */
export async function agreeWithQemu({
  location,
  facts,
  name,
  signal,
}: Pick<ConvertImage, 'location' | 'facts' | 'name' | 'signal'>): Promise<void> {
  const { format, virtualSizeBytes } = facts
  const told = await info(imageReference(facts, location), signal)
  if (told.backingFile !== undefined) {
    throw new CdiError(
      'CDI_IMAGE_BACKING_FILE',
      `Image ${name} is invalid because it has invalid backing file ${told.backingFile}`,
    )
  }
  if (told.encrypted) throw new CdiError('CDI_IMAGE_ENCRYPTED', `Image ${name} is encrypted (${format})`)
  if (told.virtualSizeBytes !== virtualSizeBytes) {
    throw new CdiError(
      'CDI_FORMAT_INVALID',
      `Image ${name} says that its disk has ${virtualSizeBytes} bytes, but qemu-img finds ${told.virtualSizeBytes}`,
    )
  }
}

/** tmpfs and some network file systems refuse O_DIRECT; the page cache is then the only way. */
async function takesDirectIo(path: string): Promise<boolean> {
  try {
    await using handle = await open(path, constants.O_WRONLY | constants.O_DIRECT)
    return handle.fd >= 0
  } catch {
    return false
  }
}
