/**
 * Where the files of a tar archive lie in it, found by going from header to header: what is in them is not read. For
 * archives that are read in place.
 */
import { blockBytes, invalidArchive, parsePaxRecords, parseTarHeader } from '../../formats/tar-header.ts'
import type { TarHeader } from '../../formats/tar-header.ts'
import { readRange } from '../source.ts'
import type { ByteRange, RangedSource } from '../source.ts'

/** Layouts have one file for each blob; an image has a few dozen. */
const mostEntries = 50_000
const longestExtendedHeaderBytes = 1024 * 1024

const endOfArchive = Buffer.alloc(blockBytes)

const files = new Set(['0', '\0', '7'])
/** GNU's long names of the entry and of its link, and pax records of one entry and of all. */
const extensions = new Set(['L', 'K', 'x', 'X', 'g'])

/** What extended headers say of the next entry. */
interface Extension {
  readonly name?: string
  readonly linkName?: string
  readonly sizeBytes?: number
}

/**
 * The regular files by name (leading `./` left out); a later one of the same name counts, as when unpacking. Throws
 * CDI_ARCHIVE_INVALID for what is no tar, damaged, cut short, sparse, or absurdly large.
 */
export async function indexTar(source: RangedSource, signal: AbortSignal): Promise<Map<string, ByteRange>> {
  const index = new Map<string, ByteRange>()
  let extension: Extension = {}
  let at = 0
  for (let entries = 0; at + blockBytes <= source.sizeBytes; entries += 1) {
    if (entries > mostEntries) throw invalidArchive(`the archive has more than ${mostEntries} entries`)
    const block = await readRange(source, { offset: at, length: blockBytes }, signal)
    if (block.equals(endOfArchive)) return index
    const header = parseTarHeader(block, at === 0)
    at += blockBytes
    const sizeBytes = extensions.has(header.typeFlag) ? header.sizeBytes : (extension.sizeBytes ?? header.sizeBytes)
    const stored = header.typeFlag === '1' || header.typeFlag === '2' ? 0 : sizeBytes
    if (at + stored > source.sizeBytes) throw invalidArchive('the archive ends in the middle (unexpected EOF)')
    if (extensions.has(header.typeFlag)) {
      extension = { ...extension, ...(await readExtension({ source, header, at }, signal)) }
    } else {
      addEntry({ index, header, extension, place: { offset: at, length: stored } })
      extension = {}
    }
    at += Math.ceil(stored / blockBytes) * blockBytes
  }
  if (at === 0) throw invalidArchive('the archive is empty or shorter than one header')
  return index
}

function addEntry({
  index,
  header,
  extension,
  place,
}: {
  index: Map<string, ByteRange>
  header: TarHeader
  extension: Extension
  place: ByteRange
}): void {
  const name = plainName(extension.name ?? header.name)
  if (header.typeFlag === 'S') throw invalidArchive('the archive has sparse entries, which cannot be read in place')
  if (files.has(header.typeFlag)) {
    index.set(name, place)
    return
  }
  const linked = header.typeFlag === '1' ? index.get(plainName(extension.linkName ?? header.linkName)) : undefined
  if (linked === undefined) index.delete(name)
  else index.set(name, linked)
}

function plainName(name: string): string {
  return name.replace(/^(?:\.?\/)+/, '')
}

async function readExtension(
  { source, header, at }: { source: RangedSource; header: TarHeader; at: number },
  signal: AbortSignal,
): Promise<Extension> {
  const { typeFlag, sizeBytes } = header
  if (sizeBytes > longestExtendedHeaderBytes) throw invalidArchive('an extended header is absurdly large')
  // Records for all entries: dates and comments, nothing that tells where something lies.
  if (typeFlag === 'g') return {}
  const bytes = await readRange(source, { offset: at, length: sizeBytes }, signal)
  if (typeFlag === 'L') return { name: untilZero(bytes) }
  if (typeFlag === 'K') return { linkName: untilZero(bytes) }
  return paxExtension(new Map(parsePaxRecords(bytes)))
}

function paxExtension(records: ReadonlyMap<string, string>): Extension {
  if ([...records.keys()].some((key) => key.startsWith('GNU.sparse.'))) {
    throw invalidArchive('the archive has sparse entries, which cannot be read in place')
  }
  const [name, linkName, size] = [records.get('path'), records.get('linkpath'), records.get('size')]
  if (size !== undefined && !/^\d{1,15}$/.test(size)) throw invalidArchive('an entry claims an impossible size')
  return {
    ...(name === undefined ? {} : { name }),
    ...(linkName === undefined ? {} : { linkName }),
    ...(size === undefined ? {} : { sizeBytes: Number(size) }),
  }
}

function untilZero(bytes: Buffer): string {
  const text = bytes.toString('latin1')
  const end = text.indexOf('\0')
  return end === -1 ? text : text.slice(0, end)
}
