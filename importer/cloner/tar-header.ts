/** Headers of a tar stream: ustar (POSIX.1-1988) with pax records (POSIX.1-2001) for what does not fit. Pure. */

const blockBytes = 512

/** Names are latin1 here: one character a byte, whatever the bytes mean. */
export interface TarMember {
  readonly name: string
  readonly type: 'file' | 'directory' | 'symlink' | 'hardlink'
  /** Permission bits, with set-user-ID, set-group-ID and sticky bit. */
  readonly mode: number
  readonly mtimeSeconds: number
  /** Bytes that follow the header; the map of a sparse file and its pieces. */
  readonly storedBytes: number
  /** Of links. */
  readonly linkName?: string
  /** Of a sparse file (GNU sparse format 1.0): its size with the holes. */
  readonly realSizeBytes?: number
}

const typeFlags = { file: '0', hardlink: '1', symlink: '2', directory: '5' } as const
/** What eleven octal digits hold. */
const largestOctal = 8 ** 11 - 1

/** The header blocks of a member. */
export function tarHeader(member: TarMember): Buffer {
  const { name, linkName = '', storedBytes, realSizeBytes, mtimeSeconds } = member
  const records: [string, string][] = []
  if (realSizeBytes === undefined) {
    if (name.length > 100) records.push(['path', name])
  } else {
    records.push(['GNU.sparse.major', '1'], ['GNU.sparse.minor', '0'])
    records.push(['GNU.sparse.name', name], ['GNU.sparse.realsize', String(realSizeBytes)])
  }
  if (linkName.length > 100) records.push(['linkpath', linkName])
  if (storedBytes > largestOctal) records.push(['size', String(storedBytes)])
  if (mtimeSeconds < 0 || mtimeSeconds > largestOctal) records.push(['mtime', String(mtimeSeconds)])
  const own = ustar({ ...member, typeFlag: typeFlags[member.type] })
  if (records.length === 0) return own
  const pax = Buffer.from(records.map(([key, value]) => paxRecord(key, value)).join(''), 'latin1')
  const head = ustar({ name: 'pax', typeFlag: 'x', mode: 0o644, mtimeSeconds: 0, storedBytes: pax.length })
  return Buffer.concat([head, pax, padding(pax.length), own])
}

/** What fills up the last block of so many bytes. */
export function padding(bytes: number): Buffer {
  return Buffer.alloc((blockBytes - (bytes % blockBytes)) % blockBytes)
}

/** The end of an archive. */
export function tarEnd(): Buffer {
  return Buffer.alloc(2 * blockBytes)
}

/**
 * The map of a sparse file, which stands before its pieces (GNU tar manual, "Storing Sparse Files"). Pieces begin and end
 * at multiples of 512, as holes do, but for the end of the file: GNU tar would look for padding between them.
 */
export function sparseMap(pieces: readonly { readonly start: number; readonly end: number }[]): Buffer {
  const lines = [pieces.length, ...pieces.flatMap(({ start, end }) => [start, end - start])]
  const text = Buffer.from(lines.map((line) => `${line}\n`).join(''), 'latin1')
  return Buffer.concat([text, padding(text.length)])
}

function ustar({
  name,
  typeFlag,
  mode,
  mtimeSeconds,
  storedBytes,
  linkName = '',
}: Omit<TarMember, 'type'> & { typeFlag: string }): Buffer {
  const block = Buffer.alloc(blockBytes)
  block.write(name.slice(0, 100), 0, 'latin1')
  octal(block, 100, 8, mode)
  octal(block, 108, 8, 0)
  octal(block, 116, 8, 0)
  octal(block, 124, 12, Math.min(storedBytes, largestOctal))
  octal(block, 136, 12, Math.min(Math.max(0, mtimeSeconds), largestOctal))
  block.write(' '.repeat(8), 148, 'latin1')
  block.write(typeFlag, 156, 'latin1')
  block.write(linkName.slice(0, 100), 157, 'latin1')
  block.write('ustar\u000000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function octal(block: Buffer, at: number, length: number, value: number): void {
  block.write(value.toString(8).padStart(length - 1, '0'), at, 'latin1')
}

/** `LENGTH KEY=VALUE\n`, where LENGTH counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length
  return `${length}${rest}`
}
