/** A raw disk (ISO images too) is its file. */
import type { HeaderReader } from './header-reader.ts'
import type { ImageFacts } from './facts.ts'

// oxlint-disable-next-line require-await
export async function inspectRaw(reader: HeaderReader): Promise<ImageFacts> {
  if (reader.sizeBytes === undefined)
    throw reader.invalid('the size of a raw disk is that of its file, which is unknown')
  if (reader.sizeBytes === 0) throw reader.invalid('it is empty')
  return { format: 'raw', virtualSizeBytes: reader.sizeBytes, features: [], layout: 'flat', notes: [] }
}
