/**
 * Disk images that are converted while they stream by (docs/design/0006-one-pass-conversion.md). A format's reader says
 * which bytes of the file it wants to see (tables) and, as soon as it knows, which bytes of the file are which bytes of
 * the disk (extents). The engine takes the file in order, serves both, and holds back what nobody has claimed yet, within
 * bounds. Everything here is synchronous: a table's callback has made its claims before the next byte is looked at.
 */

/** How the bytes of an extent are packed; `deflate` is raw (RFC 1951), `zlib` has its frame (RFC 1950), `zstd` is RFC 8878. */
export type ForwardCoding = 'stored' | 'deflate' | 'zlib' | 'zstd'

/** A piece of the disk and where it is in the file, in bytes. */
export interface ForwardExtent {
  readonly coding: ForwardCoding
  readonly diskOffset: number
  /** What of the disk it holds. Packed: of the decoded unit, whose rest is dropped at the end of the disk. */
  readonly diskBytes: number
  readonly sourceOffset: number
  /** If stored the same as `diskBytes`; if packed exact or a bound, which may overlap the next extent. */
  readonly sourceBytes: number
}

/** What the engine offers to a reader. Offsets are absolute in the file; lengths in bytes. */
export interface ForwardTables {
  /**
   * Wants to see a piece of the file: `use` is called once with exactly `length` bytes, lent until it returns, as soon as
   * they have arrived, and before the next byte is looked at if they are held; never before `table` has returned. What
   * `use` throws ends the conversion. Ask for one piece after the other, in the order of the file, where there may be
   * many: only their claims are kept in little memory. A callback may claim parts of its own piece.
   */
  table(offset: number, length: number, use: (bytes: Buffer) => void): void
  /**
   * Claims bytes for the disk; neighbours are joined. Each byte of the disk is claimed once at most, and so is each byte
   * of the file, except for the last sector of 512 bytes of what is packed, which several units may share.
   */
  extent(extent: ForwardExtent): void
  /** Nobody will want this piece: reference counts, free space, markers. */
  ignore(offset: number, length: number): void
  /**
   * No more claims will come: whatever is unclaimed is not part of the disk. From `endOffset` on nothing but zeros may
   * come, if the format says where its files end.
   */
  complete(endOffset?: number): void
}

/** A format's reader: makes its first claims; the others follow in the callbacks. Throws CDI_FORMAT_INVALID. */
export type ForwardReader = (tables: ForwardTables) => void
