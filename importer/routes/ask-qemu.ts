/** Lets qemu-img read the headers of an image that we copy ourselves. */
import type { ImageFacts } from '../image/facts.ts'
import { startNbdServer } from '../image/nbd-server.ts'
import { withStrictEnd } from '../image/strict-end.ts'
import { readRange } from '../sources/source.ts'
import type { RangedSource } from '../sources/source.ts'
import { agreeWithQemu } from './convert-image.ts'

export interface AskQemu {
  readonly source: RangedSource
  readonly facts: ImageFacts
  readonly signal: AbortSignal
}

/**
 * What qemu does not open is refused, whatever our own readers think of it. Throws CDI_FORMAT_INVALID,
 * CDI_IMAGE_BACKING_FILE, CDI_IMAGE_ENCRYPTED, the source's errors, or the signal's reason.
 */
export async function askQemu({ source, facts, signal }: AskQemu): Promise<void> {
  const image = withStrictEnd({
    sizeBytes: source.sizeBytes,
    // The end is where it is: tables that lead beyond it are refused by our own readers.
    facts: { ...facts, layout: 'streamed' },
    name: source.name,
    read: async (offset, length) => ({ pieces: [await readRange(source, { offset, length }, signal)] }),
  })
  await using server = await startNbdServer(image)
  try {
    await agreeWithQemu({ location: { socketPath: server.socketPath }, facts, name: source.name, signal })
  } catch (error) {
    signal.throwIfAborted()
    throw server.failure ?? error
  }
}
